"""Who runs, how often, and what came of it: contestants take turns, round by round."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

Role = Literal["ours", "peer", "limit"]

SIZES: Final = (1_000, 10_000, 100_000)
TINY: Final = (50,)
PATIENCE: Final = 120.0
"""Seconds after which a contestant's turn has failed."""


class WrongAnswer(Exception):
    """Somebody was fast, but wrong: the figure is worth nothing."""


class LeftOut(Exception):
    """A contestant that cannot take part; the message says why."""


@dataclass(frozen=True)
class Plan:
    """How much is measured, and a folder for it."""

    folder: Path
    sizes: tuple[int, ...] = SIZES
    tiny: bool = False

    def rounds(self, full: int) -> int:
        """So many rounds, or one in a smoke test."""
        return 1 if self.tiny else full

    def count(self, full: int) -> int:
        """So many operations, or few in a smoke test."""
        return max(4, full // 50) if self.tiny else full


@dataclass
class Contestant:
    """`run` takes one turn and returns its figure: seconds for one operation, or bytes."""

    who: str
    role: Role
    run: Callable[[], Awaitable[float]]


@dataclass
class Line:
    """A contestant's figures; `ratio` is the median of the ratios to the limit, by rounds."""

    who: str
    role: Role
    samples: list[float] = field(default_factory=list)
    unit: Literal["s", "B"] = "s"
    ratio: float | None = None
    said: str = ""

    @property
    def median(self) -> float:
        """The middle figure."""
        return median(self.samples)


@dataclass(frozen=True)
class Mark:
    """What ours has to keep, what was found, and whether that is kept."""

    wanted: str
    found: str
    met: bool


@dataclass
class Outcome:
    """A table: one case, at one size."""

    case: str
    title: str
    lines: list[Line] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    size: int | None = None

    def line(self, who: str) -> Line:
        """The line of this name."""
        return next(line for line in self.lines if line.who == who)

    def keep(self, ours: str, at_most: float, of_what: str) -> None:
        """The mark: ours takes at most so many times as long as the limit."""
        ratio = self.line(ours).ratio
        if ratio is None:
            raise WrongAnswer(f"{self.case}: {ours} has nothing to be compared with")
        self.must(f"{ours}: ≤ {at_most:g} × {of_what}", f"{ratio:.2f} ×", met=ratio <= at_most)  # noqa: RUF001

    def must(self, wanted: str, found: str, *, met: bool) -> None:
        """A mark of any other kind."""
        self.marks.append(Mark(wanted, found, met))

    def as_json(self) -> dict[str, Any]:
        """For the file."""
        return asdict(self)

    @classmethod
    def of_json(cls, content: dict[str, Any]) -> Outcome:
        """From the file."""
        lines = [Line(**line) for line in content["lines"]]
        marks = [Mark(**mark) for mark in content["marks"]]
        return cls(**{**content, "lines": lines, "marks": marks})


async def race(outcome: Outcome, contestants: Sequence[Contestant], rounds: int) -> None:
    """Let all run so many rounds, each round in another order; a peer that fails is left out."""
    lines = {one.who: Line(one.who, one.role) for one in contestants}
    running = list(contestants)
    for turn in range(rounds):
        shift = turn % len(running)
        for one in (*running[shift:], *running[:shift]):
            # The loop lets go of what the last turn has made when it goes on: not in the next one.
            await asyncio.sleep(0)
            gc.collect()
            try:
                async with asyncio.timeout(PATIENCE):
                    lines[one.who].samples.append(await one.run())
            except Exception as error:
                if one.role != "peer":
                    raise
                running.remove(one)
                del lines[one.who]
                outcome.left_out.append(f"{one.who}: {type(error).__name__}: {error}"[:200])
    outcome.lines += lines.values()
    compare(outcome)


def compare(outcome: Outcome) -> None:
    """Fill the ratios in, if there is a limit."""
    limit = next((line for line in outcome.lines if line.role == "limit"), None)
    for line in outcome.lines:
        if limit is not None and len(line.samples) == len(limit.samples):
            pairs = zip(line.samples, limit.samples, strict=True)
            line.ratio = median(mine / least for mine, least in pairs)


def expect(condition: object, what: str) -> None:
    """Raise `WrongAnswer` unless so."""
    if not condition:
        raise WrongAnswer(what)
