"""Looks for the seeds that find planted faults, and tries those that are recorded."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.simulation.batch import workers
from tests.simulation.planted import PLANTED, Plant, planted
from tests.simulation.world import simulate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.simulation.shrink import Simulate

__all__ = ["ENOUGH", "Finding", "find_planted"]

ENOUGH: Final = 8_000
"""A fault has to be found within so many schedules."""


class Finding(NamedTuple):
    """A seed that breaks a promise with a fault planted, and none without; 0: none was found."""

    name: str
    seed: int
    kind: str


def _kind(simulate: Simulate, seed: int) -> str:
    return next((violation.kind for violation in simulate(seed).violations), "")


def _find(plant: Plant, seeds: Iterable[int]) -> Finding:
    with planted(plant) as simulate_planted:
        for seed in seeds:
            kind = _kind(simulate_planted, seed)
            gc.collect(0)
            if kind and not _kind(simulate, seed):
                return Finding(plant.name, seed, kind)
    return Finding(plant.name, 0, "NOT FOUND")


def find_planted(*, anew: bool) -> Iterator[Finding]:
    """What the recorded seeds show; `anew`: the first seed that finds each fault."""
    seeds = [range(1, ENOUGH) if anew else (plant.seed,) for plant in PLANTED]
    with workers() as pool:
        yield from pool.map(_find, PLANTED, seeds)
