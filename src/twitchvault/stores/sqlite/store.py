"""`SQLiteStore`, the public class."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from twitchvault.errors import MissingDriver, StoreError, VersionConflict, WrongEventLoop
from twitchvault.stores.base import (
    Entry,
    Feed,
    TokenStore,
    Unreadable,
    Watchable,
    check_expect,
    check_key,
    check_value,
)
from twitchvault.stores.sqlite.feed import SQLiteFeed
from twitchvault.stores.sqlite.statements import GET, SCAN, decode, key_range

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from twitchvault.stores.sqlite.database import Database

__all__ = ["SQLiteStore"]

_BATCH: Final = 500
_LAST_VERSION: Final = 2**63 - 1  # that SQLite can count to


class SQLiteStore(TokenStore, Watchable):
    """Entries in one SQLite file, shared by all processes of this machine that open it.

    `path` is made on `open` if nothing is there (its folder must exist), readable by its owner
    alone (0600); an existing file that others can use is left so, with a warning in the log. Beside
    it stand `<path>-wal` and `<path>-shm` while it is open: they belong to it, also in a backup.
    Keep it on a local disk. `busy_timeout` is how many seconds an operation waits for another
    program's lock before it raises `StoreUnavailable`.

    A write has reached the disk when it returns, and is there as a whole or not at all after a
    power cut or `kill -9`. Writes that wait at the same time share one transaction.

    An open store belongs to its event loop: another one gets a `RuntimeError` or, once the first is
    closed, opens the file anew. After `os.fork` it cannot be used in the child.
    """

    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: float = 5.0) -> None:
        self._open_database = _load_driver().open
        self._path = _checked(path)
        if not 0 <= busy_timeout <= 86_400:  # noqa: PLR2004
            msg = f"'busy_timeout' must be 0 to 86400 seconds, not {busy_timeout!r}"
            raise ValueError(msg)
        self._busy_timeout = float(busy_timeout)
        self._database: Database | None = None
        self._turn: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"SQLiteStore({self._path!r})"

    async def open(self) -> None:
        """Open the file, or make it; idempotent, also after `close`. Errors: any `StoreError`.

        An `open` whose caller is cancelled ends in the background; `close` waits for it.
        """
        await self._in_turn(self._open)

    async def close(self) -> None:
        """Finish the writes that wait and let go of the file; idempotent, bounded in time."""
        await self._in_turn(self._close)

    async def get(self, key: str) -> Entry | None:
        """The entry of `key` as last committed by any process, or None if there is none."""
        check_key(key)
        database = await self._opened()
        for row in await database.execute(GET, key.encode()):
            entry = Entry(*decode(row))
            if isinstance(entry.value, Unreadable):
                raise entry.value.error
            return entry
        return None

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write `value` and return its new version; on disk when it returns."""
        check_value(value)
        return await self._write(key, value, expect)

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove `key`; True if it was there. On disk when it returns."""
        return await self._write(key, None, expect) > 0

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """All entries whose key starts with `prefix`, in the order in which they first came.

        Read in batches: it holds no lock and no snapshot between two of them.
        """
        keys = key_range(prefix)
        after = 0
        while True:
            database = await self._opened()
            rows = await database.execute(SCAN, after, *keys, _BATCH)
            for row in rows:
                yield Entry(*decode(row))
            if len(rows) < _BATCH:
                return
            after = rows[-1]["id"]

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[Feed]:
        """A feed of the changes from now on, other processes' included; ends with its context."""
        feed = SQLiteFeed(await self._opened(), prefix)
        await feed.catch_up()
        yield feed

    async def _write(self, key: str, value: bytes | None, expect: int | None) -> int:
        """The new version; 0 for the delete of an absent key."""
        check_key(key)
        check_expect(expect)
        database = await self._opened()
        in_range = expect and min(expect, _LAST_VERSION)
        version = await database.submit(key.encode(), value, in_range)
        if version or expect is None:
            return version
        rows = await database.execute(GET, key.encode())
        found = rows[0]["version"] if rows else 0
        if found != expect:
            raise VersionConflict(key, expect, found)
        if value is None and not found:
            return 0
        # Another write has just brought about what was expected.
        return await self._write(key, value, expect)

    async def _opened(self) -> Database:
        """The open file, on the running loop."""
        if self._database is None:
            msg = f"the store in {self._path!r} is not open yet: call 'await store.open()' first"
            raise StoreError(msg)
        self._database.check()
        if self._database.loop is not asyncio.get_running_loop():
            await self.open()
        return self._database

    async def _in_turn(self, step: Callable[[], Awaitable[None]]) -> None:
        """Open or close when what was asked for before is done; cancelling does not stop it."""
        before = self._turn
        if before and (before.done() or not self._is_here(before.get_loop())):
            before = None

        async def follow() -> None:
            if before:
                await asyncio.wait({before})
            await step()

        self._turn = asyncio.create_task(follow())
        await asyncio.shield(self._turn)

    async def _open(self) -> None:
        if self._database and not self._database.closed:
            self._database.check()
            if self._is_here(self._database.loop):
                return
            await self._database.close()
        self._database = await self._open_database(self._path, self._busy_timeout)

    async def _close(self) -> None:
        database = self._database
        if database and not database.closed and database.pid == os.getpid():
            self._is_here(database.loop)
            await database.close()

    def _is_here(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether this loop runs here; False if it is closed. `RuntimeError`: it is neither."""
        if loop is asyncio.get_running_loop():
            return True
        if loop.is_closed():
            return False
        msg = f"{self!r} was opened on another event loop, which is not closed: call it there, by "
        msg += "'asyncio.run_coroutine_threadsafe', or make a store for each loop"
        raise WrongEventLoop(msg)


def _checked(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    if not isinstance(name, str):
        msg = f"'path' must be a str or a path, not {type(path).__name__}"
        raise TypeError(msg)
    if name == ":memory:":
        msg = "'path' must name a file: for a store in memory use MemoryStore()"
        raise ValueError(msg)
    if not name or "\0" in name:
        msg = f"'path' must name a file, {name!r} cannot"
        raise ValueError(msg)
    return os.path.abspath(name)  # noqa: PTH100 - Path.absolute() keeps '..'


def _load_driver() -> type[Database]:
    try:
        from twitchvault.stores.sqlite.database import Database  # noqa: PLC0415
    except ImportError:
        msg = "SQLiteStore needs the package 'aiosqlite': pip install 'twitchvault[sqlite]'"
        raise MissingDriver(msg) from None
    if sqlite3.sqlite_version_info < (3, 35):  # which brought RETURNING
        msg = f"SQLiteStore needs SQLite 3.35 or newer, this Python has {sqlite3.sqlite_version}"
        raise MissingDriver(msg)
    return Database
