"""A store in this process's memory: for tests, and for bots that sign in anew at every start."""

from __future__ import annotations

import asyncio
import logging
import traceback
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreError, VersionConflict
from twitchvault.stores.base import (
    Change,
    Entry,
    PushingFeed,
    TokenStore,
    Watchable,
    check_expect,
    check_key,
    check_value,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["MemoryStore"]

_log = logging.getLogger(__name__)
_NOT_OPEN: Final = "this MemoryStore is not open yet: call 'await store.open()' first"
_CLOSED: Final = "this MemoryStore is closed: call 'await store.open()' to use it again"


class MemoryStore(TokenStore, Watchable):
    """A dict and a counter; may be shared by several flows of one process.

    Its entries live as long as the object: `close` only refuses further use, and a later `open`
    finds them again. It holds nothing of an event loop, so one object serves successive
    `asyncio.run` calls; use it from one thread. Its feeds are `PushingFeed`s: a sink is called
    inside the `put` or `delete` that makes the change.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._version = 0
        self._feeds: dict[_MemoryFeed, None] = {}
        self._refusal: str | None = _NOT_OPEN

    def __repr__(self) -> str:
        return f"<MemoryStore: {len(self._entries)} entries>"

    async def open(self) -> None:
        """Make the store usable; idempotent, also after `close`."""
        self._refusal = None

    async def close(self) -> None:
        """Refuse further use; idempotent. What was stored stays for the next `open`."""
        self._refusal = self._refusal or _CLOSED
        for feed in tuple(self._feeds):
            feed.wake()

    async def get(self, key: str) -> Entry | None:
        """The entry of `key`, or None if there is none."""
        check_key(key)
        self.check_open()
        return self._entries.get(key)

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write `value` and return its new version, once every feed's sink knows it."""
        check_key(key)
        check_value(value)
        self._compare(key, expect)
        self._version = version = self._version + 1
        self._entries[key] = Entry(key, version, value)
        self._tell(Change(key, version, value))
        return version

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove `key`; True if it was there."""
        check_key(key)
        self._compare(key, expect)
        if self._entries.pop(key, None) is None:
            return False
        self._version += 1
        self._tell(Change(key, self._version, None))
        return True

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """All entries whose key starts with `prefix`, as they stood when the scan began."""
        self.check_open()
        for entry in [e for e in self._entries.values() if e.key.startswith(prefix)]:
            yield entry

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[PushingFeed]:
        """A feed of all changes from now on; it ends with its context."""
        self.check_open()
        feed = _MemoryFeed(self, prefix)
        self._feeds[feed] = None
        try:
            yield feed
        finally:
            del self._feeds[feed]
            feed.end()

    def check_open(self) -> None:
        """Raise `StoreError` unless the store is open."""
        if self._refusal:
            raise StoreError(self._refusal)

    def _compare(self, key: str, expect: int | None) -> None:
        check_expect(expect)
        self.check_open()
        entry = self._entries.get(key)
        found = entry.version if entry else 0
        if expect is not None and expect != found:
            raise VersionConflict(key, expect, found)

    def _tell(self, change: Change) -> None:
        for feed in tuple(self._feeds):
            try:
                feed.take(change)
            except Exception as error:  # the write stands, whatever a reader does
                _log.error("a feed's reader failed: %s", _whereabouts(error))


class _MemoryFeed(PushingFeed):
    """What changed and was not fetched yet, or the way to its reader."""

    def __init__(self, store: MemoryStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix
        self._waiting: dict[str, Change] = {}
        self._sink: Callable[[list[Change]], None] | None = None
        self._waker: asyncio.Future[None] | None = None
        self._ended = False

    async def wait(self) -> list[Change]:
        """At least one change; `StoreError` once the store is closed or the context has ended."""
        while not (changes := self.drain()):
            self._waker = asyncio.get_running_loop().create_future()
            try:
                await self._waker
            finally:
                self._waker = None
        return changes

    def drain(self) -> list[Change]:
        """Every change made so far and not handed out yet; may be empty."""
        self._check()
        changes = list(self._waiting.values())
        self._waiting.clear()
        return changes

    async def catch_up(self) -> list[Change]:
        """As `drain`: nothing is ever under way here."""
        return self.drain()

    def push_to(self, sink: Callable[[list[Change]], None]) -> None:
        """From now on call `sink` with each change, inside the write that makes it."""
        changes = self.drain()
        self._sink = sink
        if changes:
            sink(changes)

    def take(self, change: Change) -> None:
        """Hand a change over, or keep it in the place of an older one of the same key."""
        if not change.key.startswith(self._prefix):
            return
        if self._sink:
            self._sink([change])
            return
        self._waiting.pop(change.key, None)
        self._waiting[change.key] = change
        self.wake()

    def wake(self) -> None:
        """Let a waiting reader look again."""
        if self._waker and not self._waker.done():
            with suppress(RuntimeError):  # its loop may be gone
                self._waker.set_result(None)

    def end(self) -> None:
        """The context is left: nobody reads any more."""
        self._ended = True
        self._sink = None
        self._waiting.clear()
        self.wake()

    def _check(self) -> None:
        if self._ended:
            msg = "this feed has ended with its context: enter 'store.watch()' again"
            raise StoreError(msg)
        self._store.check_open()


def _whereabouts(error: Exception) -> str:
    """Kind and place of an error; its own text might hold a value."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
    return f"{type(error).__name__} at {place}"
