"""What a run has shown, and its history as a table: time, who, what, and which token."""

from __future__ import annotations

import re
from collections import Counter  # noqa: TC003
from typing import Final, NamedTuple

import msgspec

__all__ = ["CHECK", "Event", "Result", "Violation", "table"]

CHECK: Final = "CHECK"
"""Who writes down what the checks have found."""
TOKEN: Final = re.compile(r"\b(access|refresh)0*(\d+)\b")


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


def table(result: Result) -> str:
    """The whole history of a run, and what it broke."""
    head = f"seed {result.seed}"
    broken = [f"  {violation.kind}: {_short(violation.text)}" for violation in result.violations]
    return "\n".join((head, *map(_line, _until_broken(result.history)), *broken))


def _until_broken(history: list[Event]) -> list[Event]:
    """What came after the last finding explains nothing."""
    last = max((n for n, event in enumerate(history) if event.who == CHECK), default=None)
    return history if last is None else history[: last + 1]


def _line(event: Event) -> str:
    facts = _short("  ".join((event.what, *event.facts)))
    return f"{event.at:10.3f}  {event.who:<8}  {facts}"


def _short(text: str) -> str:
    return TOKEN.sub(lambda match: f"{match[1][0].upper()}{match[2]}", text)
