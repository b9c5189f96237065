"""The simulation as a tool; what it finds is in `tests/promises/test_every_order_of_events.py`."""

from __future__ import annotations

import re

import pytest

from tests.simulation.command import run
from tests.simulation.profile import FAULTS, draw
from tests.simulation.world import simulate


@pytest.mark.parametrize("seed", range(1, 30, 7))
def test_a_seed_is_a_history(seed: int) -> None:
    """The same seed is the same run, event by event, in every process."""
    first, second = simulate(seed), simulate(seed)
    assert first.history == second.history
    assert run("--seed", str(seed)).stdout == run("--seed", str(seed)).stdout


def test_the_seeds_differ_in_everything() -> None:
    """Among some hundred seeds there are all kinds of clients, stores and faults."""
    profiles = [draw(seed) for seed in range(300)]
    assert {profile.store for profile in profiles} == {"redis", "sqlite", "plain"}
    assert {profile.public for profile in profiles} == {True, False}
    modes = {profile.switches.get("confidential_refresh") for profile in profiles}
    assert modes == {None, "rotate", "rotate-keep", "same"}
    drawn = {
        f"{place}: {name}"
        for profile in profiles
        for place, rates in profile.rates.items()
        for _, name in rates
    }
    assert drawn == {f"{place}: {name}" for place, names in FAULTS.items() for name in names}


def test_one_run_is_shown_as_a_table() -> None:
    """`--seed` prints who did what when, with tokens by short names, and how to repeat it."""
    done = run("--seed", "1")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert re.fullmatch(r" +\d+\.\d{3}  P1 +starts", lines[1])
    assert lines[-1] == "repeat it: make simulate SEED=1"
    assert not re.search(r"access\d{5}|refresh\d{5}", done.stdout)


def test_many_runs_are_counted() -> None:
    """`--seeds` prints what happened, by kind, and the one line that says it all."""
    done = run("--seeds", "60", "--start", "1000")
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"60 schedules, \d+ events each", lines[0])
    assert any("act: burst" in line for line in lines)
    assert lines[-1].startswith("60 schedules: 0 avoidable replays")
