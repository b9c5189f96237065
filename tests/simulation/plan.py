"""Which acts a run consists of, and when: all of it comes from the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.simulation.profile import Profile

__all__ = ["Act", "plan"]

_WEIGHTS: Final[dict[str, float]] = {
    "call": 30,
    "burst": 14,
    "expire": 6,
    "kill": 4,
    "add": 8,
    "login": 5,
    "ensure": 3,
    "refresh": 6,
    "renew": 4,
    "refresh token": 6,
    "validate": 2,
    "revoke": 2,
    "remove": 3,
    "disconnect": 1,
    "outside": 1,
    "cancel": 3,
    "close": 2,
    "clear": 1,
    "app token": 1,
    "crash": 4,
    "stop": 4,
    "suspend": 2,
    "jump": 2,
    "outage": 1,
    "cut": 1.5,
    "lose": 2,
    "disaster": 0.5,
    "trap": 6,
}


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that happens at a time of its own; `seed` decides its details."""

    name: str
    at: float
    what: str
    process: int
    user: int
    seed: str


def plan(seed: int, profile: Profile) -> list[Act]:
    """All acts of a run."""
    chance = random.Random(f"acts {seed}")
    weights = {what: weight * chance.expovariate(1.0) for what, weight in _WEIGHTS.items()}
    for what in weights:
        if what not in {"call", "burst"} and chance.random() < 0.4:
            weights[what] = 0.0
    names, cumulative = list(weights), list(accumulate(weights.values()))
    acts, at = [], 0.0
    for number in range(profile.acts):
        at += chance.expovariate(1.0) * profile.pace
        what = chance.choices(names, cum_weights=cumulative)[0]
        process, user = chance.randrange(profile.processes), chance.randrange(profile.users)
        acts.append(Act(f"act {number + 1}", at, what, process, user, f"{seed} {number}"))
    return acts
