"""What the world writes down: requests, pairs, what processes were asked for, and losses."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from tests.simulation.host import Host

__all__ = ["NEVER", "Decision", "Loss", "Pair", "Request", "Stored"]

NEVER: Final = math.inf


class Stored(msgspec.Struct, gc=False):
    """What the world reads of a stored record."""

    access_token: str = ""
    refresh_token: str | None = None
    state: str = "live"
    reason: str = ""
    lease: str | None = None
    generation: int = 1
    seeds: str = ""
    exchanged: str = ""

    def has_spent(self, mark: str) -> bool:
        """Whether it remembers the refresh token with this fingerprint as exchanged."""
        return mark in self.seeds or mark in self.exchanged


@dataclass(eq=False, slots=True)
class Request:
    """A request that a process sent to Twitch; times are virtual."""

    number: int
    host: Host
    endpoint: str
    token: str
    """The refresh or access token that it presents."""
    left_at: float = NEVER
    arrived_at: float = NEVER
    answered_at: float = NEVER
    """When the process had the answer itself, unharmed."""
    failed_at: float = NEVER
    """When the process had something else instead: an error, or nothing."""
    fate: str = ""
    """What the network or Twitch's front did to it."""
    abandoned: bool = False
    """The process stopped listening without need."""
    pair: Pair | None = None
    """The pair that Twitch gave for it."""

    @property
    def is_open(self) -> bool:
        """Whether it has left and its process still awaits the answer."""
        return self.left_at < NEVER and self.answered_at == NEVER and self.failed_at == NEVER


@dataclass(eq=False, slots=True)
class Pair:
    """A pair that Twitch issued. `chain` is the login it descends from, `place` counts from it."""

    user: str
    chain: int
    place: int
    access: str
    refresh: str
    issued_at: float
    by: Request | None = None
    """The exchange that it came from; None for a login, or if somebody outside did it."""
    holders: dict[Host, float] = field(default_factory=dict)
    """The processes that had it, by an answer, a login or the store, and since when."""
    received: dict[Host, float] = field(default_factory=dict)
    """Those of them that Twitch or the user gave it to."""
    stored_at: float = NEVER
    """When the store first had it."""
    dead_at: float = NEVER
    """When its access token died, of whatever."""
    ends_at: float = NEVER
    """When its access token runs out by itself, if the world has looked."""
    spent_by: Request | None = None
    published: bool = False
    """The user has seen it, so that it may come back from a file."""

    @property
    def is_from_outside(self) -> bool:
        """Whether somebody outside has exchanged a copy of the one before it."""
        return self.by is None and self.place > 0

    def __str__(self) -> str:
        return f"[{self.access} {self.refresh} of {self.user}]"


@dataclass(eq=False, slots=True)
class Decision:
    """A login (of a chain) or a removal (chain 0) that a process was asked for."""

    user: str
    chain: int
    place: int
    """Which pair of the login was brought."""
    host: Host
    since: float
    written_at: float = NEVER
    """When it stood in the store; never, if it is not known to."""
    told_at: float = NEVER
    """When its process was told so, or had died: until then it may be written once more."""
    ended_at: float = NEVER
    """When the call had its answer."""

    @property
    def until(self) -> float:
        """From when on nothing of it is under way any more."""
        return max(self.told_at, self.ended_at)


@dataclass(eq=False, slots=True)
class Loss:
    """The store went back in time."""

    at: float
    keys: frozenset[str]
    told: dict[Host, float] = field(default_factory=dict)
    """When each process was told."""

    def concerns(self, user: str) -> bool:
        """Whether something was lost that may be this user's."""
        return any(key.endswith(f":{user}") or "/seed/" in key for key in self.keys)
