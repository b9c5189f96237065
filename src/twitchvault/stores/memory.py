"""A store in this process's memory: for tests, and for bots that sign in anew at every start."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from twitchvault.errors import StoreError, VersionConflict, WrongValue
from twitchvault.stores.base import (
    CLOSED,
    NOT_OPEN,
    Change,
    Entry,
    Feed,
    TokenStore,
    Watchable,
    check_arguments,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["MemoryStore", "from_url"]


class MemoryStore(TokenStore, Watchable):
    """For tests, and for programs whose users sign in at every start: keeps all in this process.

    Several flows may share one object. Its entries live as long as the object: `close` only refuses
    further use, and a later `open` finds them again. It belongs to no event loop: successive loops,
    and loops in several threads, may use it.
    """

    pushes_changes = True

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._version = 0
        # Weak: nothing ends the feeds of an event loop that was closed under its tasks.
        self._feeds: WeakKeyDictionary[_MemoryFeed, None] = WeakKeyDictionary()
        self._refusal: str | None = NOT_OPEN
        self._lock = threading.Lock()  # never held across an await

    def __repr__(self) -> str:
        return f"<MemoryStore: {len(self._entries)} entries>"

    async def open(self) -> None:
        """Make the store usable; idempotent, also after `close`."""
        self._refusal = None

    async def close(self) -> None:
        """Refuse further use; idempotent. What was stored stays for the next `open`."""
        with self._lock:
            self._refusal = self._refusal or CLOSED
            for feed in self._feeds:
                feed.wake()

    async def get(self, key: str) -> Entry | None:
        """The entry of `key`, or None if there is none."""
        check_arguments(key)
        self.check_open()
        return self._entries.get(key)

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write `value` and return its new version; cancelled, it may have been written."""
        check_arguments(key, value, expect)
        return await self._write(key, value, expect)

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove `key`; True if it was there."""
        check_arguments(key, expect=expect)
        return await self._write(key, None, expect) > 0

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """All entries whose key starts with `prefix`, as they stood when the scan began."""
        self.check_open()
        with self._lock:
            entries = [entry for entry in self._entries.values() if entry.key.startswith(prefix)]
        for entry in entries:
            yield entry

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[Feed]:
        """A feed of all changes from now on; it ends with its context."""
        self.check_open()
        feed = _MemoryFeed(self, prefix, self._lock)
        with self._lock:
            self._feeds[feed] = None
        try:
            yield feed
        finally:
            with self._lock:
                self._feeds.pop(feed, None)
                feed.end()

    def check_open(self) -> None:
        """Raise `StoreError` unless the store is open."""
        if self._refusal:
            raise StoreError(f"this MemoryStore {self._refusal}")

    async def _write(self, key: str, value: bytes | None, expect: int | None) -> int:
        """The new version; 0 for the delete of an absent key."""
        with self._lock:
            self.check_open()
            found = self._entries[key].version if key in self._entries else 0
            if expect is not None and expect != found:
                raise VersionConflict(key, expect, found)
            if value is None and not found:
                return 0
            self._version = version = self._version + 1
            if value is None:
                del self._entries[key]
            else:
                self._entries[key] = Entry(key, version, value)
            for feed in self._feeds:
                feed.add(Change(key, version, value))
        await asyncio.sleep(0)  # readers on this loop take the change in before the writer goes on
        return version


def from_url(url: str) -> MemoryStore:
    """A new store, for 'memory://'."""
    if url.partition("://")[2]:
        raise WrongValue("a 'memory' URL is 'memory://' and nothing after it")
    return MemoryStore()


class _MemoryFeed(Feed):
    """The last change of each key that was not handed out yet."""

    def __init__(self, store: MemoryStore, prefix: str, lock: threading.Lock) -> None:
        self._store = store
        self._prefix = prefix
        self._lock = lock
        self._changes: dict[str, Change] = {}
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False

    async def wait(self) -> list[Change]:
        """At least one change; `StoreError` once the store is closed or the context has ended."""
        while True:
            # Made first, so that a writer in another thread finds it after this reader has drained.
            self._waiter = waiter = asyncio.get_running_loop().create_future()
            if changes := self.drain():
                return changes
            await waiter

    def drain(self) -> list[Change]:
        """Every change made so far and not handed out yet; may be empty."""
        if self._ended:
            raise StoreError("this feed has ended with its context: enter 'store.watch()' again")
        self._store.check_open()
        with self._lock:
            changes = list(self._changes.values())
            self._changes.clear()
        return changes

    async def catch_up(self) -> list[Change]:
        """As `drain`: a change is known as soon as it is made."""
        return self.drain()

    def add(self, change: Change) -> None:
        """Keep a change in the place of an older one of the same key, and wake the reader."""
        if change.key.startswith(self._prefix):
            self._changes.pop(change.key, None)
            self._changes[change.key] = change
            self.wake()

    def wake(self) -> None:
        """Wake a waiting reader, whatever its loop."""
        waiter = self._waiter
        if waiter and waiter.get_loop() is asyncio.get_running_loop():
            _wake(waiter)
        elif waiter:
            with suppress(RuntimeError):  # its loop is closed
                waiter.get_loop().call_soon_threadsafe(_wake, waiter)

    def end(self) -> None:
        """The context is left: nobody reads any more."""
        self._ended = True
        self._changes.clear()
        self.wake()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
