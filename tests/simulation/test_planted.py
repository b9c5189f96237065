"""The simulation is tested itself: it finds every fault that is planted into the vault.

`python -m tests.simulation --plants` searches for all of them again, from the first seed on.
"""

from __future__ import annotations

import pytest

from tests.simulation.planted import PLANTED, Plant, planted
from tests.simulation.shrink import shrink
from tests.simulation.world import simulate

ENOUGH = 4_000
"""A fault has to be found within so many schedules."""


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.name)
def test_a_planted_fault_is_found(plant: Plant) -> None:
    """The recorded seed shows the fault, and shows nothing without it."""
    assert 0 < plant.seed < ENOUGH, "search for it: python -m tests.simulation --plants"
    with planted(plant) as simulate_planted:
        kinds = [violation.kind for violation in simulate_planted(plant.seed).violations]
    assert plant.kind in kinds
    assert not simulate(plant.seed).violations


def test_a_text_that_is_not_there_is_an_error() -> None:
    """A fault that cannot be planted, because the vault has changed, does not pass as found."""
    lost = Plant("lost", "exchange", (("no such line", ""),), 1, "")
    with pytest.raises(LookupError, match="no such line"), planted(lost):
        pass


def test_a_failing_run_is_shortened() -> None:
    """What is left of a failing run is shorter, and breaks the same promise."""
    plant = PLANTED[0]
    with planted(plant) as simulate_planted:
        whole = simulate_planted(plant.seed)
        short = shrink(whole, 10.0, plant.kind, simulate_planted)
    assert plant.kind in {violation.kind for violation in short.violations}
    assert len(short.happened) < len(whole.happened)
