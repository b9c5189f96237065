"""A run's history as a table that one can read: time, who, what, and which token."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.simulation.result import Event, Result

__all__ = ["CHECK", "lines", "table"]

CHECK: Final = "CHECK"
"""Who writes down what the checks have found."""
TOKEN: Final = re.compile(r"\b(access|refresh)0*(\d+)\b")


def table(result: Result) -> str:
    """The whole history of a run, and what it broke."""
    head = f"seed {result.seed}"
    broken = [f"  {violation.kind}: {_short(violation.text)}" for violation in result.violations]
    return "\n".join((head, *lines(_until_broken(result.history)), *broken))


def _until_broken(history: list[Event]) -> list[Event]:
    """What came after the last finding explains nothing."""
    last = max((n for n, event in enumerate(history) if event.who == CHECK), default=None)
    return history if last is None else history[: last + 1]


def lines(history: Iterable[Event]) -> list[str]:
    """One line for each event."""
    return [
        f"{event.at:10.3f}  {event.who:<8}  {_short('  '.join((event.what, *event.facts)))}"
        for event in history
    ]


def _short(text: str) -> str:
    return TOKEN.sub(lambda match: f"{match[1][0].upper()}{match[2]}", text)
