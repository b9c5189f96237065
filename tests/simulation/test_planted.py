"""The simulation is tested itself: it finds every fault that is planted into the vault.

`python -m tests.simulation --search` looks for all of them again, from the first seed on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.simulation.command import run
from tests.simulation.planted import PLANTED, Plant, planted
from tests.simulation.search import ENOUGH
from tests.simulation.shrink import shrink

if TYPE_CHECKING:
    from tests.simulation.result import Result


@pytest.fixture(scope="module")
def found() -> dict[str, tuple[int, str]]:
    """What each recorded seed shows, by the fault's name."""
    lines = [line.split(" | ") for line in run("--plants").stdout.splitlines()[:-1]]
    return {name: (int(seed), kind) for name, seed, kind in lines}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.name)
def test_a_planted_fault_is_found(plant: Plant, found: dict[str, tuple[int, str]]) -> None:
    """The recorded seed shows the fault, and nothing without it."""
    assert 0 < plant.seed < ENOUGH, "look for a seed: python -m tests.simulation --search"
    assert found[plant.name] == (plant.seed, plant.kind)


def test_a_text_that_is_not_there_is_an_error() -> None:
    """A fault that cannot be planted, because the vault has changed, does not pass as found."""
    lost = Plant("lost", {"exchange": (("no such line", ""),)}, 1, "")
    with pytest.raises(LookupError, match="no such line"), planted(lost):
        pass


def _fails(result: Result) -> bool:
    return bool(result.violations)


def test_a_failing_run_is_shortened() -> None:
    """What is left of a failing run is shorter, and breaks the same promise."""
    plant = next(plant for plant in PLANTED if plant.name == "a lease that lives is taken over")
    with planted(plant) as simulate_planted:
        whole = next(filter(_fails, map(simulate_planted, range(1, ENOUGH))))
        kind = whole.violations[0].kind
        short = shrink(whole, 5.0, kind, simulate_planted)
    assert kind in {violation.kind for violation in short.violations}
    assert len(short.happened) < len(whole.happened)
