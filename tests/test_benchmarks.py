"""The benchmarks work: each case runs at a tiny size and checks the answers it gets."""

from __future__ import annotations

import asyncio
import json
import xml.etree.ElementTree as ET
from io import StringIO
from typing import TYPE_CHECKING, Final, NoReturn

import pytest
from rich.console import Console

from benchmarks import peers, report, sizing
from benchmarks.cases import CASES
from benchmarks.chart import draw
from benchmarks.runner import TINY, Candidate, Line, Mark, Plan, Result, Skipped, compare, measure

if TYPE_CHECKING:
    from pathlib import Path


CERTAIN: Final = {"storm", "storm-processes", "storm-spread", "storm-cancel", "write-connections"}
"""Cases whose marks do not depend on speed, but for the one about bare calls."""


def absent(name: str) -> NoReturn:
    """What a benchmark does without a library that is measured beside ours."""
    raise Skipped(name)


@pytest.mark.parametrize("name", CASES)
def test_a_case_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With right answers (a wrong one raises), a figure of ours, and a mark for it.

    The other libraries are left out: they take long to fail. However slow the machine: one
    exchange, nothing fails, the pair is stored, few connections.
    """
    monkeypatch.setattr(peers, "module", absent)
    results = asyncio.run(CASES[name](Plan(tmp_path, TINY, tiny=True)))
    assert results
    for result in results:
        assert result.marks
        assert "ours" in {line.role for line in result.lines}
        assert all(figure > 0 for line in result.lines for figure in line.samples)
        missed = [mark.expected for mark in result.marks if not mark.passed]
        assert name not in CERTAIN or all("bare calls" in expected for expected in missed)


async def test_sizing_counts_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh is two writes, the lease and the pair; a validation is one."""
    monkeypatch.setattr(sizing, "COUNT", 2)
    monkeypatch.setattr(sizing, "ROUNDS", 1)
    found = await sizing.measure_operations(1)
    assert {name: cost.writes for name, cost in found.items()} == {
        "refresh": 2,
        "validation": 1,
        "put, alone": 1,
        "put, among many": 1,
    }


async def test_candidates_take_turns() -> None:
    """Every round has all of them, each time another one first; a peer may fail, ours may not."""
    order: list[str] = []

    def candidate(who: str, figure: float, *, limit: bool) -> Candidate:
        async def run() -> float:
            order.append(who)
            return figure

        return Candidate(who, "limit" if limit else "ours", run)

    result = Result("case", "title")
    await measure(result, [candidate("a", 2, limit=True), candidate("b", 3, limit=False)], 2)
    assert order == ["a", "b", "b", "a"]
    assert result.line("b").ratio == 1.5
    result.require_ratio("b", 1.5, "a")
    result.require_ratio("b", 1.4, "a")
    assert [mark.passed for mark in result.marks] == [True, False]

    async def fail() -> float:
        raise OSError("not here")

    await measure(result, [candidate("a", 2, limit=True), Candidate("c", "peer", fail)], 2)
    assert result.skipped == ["c: OSError: not here"]
    with pytest.raises(OSError, match="not here"):
        await measure(result, [Candidate("a", "ours", fail)], 1)


def test_a_result_is_compared_shown_and_drawn() -> None:
    """What was measured survives the file; a mark that is missed stands on the page."""
    lines = [Line("ours[k]", "ours", [2.0, 2.0]), Line("bare", "limit", [1.0, 1.0])]
    result = Result("open-redis", "title", lines, [Mark("fast", "slow", passed=False)], size=100)
    compare(result)
    assert Result.of_json(json.loads(json.dumps(result.as_json()))) == result
    content = {"date": "2026-01-01", "machine": report.machine(), "results": [result.as_json()]}
    assert "title: fast; found slow" in report.page(content)
    console = Console(file=StringIO(), width=120)
    slower = [Line("ours[k]", "ours", [3.0, 3.0]), lines[1]]
    report.compare([result], [Result("open-redis", "title", slower, size=100)], console)
    assert isinstance(console.file, StringIO)
    assert "+50%" in console.file.getvalue()
    picture = draw([result, Result("open-redis", "title", lines, size=1000)])
    names = [node.text for node in ET.fromstring(picture).iter() if node.tag.endswith("text")]  # noqa: S314
    assert {"ours[k]", "bare"} <= set(names)
