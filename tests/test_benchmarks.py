"""The benchmarks work: each case runs at a tiny size and checks the answers it gets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NoReturn

import pytest

from benchmarks import peers
from benchmarks.cases import CASES
from benchmarks.runner import TINY, Plan, Skipped

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
