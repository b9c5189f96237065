"""What a run has shown."""

from __future__ import annotations

from collections import Counter  # noqa: TC003
from typing import NamedTuple

import msgspec

__all__ = ["Event", "Result", "Violation"]


class Event(msgspec.Struct, frozen=True, gc=False):
    """A line of the history."""

    at: float
    who: str
    what: str
    facts: tuple[str, ...]


class Violation(NamedTuple):
    """A promise that was broken."""

    kind: str
    text: str


class Result(NamedTuple):
    """What a run has shown."""

    seed: int
    violations: list[Violation]
    unavoidable: Counter[str]
    faults: Counter[str]
    happened: list[str]
    history: list[Event]
    events: int
    """Lines of the history and store calls."""
