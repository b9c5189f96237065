"""What goes wrong for one process: every draw comes from the seed, and can be muted by its name."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.profile import Profile

__all__ = ["Muted", "Weather"]


class Muted:
    """What a run leaves out, by name, and what did happen in it and could be left out."""

    def __init__(self, names: frozenset[str] = frozenset()) -> None:
        self.names = names
        self.happened: list[str] = []
        self.kinds: Counter[str] = Counter()
        self.calm = False
        """From now on nothing goes wrong any more."""

    def lets(self, name: str, kind: str) -> bool:
        """Whether this may happen; noted if so."""
        if self.calm or name in self.names:
            return False
        self.happened.append(name)
        self.kinds[kind] += 1
        return True


class Weather:
    """The faults and delays that one process meets."""

    def __init__(self, name: str, seed: int, profile: Profile, muted: Muted, ttl: float) -> None:
        self.chance = random.Random(f"{name} {seed}")
        self._random = self.chance.random
        self._name = name
        self._profile = profile
        self._muted = muted
        self._ttl = ttl
        self._draws = 0

    def pick(self, place: str) -> str | None:
        """What goes wrong at this place now, if anything."""
        rates = self._profile.rates.get(place, ())
        if not rates:
            return None
        self._draws += 1
        drawn = self._random()
        for rate, fault in rates:
            if drawn < rate:
                name = f"{self._name} {place} {self._draws}"
                return fault if self._muted.lets(name, f"{place}: {fault}") else None
        return None

    # How long things take

    def connecting(self) -> float:
        """Seconds until a connection stands; mostly there is one."""
        return self._random() * 0.2 if self._random() < 0.15 else 0.0

    def latency(self) -> float:
        """Seconds that a request or an answer is on its way."""
        return self._profile.latency * (0.2 + 2 * self._random() ** 3)

    def late(self) -> float:
        """Seconds that a late one takes: about the lease's ttl."""
        factor = self.chance.choice((0.3, 0.6, 0.9, 1.2, 2.5))
        return self._ttl * factor * (0.8 + 0.4 * self._random()) + self.latency()

    def breaking(self) -> float:
        """Seconds until a broken connection is noticed: soon, late, or (for long leases) never."""
        drawn = self._random()
        if drawn < 0.7:
            return self._random() * 2
        return self.late() if drawn < 0.95 or self._ttl < 10 else 1_000.0

    def away(self) -> float:
        """Seconds for which something stands still or is out of reach."""
        factor = self.chance.choice((0.1, 0.4, 0.6, 1.1, 1.6, 3.0))
        return self._ttl * factor * (0.8 + 0.4 * self._random())

    def hops(self) -> int:
        """Turns of the loop from the socket to whoever waits."""
        return int(self._random() * 4)

    def store_delay(self) -> float:
        """Seconds that a store call takes on one way."""
        return 0.0005 + 0.01 * self._random() ** 4
