"""A copy of a store that is kept up by a feed, compared with what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twitchvault.stores.base import Change
from twitchvault.testing.contract.support import check_parts, scan_all, time_limit

if TYPE_CHECKING:
    from twitchvault.stores.base import Feed, TokenStore


class Replica:
    """The newest change of each key; a change counts if its version is larger."""

    def __init__(self) -> None:
        self.known: dict[str, Change] = {}
        self._given: dict[str, int] = {}

    def apply(self, changes: object) -> None:
        """Take in what a feed gave; fail if it is no list of changes in order."""
        assert isinstance(changes, list), f"a feed must give a list, not {type(changes).__name__}"
        for change in changes:
            check_parts(change, Change, "a feed")
            given = self._given.get(change.key, 0)
            assert change.version >= given, (
                f"changes of one key must come in version order; {change.key!r} came at version "
                f"{change.version} after {given}"
            )
            self._given[change.key] = change.version
            self.add(change)

    def add(self, change: Change) -> None:
        """Take in one change, or an entry as one."""
        known = self.known.get(change.key)
        if known is None or change.version > known.version:
            self.known[change.key] = change

    async def check(self, store: TokenStore, reader: str) -> None:
        """Fail unless the replica is what is in the store."""
        there = {key: Change(*entry) for key, entry in (await scan_all(store)).items()}
        alive = {key: change for key, change in self.known.items() if change.value is not None}
        wrong = {
            key: f"known: {self.known.get(key)}, there: {there.get(key)}"
            for key in sorted(alive.keys() | there.keys())
            if alive.get(key) != there.get(key)
        }
        assert not wrong, f"{reader} missed changes: {wrong}"


async def caught_up(feed: Feed) -> dict[str, Change]:
    """The newest change of each key that `catch_up` gives."""
    replica = Replica()
    async with time_limit("catch_up() returns"):
        replica.apply(await feed.catch_up())
    return replica.known
