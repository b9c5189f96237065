"""The benchmarks work: each case runs at a tiny size and checks the answers it gets."""

from __future__ import annotations

import asyncio
import json
import xml.etree.ElementTree as ET
from io import StringIO
from typing import TYPE_CHECKING, Final

import pytest
from rich.console import Console

from benchmarks import report, sizing
from benchmarks.cases import CASES, chosen
from benchmarks.chart import draw
from benchmarks.race import (
    TINY,
    Contestant,
    Line,
    Mark,
    Outcome,
    Plan,
    WrongAnswer,
    compare,
    expect,
    race,
)

if TYPE_CHECKING:
    from pathlib import Path


CERTAIN: Final = {"storm", "storm-processes", "storm-spread", "storm-cancel", "write-crowd"}
"""Cases whose marks do not depend on speed, but for the one about bare calls."""


@pytest.mark.parametrize("name", CASES)
def test_a_case_runs(name: str, tmp_path: Path) -> None:
    """With right answers (a wrong one raises), a figure of ours, and a mark for it.

    However slow the machine: one exchange, nothing fails, the pair is stored, few connections.
    """
    outcomes = asyncio.run(CASES[name](Plan(tmp_path, TINY, tiny=True)))
    assert outcomes
    for outcome in outcomes:
        assert outcome.marks
        assert "ours" in {line.role for line in outcome.lines}
        assert all(figure > 0 for line in outcome.lines for figure in line.samples)
        missed = [mark.wanted for mark in outcome.marks if not mark.met]
        assert name not in CERTAIN or all("bare calls" in wanted for wanted in missed)


async def test_sizing_counts_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh is two writes, the lease and the pair; a validation is one."""
    monkeypatch.setattr(sizing, "COUNT", 2)
    monkeypatch.setattr(sizing, "ROUNDS", 1)
    found = await sizing.in_motion(1)
    assert {name: cost.writes for name, cost in found.items()} == {
        "refresh": 2,
        "validation": 1,
        "put, alone": 1,
        "put, among many": 1,
    }


async def test_contestants_take_turns() -> None:
    """Every round has all of them, each time another one first."""
    order: list[str] = []

    def contestant(who: str, figure: float, *, limit: bool) -> Contestant:
        async def run() -> float:
            order.append(who)
            return figure

        return Contestant(who, "limit" if limit else "ours", run)

    outcome = Outcome("case", "title")
    await race(outcome, [contestant("a", 2, limit=True), contestant("b", 3, limit=False)], 2)
    assert order == ["a", "b", "b", "a"]
    assert outcome.line("b").ratio == 1.5
    outcome.keep("b", 1.5, "a")
    outcome.keep("b", 1.4, "a")
    assert [mark.met for mark in outcome.marks] == [True, False]


async def test_a_peer_that_fails_is_left_out_with_a_reason() -> None:
    """The others run on; if ours or the limit fails, the case fails."""

    async def fail() -> float:
        raise OSError("not here")

    async def run() -> float:
        return 1.0

    outcome = Outcome("case", "title")
    await race(outcome, [Contestant("a", "ours", run), Contestant("b", "peer", fail)], 2)
    assert [line.who for line in outcome.lines] == ["a"]
    assert outcome.left_out == ["b: OSError: not here"]
    with pytest.raises(OSError, match="not here"):
        await race(outcome, [Contestant("a", "ours", fail)], 1)


def test_a_wrong_answer_is_an_error() -> None:
    """A figure for a wrong answer is worth nothing."""
    with pytest.raises(WrongAnswer, match="too few"):
        expect([], "too few")


def an_outcome(figure: float = 2.0) -> Outcome:
    """Two lines, one mark that is missed."""
    lines = [Line("ours[k]", "ours", [figure, figure]), Line("bare", "limit", [1.0, 1.0])]
    outcome = Outcome("open-redis", "title", lines, [Mark("fast", "slow", met=False)], size=100)
    compare(outcome)
    return outcome


def test_a_missed_mark_is_shown() -> None:
    """In the terminal and on the page."""
    console = Console(file=StringIO(), width=120)
    report.show(an_outcome(), console)
    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    assert "MISSED: fast; found slow" in shown
    assert "ours[k]" in shown
    content = {
        "date": "2026-01-01",
        "machine": report.machine(),
        "outcomes": [an_outcome().as_json()],
    }
    assert "title: fast; found slow" in report.page(content)


def test_results_survive_the_file() -> None:
    """What is compared is what was measured."""
    outcome = an_outcome()
    assert Outcome.of_json(json.loads(json.dumps(outcome.as_json()))) == outcome


def test_the_difference_to_the_baseline() -> None:
    """Ours in time and against the limit; the limit itself is not compared."""
    console = Console(file=StringIO(), width=120)
    report.compare([an_outcome(2.0)], [an_outcome(3.0)], console)
    assert isinstance(console.file, StringIO)
    assert "+50%" in console.file.getvalue()
    assert "bare" not in console.file.getvalue()


def test_cases_are_chosen_by_name() -> None:
    """`storm` is all three; a name that no other begins with is itself; an unknown one is none."""
    assert chosen("storm") == ["storm", "storm-processes", "storm-spread", "storm-cancel"]
    assert chosen("helix") == ["helix"]
    assert chosen("") == list(CASES)
    assert chosen("nothing") == []


def test_the_chart_is_a_picture() -> None:
    """Well-formed, with a curve for each that ran at every size."""
    picture = draw([an_outcome(), Outcome("open-redis", "title", an_outcome().lines, size=1000)])
    names = [node.text for node in ET.fromstring(picture).iter() if node.tag.endswith("text")]  # noqa: S314
    assert "ours[k]" in names
    assert "bare" in names
