"""What a reader of changes knows of a store, compared with what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from twitchvault.stores.base import Change, TokenStore, Unreadable, Watchable
from twitchvault.testing.contract.kit import PROMPT, check_version, within

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twitchvault.stores.base import Entry, Feed


class Picture:
    """What a reader of changes knows of each key; a change counts if its version is larger."""

    def __init__(self) -> None:
        self.known: dict[str, Change] = {}
        self._told: dict[str, int] = {}

    def apply(self, changes: object) -> None:
        """Take in what a feed gave; fail if it is no list of changes in order."""
        assert isinstance(changes, list), f"a feed must give a list, not {type(changes).__name__}"
        for change in changes:
            _check_change(change)
            told = self._told.get(change.key, 0)
            assert change.version >= told, (
                f"changes of one key must come in version order; {change.key!r} came at version "
                f"{change.version} after {told}"
            )
            self._told[change.key] = change.version
            self.see(change)

    def see(self, change: Change) -> None:
        """Take in one change, or an entry as one."""
        known = self.known.get(change.key)
        if known is None or change.version > known.version:
            self.known[change.key] = change

    def check(self, there: Mapping[str, Entry], reader: str) -> None:
        """Fail unless the picture is what is `there`."""
        alive = {key: change for key, change in self.known.items() if change.value is not None}
        right = {key: Change(*entry) for key, entry in there.items()}
        wrong = {
            key: f"known: {self.known.get(key)}, there: {there.get(key)}"
            for key in sorted(alive.keys() | there.keys())
            if alive.get(key) != right.get(key)
        }
        assert not wrong, f"{reader} missed changes: {wrong}"


def need_watch(store: TokenStore) -> Watchable:
    """The store as one that can be watched; the test is skipped if it cannot."""
    if not isinstance(store, Watchable):
        pytest.skip(f"{type(store).__name__} has no watch(): readers scan it and compare")
    return store


async def caught_up(feed: Feed) -> dict[str, Change]:
    """The newest change of each key that `catch_up` gives."""
    picture = Picture()
    async with within(PROMPT, "catch_up() returns"):
        picture.apply(await feed.catch_up())
    return picture.known


def _check_change(change: object) -> None:
    """Fail unless it is a `Change` of the right parts."""
    assert isinstance(change, Change), f"a feed must give Changes, not {type(change).__name__}"
    assert type(change.key) is str, f"a Change's 'key' must be str: {change!r}"
    check_version(change.version, "a Change")
    assert change.value is None or type(change.value) in (bytes, Unreadable), (
        f"a Change's 'value' must be bytes, or None for a delete: {change!r}"
    )
