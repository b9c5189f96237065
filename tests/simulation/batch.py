"""Many runs on all cores, and what they have shown together."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.simulation.known import KNOWN
from tests.simulation.world import simulate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.simulation.result import Result

__all__ = ["Summary", "prepare", "run", "run_all", "run_known", "workers"]

CHUNK: Final = 50
PROGRESS: Final = 2.0


@dataclass
class Summary:
    """What some runs have shown."""

    runs: int = 0
    events: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    failing: dict[int, str] = field(default_factory=dict)
    """The first violation's kind, by seed."""
    unavoidable: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def count(self, result: Result) -> None:
        """Add one run."""
        kinds = [violation.kind for violation in result.violations]
        failing = {result.seed: kinds[0]} if kinds else {}
        faults, unavoidable = result.faults, result.unavoidable
        self.add(Summary(1, result.events, Counter(kinds), failing, unavoidable, faults))

    def add(self, other: Summary) -> None:
        """Add what other runs have shown."""
        self.runs += other.runs
        self.events += other.events
        self.broken.update(other.broken)
        self.failing.update(other.failing)
        self.unavoidable.update(other.unavoidable)
        self.faults.update(other.faults)


def run(seeds: Iterable[int]) -> Summary:
    """Run some seeds, one after the other. One that fails is named on stderr at once."""
    total = Summary()
    for seed in seeds:
        total.count(simulate(seed))
        if seed in total.failing:
            sys.stderr.write(f"failed: {seed} ({total.failing[seed]})\n")
            sys.stderr.flush()
        # A run leaves nothing but cycles behind, all of them young.
        gc.collect(0)
    return total


def prepare() -> None:
    """Make a process ready for many runs."""
    logging.disable(logging.CRITICAL)
    # A process that is killed before a task of its own began leaves that task's coroutine.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    gc.collect()
    gc.freeze()
    gc.disable()


def _parts(start: int, count: int) -> Iterator[range]:
    for first in range(start, start + count, CHUNK):
        yield range(first, min(first + CHUNK, start + count))


@contextmanager
def workers() -> Iterator[ProcessPoolExecutor]:
    """A process for each core. If one of them dies, so does the whole."""
    pool = ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"), initializer=prepare)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def run_all(start: int, count: int) -> Summary:
    """Run many seeds on all cores, with a line of progress."""
    total, shown, began = Summary(), time.monotonic(), time.monotonic()
    with workers() as pool:
        for part in as_completed([pool.submit(run, seeds) for seeds in _parts(start, count)]):
            total.add(part.result())
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
