"""A run's history as a table that one can read: time, who, what, and which token."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.simulation.world import Event, Result

__all__ = ["lines", "table"]

TOKEN: Final = re.compile(r"\b(access|refresh)0*(\d+)\b")


def table(result: Result) -> str:
    """The whole history of a run, and what it broke."""
    head = f"seed {result.seed}: {len(result.history)} events"
    broken = [f"  {violation.kind}: {_short(violation.text)}" for violation in result.violations]
    return "\n".join((head, *lines(result.history), *broken))


def lines(history: Iterable[Event]) -> list[str]:
    """One line for each event."""
    return [
        f"{event.at:10.3f}  {event.who:<8}  {_short('  '.join((event.what, *event.facts)))}"
        for event in history
    ]


def _short(text: str) -> str:
    return TOKEN.sub(lambda match: f"{match[1][0].upper()}{match[2]}", text)
