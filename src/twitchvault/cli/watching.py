"""The users in a store and what happens to them, in whatever process, as it happens."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from twitchvault.cli.users import StoredUser, stored_user
from twitchvault.stores.base import Change, Entry, Feed, Watchable
from twitchvault.vault.events import changes_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from twitchvault.stores import TokenStore

EVENTS: Final = 12
SCAN_EVERY: Final = 1.0
"""Seconds between two looks at a store that cannot be watched."""


class Event(NamedTuple):
    """What happened to a user, as in `VaultEvent`, and when it was seen.

    For a user as it was at first there is neither.
    """

    at: float | None
    kind: str
    user: StoredUser
    reason: str = ""


class Picture:
    """Every user as last seen, and the last events."""

    def __init__(self) -> None:
        self.users: dict[str, StoredUser] = {}
        self.events: deque[Event] = deque(maxlen=EVENTS)
        self._versions: dict[str, int] = {}

    def apply(self, changes: Iterable[Change | Entry], *, quiet: bool = False) -> list[Event]:
        """Take changes in; the events that they are. `quiet`: it was so before."""
        events: list[Event] = []
        for change in changes:
            if change.version > self._versions.get(change.key, 0):
                self._versions[change.key] = change.version
                events += self._learn(change)
        if quiet:
            return []
        self.events += events
        return events

    def compare(self, entries: Iterable[Entry], *, lost: bool = False) -> list[Event]:
        """Take in all that a store holds now; the events that lie in between.

        `lost`: the store has lost data, and its versions may begin anew.
        """
        found = {entry.key: entry for entry in entries}
        missing = self.users.keys() - found.keys()
        gone = self.apply([Change(key, self._versions[key] + 1, None) for key in missing])
        if lost:
            gone = [event._replace(reason="the store has lost it") for event in gone]
            self._versions.clear()
        return gone + self.apply(found.values())

    def _learn(self, change: Change | Entry) -> list[Event]:
        key, version, value = change
        known = self.users.pop(key, None)
        before = known and known.record
        user = None if value is None else stored_user(Entry(key, version, value))
        if user is not None and user.state == "damaged":
            self.users[key] = user._replace(record=before)  # what comes next is compared with it
            return [Event(time.time(), "damaged", user, user.reason)]
        if user is not None:
            self.users[key] = user
        subject = user or (known and known._replace(state="removed", reason=""))
        if subject is None:
            return []
        found = changes_of(before, user and user.record, is_app=False)
        return [Event(time.time(), kind, subject, reason) for kind, reason in found]


async def _changes(feed: Feed, lost: asyncio.Event) -> list[Change] | None:
    """The next changes; None if the store has lost data first."""
    changed, loss = asyncio.ensure_future(feed.wait()), asyncio.ensure_future(lost.wait())
    try:
        await asyncio.wait((changed, loss), return_when=asyncio.FIRST_COMPLETED)
    finally:
        changed.cancel()
        loss.cancel()
        await asyncio.wait((changed, loss))
    if not changed.cancelled():
        return changed.result()
    lost.clear()
    return None


@asynccontextmanager
async def following(
    store: TokenStore, prefix: str, picture: Picture
) -> AsyncIterator[Callable[[], Awaitable[list[Event]]]]:
    """Fill the picture; what it yields waits for the next events, which may be none."""

    async def entries() -> list[Entry]:
        return [entry async for entry in store.scan(prefix)]

    if isinstance(store, Watchable):
        async with store.watch(prefix) as feed:
            picture.apply(await entries(), quiet=True)
            lost = asyncio.Event()
            if on_loss := getattr(feed, "on_loss", None):
                on_loss(lost.set)

            async def wait() -> list[Event]:
                changes = await _changes(feed, lost)
                if changes is not None:
                    return picture.apply(changes)
                return picture.compare(await entries(), lost=True)

            yield wait
    else:
        picture.apply(await entries(), quiet=True)

        async def scan() -> list[Event]:
            await asyncio.sleep(SCAN_EVERY)
            return picture.compare(await entries())

        yield scan
