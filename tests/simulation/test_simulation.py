"""The vault in simulated worlds: some fixed seeds, those that ever failed, and the tool itself.

`make simulate SEEDS=1000000` runs more than fit in here.
"""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.simulation.command import run
from tests.simulation.known import KNOWN
from tests.simulation.profile import FAULTS, draw
from tests.simulation.world import simulate

SEEDS: Final = 4_000
"""As many as two cores do in some 30 s."""
ALL_WELL: Final = "0 avoidable replays, 0 lost pairs, 0 wrong needs_login, 0 hung calls"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_no_seed_breaks_a_promise() -> None:
    """The first seeds show no avoidable replay, no lost pair, no wrong needs_login, no hang."""
    done = run("--seeds", str(SEEDS))
    assert done.stdout.splitlines()[-1] == f"{SEEDS} schedules: {ALL_WELL}", done.stdout[-20_000:]
    assert done.returncode == 0, done.stdout[-20_000:]


def test_no_seed_that_ever_failed_fails_again() -> None:
    """What the simulation has found stays mended."""
    done = run("--known")
    assert done.stdout.splitlines()[-1] == f"{len(KNOWN)} schedules: {ALL_WELL}", done.stdout


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
