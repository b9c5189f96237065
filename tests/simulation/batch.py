"""Many runs on all cores, and what they have shown together."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.simulation.known import KNOWN
from tests.simulation.world import simulate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Summary", "prepare", "run", "run_all", "run_known"]

CHUNK: Final = 50
PROGRESS: Final = 2.0


class Summary(NamedTuple):
    """What some runs have shown."""

    runs: int
    events: int
    broken: Counter[str]
    failing: dict[int, str]
    """The first violation's kind, by seed."""
    unavoidable: Counter[str]
    faults: Counter[str]


def _empty() -> Summary:
    return Summary(0, 0, Counter(), {}, Counter(), Counter())


def _add(total: Summary, part: Summary) -> Summary:
    return Summary(
        total.runs + part.runs,
        total.events + part.events,
        total.broken + part.broken,
        total.failing | part.failing,
        total.unavoidable + part.unavoidable,
        total.faults + part.faults,
    )


def run(seeds: Iterable[int]) -> Summary:
    """Run some seeds, one after the other."""
    total = _empty()
    for seed in seeds:
        result = simulate(seed)
        kinds = [violation.kind for violation in result.violations]
        failing = {seed: kinds[0]} if kinds else {}
        total.broken.update(kinds)
        total.unavoidable.update(result.unavoidable)
        total.faults.update(result.faults)
        total.failing.update(failing)
        total = total._replace(runs=total.runs + 1, events=total.events + result.events)
        # A run leaves nothing but cycles behind, all of them young.
        gc.collect(0)
    return total


def prepare() -> None:
    """Make a process ready for many runs."""
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.freeze()
    gc.disable()


def _parts(start: int, count: int) -> Iterator[range]:
    for first in range(start, start + count, CHUNK):
        yield range(first, min(first + CHUNK, start + count))


def run_all(start: int, count: int) -> Summary:
    """Run many seeds on all cores, with a line of progress."""
    total, shown, began = _empty(), time.monotonic(), time.monotonic()
    with multiprocessing.get_context("spawn").Pool(initializer=prepare) as pool:
        for part in pool.imap_unordered(run, _parts(start, count)):
            total = _add(total, part)
            now = time.monotonic()
            if now - shown > PROGRESS:
                shown = now
                rate = total.runs / (now - began)
                line = (
                    f"{total.runs} of {count}, {rate:.0f} a second, {len(total.failing)} failed\n"
                )
                sys.stderr.write(line)
    return total


def run_known() -> Summary:
    """Run the seeds that ever failed."""
    return run(KNOWN)
