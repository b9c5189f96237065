"""Runs the candidates of a case in turn, round by round, and compares them with the limit."""

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
TIMEOUT: Final = 120.0
"""Seconds after which a turn has failed."""


class WrongAnswer(Exception):
    """A candidate gave a wrong answer, so its figure means nothing."""


class Skipped(Exception):
    """A candidate that cannot run here; the message says why."""


@dataclass(frozen=True)
class Plan:
    """The sizes to measure, and a folder for files."""

    folder: Path
    sizes: tuple[int, ...] = SIZES
    tiny: bool = False

    def rounds(self, full: int) -> int:
        """The number of rounds: `full`, or one in a smoke test."""
        return 1 if self.tiny else full

    def count(self, full: int) -> int:
        """The number of operations: `full`, or few in a smoke test."""
        return max(4, full // 50) if self.tiny else full


@dataclass
class Candidate:
    """`run` takes one turn and returns its figure: seconds for one operation, or bytes."""

    who: str
    role: Role
    run: Callable[[], Awaitable[float]]


@dataclass
class Line:
    """The figures of one candidate; `ratio` is the median of the ratios to the limit, by rounds."""

    who: str
    role: Role
    samples: list[float] = field(default_factory=list)
    unit: Literal["s", "B"] = "s"
    ratio: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """The median figure."""
        return median(self.samples)


@dataclass(frozen=True)
class Mark:
    """What is required of ours, what was found, and whether that passes."""

    expected: str
    found: str
    passed: bool


@dataclass
class Result:
    """The table of one case at one size."""

    case: str
    title: str
    lines: list[Line] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    size: int | None = None

    def line(self, who: str) -> Line:
        """The line of this candidate."""
        return next(line for line in self.lines if line.who == who)

    def require_ratio(self, ours: str, at_most: float, of_what: str) -> None:
        """Add the mark that ours takes at most `at_most` times as long as the limit."""
        ratio = self.line(ours).ratio
        if ratio is None:
            raise WrongAnswer(f"{self.case}: {ours} has nothing to be compared with")
        expected = f"{ours}: ≤ {at_most:g} × {of_what}"  # noqa: RUF001
        self.require(expected, f"{ratio:.2f} ×", passed=ratio <= at_most)  # noqa: RUF001

    def require(self, expected: str, found: str, *, passed: bool) -> None:
        """Add any other mark."""
        self.marks.append(Mark(expected, found, passed))

    def as_json(self) -> dict[str, Any]:
        """The content for a file."""
        return asdict(self)

    @classmethod
    def of_json(cls, content: dict[str, Any]) -> Result:
        """The result in a file's content."""
        lines = [Line(**line) for line in content["lines"]]
        marks = [Mark(**mark) for mark in content["marks"]]
        return cls(**{**content, "lines": lines, "marks": marks})


async def measure(result: Result, candidates: Sequence[Candidate], rounds: int) -> None:
    """Run all in each round, in another order each time; a peer that fails is skipped."""
    lines = {one.who: Line(one.who, one.role) for one in candidates}
    running = list(candidates)
    for turn in range(rounds):
        shift = turn % len(running)
        for one in (*running[shift:], *running[:shift]):
            # The loop lets go of what the last turn has made when it goes on: not in the next one.
            await asyncio.sleep(0)
            gc.collect()
            try:
                async with asyncio.timeout(TIMEOUT):
                    lines[one.who].samples.append(await one.run())
            except Exception as error:
                if one.role != "peer":
                    raise
                running.remove(one)
                del lines[one.who]
                result.skipped.append(f"{one.who}: {type(error).__name__}: {error}"[:200])
    result.lines += lines.values()
    compare(result)


def compare(result: Result) -> None:
    """Fill the ratios in, if there is a limit."""
    limit = next((line for line in result.lines if line.role == "limit"), None)
    for line in result.lines:
        if limit is not None and len(line.samples) == len(limit.samples):
            pairs = zip(line.samples, limit.samples, strict=True)
            line.ratio = median(mine / least for mine, least in pairs)


def expect(condition: object, what: str) -> None:
    """Raise `WrongAnswer` unless so."""
    if not condition:
        raise WrongAnswer(what)
