"""The store: entries in one table, written by one function of the database."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from twitchvault import Entry, StoreError, TokenStore, VersionConflict, Watchable
from twitchvault.stores.base import check_arguments
from twitchvault_postgres.connect import ERRORS, SETTINGS, name_of, unavailable
from twitchvault_postgres.feed import PostgresFeed
from twitchvault_postgres.sql import CREATE, GET, SCAN, WRITE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONNECTIONS: Final = 4  # at most, beside one for each feed
CLOSING: Final = 3.0
LARGEST: Final = 2**63 - 1  # the largest bigint; no version comes near it
PAUSES: Final = (0.0, 0.1, 0.3, 1.0)  # before each further try: a restart takes about so long
DOUBT: Final = "; the write may have taken place"


class PostgresStore(TokenStore, Watchable):
    """A token store over PostgreSQL; `url` goes whole to asyncpg.

    The tables are in the first schema of the `search_path`, which the URL may set:
    `postgresql://user@host/database?search_path=bots`.
    """

    pushes_changes = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool[Any] | None = None
        self._turn = asyncio.Lock()
        self._feeds: set[PostgresFeed] = set()

    def __repr__(self) -> str:
        return f"PostgresStore({name_of(self._url)!r})"

    async def open(self) -> None:
        """Connect, and make the tables if they are not there."""
        async with self._turn:
            if self._pool is None:
                pool = asyncpg.create_pool(self._url, min_size=1, max_size=CONNECTIONS, **SETTINGS)
                try:
                    await pool
                    await pool.execute(CREATE)
                except BaseException as error:
                    pool.terminate()
                    if isinstance(error, ERRORS):
                        raise unavailable(self._url, error) from None
                    raise
                self._pool = pool

    async def close(self) -> None:
        """End the feeds, and disconnect once the calls under way are through, or after 3 s."""
        async with self._turn:
            await asyncio.gather(*(feed.close() for feed in self._feeds))
            pool, self._pool = self._pool, None
            if pool is not None:
                try:
                    await asyncio.wait_for(pool.close(), CLOSING)
                except ERRORS:
                    pool.terminate()

    async def get(self, key: str) -> Entry | None:
        """The entry as last committed."""
        check_arguments(key)
        return next(map(_entry, await self._fetch(GET, key.encode())), None)

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write, and return the new version."""
        check_arguments(key, value, expect)
        return await self._write(key, value, expect)

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove the value; the row stays."""
        check_arguments(key, expect=expect)
        return await self._write(key, None, expect) > 0

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """All entries, page by page, so that a scan holds no connection while it is read."""
        last = b""
        while rows := await self._fetch(SCAN, last, prefix.encode()):
            for entry in map(_entry, rows):
                yield entry
            last = rows[-1]["key"]

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[PostgresFeed]:
        """A feed with a connection of its own, so that it does not queue behind writes."""
        self._opened()
        feed = PostgresFeed(self._url, prefix)
        self._feeds.add(feed)
        try:
            await feed.start()
            yield feed
        finally:
            self._feeds.discard(feed)
            await feed.close()

    async def _write(self, key: str, value: bytes | None, expect: int | None) -> int:
        """The new version; 0 for the delete of an absent key."""
        limited = None if expect is None else min(expect, LARGEST)
        (row,) = await self._fetch(WRITE, key.encode(), value, limited, doubt=DOUBT)
        if expect is not None and expect != row["current"]:
            raise VersionConflict(key, expect, row["current"])
        return int(row["written"])

    async def _fetch(self, query: str, *arguments: object, doubt: str = "") -> list[asyncpg.Record]:
        """The rows. What broke is repeated unless it is a write that was sent."""
        pauses = iter(PAUSES)
        while True:
            sent = ""
            try:
                async with self._opened().acquire() as connection:
                    sent = doubt
                    return await connection.fetch(query, *arguments)
            except ERRORS as error:
                pause = next(pauses, None)
                if sent or pause is None or isinstance(error, TimeoutError):
                    raise unavailable(self._url, error, sent) from None
            await asyncio.sleep(pause)

    def _opened(self) -> asyncpg.Pool[Any]:
        if self._pool is None:
            raise StoreError(f"{self!r} is not open: call 'await store.open()' first")
        return self._pool


def _entry(row: asyncpg.Record) -> Entry:
    return Entry(row["key"].decode(), row["version"], row["value"])
