"""The changes of the store, read by version over a connection of the feed's own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import asyncpg

from twitchvault import Change, StoreError, StoreUnavailable
from twitchvault_postgres.connect import ERRORS, SETTINGS, unavailable
from twitchvault_postgres.sql import CHANGES, CHANNEL, LAST

POLL: Final = 5.0  # after that it asks though nobody woke it: a connection may die in silence
RETRY: Final = 0.2
ENDED: Final = "the feed has ended: its store was closed, or its context was left"


class PostgresFeed:
    """What has changed since `start`; a task fetches it, and the reader takes it."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url, self._prefix = url, prefix
        self._connection: asyncpg.Connection[Any] | None = None
        self._cursor = -1
        self._turn = asyncio.Lock()
        self._woken, self._arrived = asyncio.Event(), asyncio.Event()
        self._pending: dict[str, Change] = {}
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Begin at what is committed now."""
        await self._read()
        self._task = asyncio.create_task(self._follow(), name="twitchvault postgres feed")

    async def close(self) -> None:
        """End the feed: a reader that waits gets an error."""
        self._closed = True
        self._arrived.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=2)
        if self._connection is not None:
            with suppress(*ERRORS):
                await self._connection.close(timeout=2)

    async def wait(self) -> list[Change]:
        """At least one change, as soon as there is one."""
        while not (changes := self.drain()):
            self._arrived.clear()
            await self._arrived.wait()
        return changes

    def drain(self) -> list[Change]:
        """What has arrived, of each key the newest."""
        if self._closed:
            raise StoreError(ENDED)
        changes = list(self._pending.values())
        self._pending.clear()
        return changes

    async def catch_up(self) -> list[Change]:
        """All that was committed before the call."""
        try:
            await self._read()
        except StoreUnavailable:  # the connection was broken: once more, over a new one
            await self._read()
        return self.drain()

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await self._woken.wait()
            try:
                await self._read()
            except StoreUnavailable:
                await asyncio.sleep(RETRY)
                self._woken.set()

    async def _read(self) -> None:
        """Fetch what came after the cursor, over a new connection if the old one is broken."""
        async with self._turn:
            self._woken.clear()  # now: whoever commits during the query wakes the task once more
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(self._url, **SETTINGS)
                    await self._connection.add_listener(CHANNEL, self._wake)
                    self._connection.add_termination_listener(self._wake)
                if self._closed:
                    raise StoreError(ENDED)
                if self._cursor < 0:
                    self._cursor = await self._connection.fetchval(LAST)
                rows = await self._connection.fetch(CHANGES, self._cursor)
            except BaseException as error:
                if self._connection is not None:
                    self._connection.terminate()
                if isinstance(error, ERRORS):
                    raise unavailable(self._url, error) from None
                raise
            for change in (Change(row[0].decode(), row[1], row[2]) for row in rows):
                self._cursor = change.version
                if change.key.startswith(self._prefix):
                    self._pending.pop(change.key, None)  # so that it comes in its place by version
                    self._pending[change.key] = change
        if self._pending:
            self._arrived.set()

    def _wake(self, *_: object) -> None:
        self._woken.set()
