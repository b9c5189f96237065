"""Looks for the seeds that find planted faults, and tries those that are recorded."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.simulation.batch import workers
from tests.simulation.planted import PLANTED, Plant, planted
from tests.simulation.world import simulate

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ENOUGH", "Finding", "search", "try_recorded"]

ENOUGH: Final = 8_000
"""A fault has to be found within so many schedules."""


class Finding(NamedTuple):
    """What a seed shows with a fault planted, and without; `seed` 0: none was found."""

    name: str
    seed: int
    kinds: list[str]
    without: list[str]


def _kinds(plant: Plant, seed: int) -> list[str]:
    with planted(plant) as simulate_planted:
        return [violation.kind for violation in simulate_planted(seed).violations]


def _try(plant: Plant) -> Finding:
    clean = [violation.kind for violation in simulate(plant.seed).violations]
    return Finding(plant.name, plant.seed, _kinds(plant, plant.seed), clean)


def _search(plant: Plant) -> Finding:
    with planted(plant) as simulate_planted:
        for seed in range(1, ENOUGH):
            kinds = [violation.kind for violation in simulate_planted(seed).violations]
            gc.collect(0)
            if kinds and not simulate(seed).violations:
                return Finding(plant.name, seed, kinds, [])
    return Finding(plant.name, 0, [], [])


def _each(work: str) -> Iterator[Finding]:
    with workers() as pool:
        yield from pool.map({"search": _search, "try": _try}[work], PLANTED)


def search() -> Iterator[Finding]:
    """The first seed that finds each fault, all cores at it."""
    return _each("search")


def try_recorded() -> Iterator[Finding]:
    """What the recorded seeds show."""
    return _each("try")
