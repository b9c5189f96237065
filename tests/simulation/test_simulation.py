"""The vault in simulated worlds: a fixed number of seeds, those that ever failed, and the tool itself.

`make simulate SEEDS=1000000` runs more than fit in here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.simulation.profile import FAULTS, draw
from tests.simulation.world import simulate

ROOT: Final = Path(__file__).parents[2]
SEEDS: Final = 4_000
"""As many as two cores do in some 30 s."""
LAST_LINE: Final = (
    f"{SEEDS} schedules: 0 avoidable replays, 0 lost pairs, 0 wrong needs_login, 0 hung calls"
)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
@pytest.mark.timeout(300)
def test_no_seed_breaks_a_promise() -> None:
    """The first seeds show no avoidable replay, no lost pair, no wrong needs_login, no hung call."""
    done = _run("--seeds", str(SEEDS))
    assert done.stdout.splitlines()[-1] == LAST_LINE, done.stdout[-20_000:]
    assert done.returncode == 0, done.stdout[-20_000:]


@pytest.mark.parametrize("seed", range(1, 30, 7))
def test_a_seed_is_a_history(seed: int) -> None:
    """The same seed is the same run, event by event, in every process."""
    first, second = simulate(seed), simulate(seed)
    assert first.history == second.history
    assert _run("--seed", str(seed)).stdout == _run("--seed", str(seed)).stdout


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
    done = _run("--seed", "1")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert re.fullmatch(r" +\d+\.\d{3}  P1 +starts", lines[1])
    assert lines[-1] == "repeat it: make simulate SEED=1"
    assert not re.search(r"access\d{5}|refresh\d{5}", done.stdout)


def test_many_runs_are_counted() -> None:
    """`--seeds` prints what happened, by kind, and the one line that says it all."""
    done = _run("--seeds", "60", "--start", "1000")
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"60 schedules, \d+ events each", lines[0])
    assert any("act: burst" in line for line in lines)
    assert lines[-1].startswith("60 schedules: 0 avoidable replays")
