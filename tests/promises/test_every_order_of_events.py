"""The protocol is right in every order of events: the simulation finds no seed that breaks it.

The real vault code runs under a simulated Twitch, store, clocks and processes, driven by a seed.
`make simulate SEEDS=1000000` runs more than fit in here.
"""

from __future__ import annotations

from typing import Final

import pytest

from tests.simulation.command import run
from tests.simulation.known import KNOWN

SEEDS: Final = 3_000
"""As many as two cores do in some 30 s."""
ALL_WELL: Final = "0 avoidable replays, 0 lost pairs, 0 wrong needs_login, 0 hung calls"


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("arguments", "count"),
    [(("--seeds", str(SEEDS)), SEEDS), (("--known",), len(KNOWN))],
    ids=["the first seeds", "seeds that failed once"],
)
def test_no_seed_breaks_a_promise(arguments: tuple[str, ...], count: int) -> None:
    """No avoidable replay, no lost pair, no wrong needs_login, no call that hangs."""
    done = run(*arguments)
    assert done.stdout.splitlines()[-1] == f"{count} schedules: {ALL_WELL}", done.stdout[-20_000:]
    assert done.returncode == 0, done.stdout[-20_000:]
