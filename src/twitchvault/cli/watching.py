"""The users in a store and what happens to them, in whatever process, as it happens."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from twitchvault.cli.transfer import holder_of
from twitchvault.cli.users import StoredUser, stored_user
from twitchvault.errors import StoreError
from twitchvault.stores.base import Change, Entry, Feed, Watchable
from twitchvault.vault.events import changes_of
from twitchvault.vault.record import decode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from twitchvault.stores import TokenStore
    from twitchvault.vault.record import Record

__all__ = ["Event", "Picture", "following"]

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
        self._records: dict[str, Record] = {}
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

    def begin_anew(self, entries: Iterable[Entry]) -> list[Event]:
        """What a store that has lost data holds now; the events that lie in between."""
        self._versions.clear()
        found = {entry.key: entry for entry in entries}
        lost = [Change(key, 1, None) for key in self.users.keys() - found.keys()]
        gone = [event._replace(reason="the store has lost it") for event in self.apply(lost)]
        return gone + self.apply(found.values())

    def _learn(self, change: Change | Entry) -> list[Event]:
        key, version, value = change
        holder = holder_of(key)
        if holder is None or holder.user_id is None or holder.is_app:
            return []
        known = self.users.pop(key, None)
        user = None if value is None else stored_user(Entry(key, version, value))
        if user is not None:
            self.users[key] = user
        subject = user or (known and known._replace(state="removed", reason=""))
        if subject is None:
            return []
        now = time.time()
        if user is not None and user.state == "damaged":
            return [Event(now, "damaged", user, user.reason)]
        before, after = self._records.pop(key, None), _visible(value, holder.user_id)
        if after is not None:
            self._records[key] = after
        found = changes_of(before, after, is_app=False)
        return [Event(now, kind, subject, reason) for kind, reason in found]


def _visible(value: bytes | None, user_id: str) -> Record | None:
    try:
        record = None if value is None else decode(value, user_id)
    except StoreError:
        return None
    return None if record is None or record.state == "removed" else record


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
    if isinstance(store, Watchable):
        async with store.watch(prefix) as feed:
            picture.apply([entry async for entry in store.scan(prefix)], quiet=True)

            lost = asyncio.Event()
            if on_loss := getattr(feed, "on_loss", None):
                on_loss(lost.set)

            async def wait() -> list[Event]:
                changes = await _changes(feed, lost)
                if changes is not None:
                    return picture.apply(changes)
                return picture.begin_anew([entry async for entry in store.scan(prefix)])

            yield wait
    else:
        known = {entry.key: entry async for entry in store.scan(prefix)}
        picture.apply(known.values(), quiet=True)

        async def scan() -> list[Event]:
            nonlocal known
            await asyncio.sleep(SCAN_EVERY)
            before, known = known, {entry.key: entry async for entry in store.scan(prefix)}
            gone = [Change(key, before[key].version + 1, None) for key in before.keys() - known]
            return picture.apply([*known.values(), *gone])

        yield scan
