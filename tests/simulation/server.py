"""The store's server: one map with versions, what it tells its feeds, and how it loses data."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from twitchvault.errors import VersionConflict
from twitchvault.stores.base import Change, Entry

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

__all__ = ["Item", "Queue", "Server"]

JUMP: Final = 1_000
"""How far above all that were given out versions go on after a loss."""


class Item(NamedTuple):
    """What a feed has to be told: a change, or None for a loss."""

    due: float
    change: Change | None


class Queue:
    """What one feed was not told yet."""

    def __init__(self, prefix: str, lag: Callable[[], float]) -> None:
        self.prefix = prefix
        self.lag = lag
        self.items: deque[Item] = deque()
        self.on_item: Callable[[float], None] = lambda _due: None

    def add(self, change: Change | None, now: float) -> None:
        """Tell it later, after what it has to be told already."""
        due = now + self.lag()
        if self.items:
            due = max(due, self.items[-1].due)
        self.items.append(Item(due, change))
        self.on_item(due)

    def take(self, until: float) -> list[Change | None]:
        """What is due by then."""
        taken: list[Change | None] = []
        while self.items and self.items[0].due <= until:
            taken.append(self.items.popleft().change)
        return taken


class Server:
    """The entries that all processes share. Every method is one atomic step."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.version = 0
        self.epoch = 0
        self.queues: list[Queue] = []
        self._log: list[tuple[float, str, Entry | None]] = []

    def put(self, key: str, value: bytes, expect: int | None, now: float) -> int:
        """As `TokenStore.put`."""
        self._compare(key, expect)
        self.version += 1
        self._log.append((now, key, self.entries.get(key)))
        self.entries[key] = Entry(key, self.version, value)
        self._publish(Change(key, self.version, value), now)
        return self.version

    def delete(self, key: str, expect: int | None, now: float) -> bool:
        """As `TokenStore.delete`."""
        self._compare(key, expect)
        entry = self.entries.pop(key, None)
        if entry is None:
            return False
        self.version += 1
        self._log.append((now, key, entry))
        self._publish(Change(key, self.version, None), now)
        return True

    def _compare(self, key: str, expect: int | None) -> None:
        entry = self.entries.get(key)
        found = entry.version if entry else 0
        if expect is not None and expect != found:
            raise VersionConflict(key, expect, found)

    def _publish(self, change: Change, now: float) -> None:
        for queue in self.queues:
            if change.key.startswith(queue.prefix):
                queue.add(change, now)

    # Going back in time

    def lose(self, kind: str, chance: random.Random, now: float) -> set[str]:
        """Lose data: "all", "newest" writes, one "key", or all since a "snapshot". The keys."""
        before = dict(self.entries)
        undo = {"all": self._all, "newest": self._newest, "key": self._key}.get(
            kind, self._snapshot
        )
        undo(chance, now)
        lost = {
            key
            for key in before.keys() | self.entries.keys()
            if before.get(key) != self.entries.get(key)
        }
        self.epoch += 1
        self.version += JUMP
        for queue in self.queues:
            self._tell_loss(queue, now)
        return lost

    def _tell_loss(self, queue: Queue, now: float) -> None:
        held = [item for item in queue.items if item.change is None or self._holds(item.change)]
        queue.items = deque(held)
        queue.add(None, now)

    def _holds(self, change: Change) -> bool:
        entry = self.entries.get(change.key)
        return entry is not None and entry.version == change.version

    def _all(self, _chance: random.Random, _now: float) -> None:
        self.entries.clear()
        self._log.clear()

    def _newest(self, chance: random.Random, _now: float) -> None:
        self._back(len(self._log) - chance.randint(1, 6))

    def _snapshot(self, chance: random.Random, _now: float) -> None:
        self._back(chance.randint(0, len(self._log)))

    def _key(self, chance: random.Random, _now: float) -> None:
        if not self._log:
            return
        key = self._log[chance.randrange(-min(3, len(self._log)), 0)][1]
        states = [entry for _, name, entry in self._log if name == key]
        self._set(key, chance.choice([None, states[-1], states[0]]))
        self._log = [one for one in self._log if one[1] != key]

    def _back(self, length: int) -> None:
        while len(self._log) > max(0, length):
            _, key, entry = self._log.pop()
            self._set(key, entry)

    def _set(self, key: str, entry: Entry | None) -> None:
        if entry is None:
            self.entries.pop(key, None)
        else:
            self.entries[key] = entry
