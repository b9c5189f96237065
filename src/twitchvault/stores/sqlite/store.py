"""`SQLiteStore`, the public class."""

from __future__ import annotations

import os
import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from twitchvault.errors import MissingDriver, VersionConflict, WrongType, WrongValue
from twitchvault.stores.base import (
    Entry,
    Feed,
    Unreadable,
    Watchable,
    check_arguments,
    missing_driver,
)
from twitchvault.stores.connected import ConnectedStore, Write
from twitchvault.stores.sqlite.statements import GET, SCAN, decode, key_range

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twitchvault.stores.sqlite.database import Database

__all__ = ["SQLiteStore", "from_url"]

_BATCH: Final = 500


class SQLiteStore(ConnectedStore["Database"], Watchable):
    """For one or several processes of one machine: keeps all in one SQLite file.

    `path` is made on `open` if nothing is there (its folder must exist), readable by its owner
    alone (0600); an existing file that others can use is left so, with a warning in the log. Beside
    it stand `<path>-wal` and `<path>-shm` while it is open: they belong to it, also in a backup.
    Keep it on a local disk. `busy_timeout` is how many seconds an operation waits for another
    program's lock before it raises `StoreUnavailable`. A write has reached the disk when it
    returns. Writes that wait at the same time share one transaction.

    An open store belongs to its event loop: another one gets a `RuntimeError` or, once the first is
    closed, may open it anew. After `os.fork` it cannot be used in the child.
    """

    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: float = 5.0) -> None:
        super().__init__()
        self._open_database = _load_driver().open
        self._path = _absolute(path)
        if not 0 <= busy_timeout <= 86_400:  # noqa: PLR2004
            raise WrongValue(f"'busy_timeout' must be 0 to 86400 seconds, not {busy_timeout!r}")
        self._busy_timeout = float(busy_timeout)

    def __repr__(self) -> str:
        return f"SQLiteStore({self._path!r})"

    async def get(self, key: str) -> Entry | None:
        """The entry of `key` as last committed by any process, or None if there is none."""
        check_arguments(key)
        for row in await self._opened().execute(GET, key.encode()):
            entry = decode(Entry, row.values)
            if isinstance(entry.value, Unreadable):
                raise entry.value.error
            return entry
        return None

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """All entries whose key starts with `prefix`, in the order in which they first came.

        Read in batches: it holds no lock and no snapshot between two of them.
        """
        keys = key_range(prefix)
        after = 0
        while True:
            rows = await self._opened().execute(SCAN, after, *keys, _BATCH)
            for row in rows:
                yield decode(Entry, row.values)
            if len(rows) < _BATCH:
                return
            after = rows[-1].values[0]

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[Feed]:
        """A feed of the changes from now on, other processes' included; ends with its context."""
        yield await self._opened().watch(prefix)

    async def _connect(self) -> Database:
        return await self._open_database(self._path, self._busy_timeout)

    async def _write(self, write: Write) -> int:
        key, value, expect = write
        version = await self._opened().submit(write)
        if version or expect is None:
            return version
        rows = await self._opened().execute(GET, key.encode())
        found = rows[0].values[2] if rows else 0
        if found != expect:
            raise VersionConflict(key, expect, found)
        if value is None and not found:
            return 0
        # Another write has just brought about what was expected.
        return await self._write(write)


def from_url(url: str) -> SQLiteStore:
    """The store of a 'sqlite' URL: three slashes and a path, or four if it is absolute."""
    path = url.partition("://")[2]
    if not path.startswith("/") or len(path) == 1:
        msg = "a 'sqlite' URL has three slashes and a path, 'sqlite:///relative.db' or "
        msg += "'sqlite:///C:/path.db', or four, 'sqlite:////absolute.db'"
        raise WrongValue(msg)
    if "?" in path or "#" in path:
        msg = "a 'sqlite' URL takes no '?' options and no '#' part: give options to "
        msg += "SQLiteStore(path), and write '%3F' or '%23' if the file's name holds such a sign"
        raise WrongValue(msg)
    return SQLiteStore(unquote(path[1:], errors="surrogateescape"))


def _absolute(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    if not isinstance(name, str):
        raise WrongType(f"'path' must be a str or a path, not {type(path).__name__}")
    if name == ":memory:":
        raise WrongValue("'path' must name a file: for a store in memory use MemoryStore()")
    if not name or "\0" in name:
        raise WrongValue(f"'path' must name a file, {name!r} cannot")
    return os.path.abspath(name)  # noqa: PTH100 - Path.absolute() keeps '..'


def _load_driver() -> type[Database]:
    try:
        from twitchvault.stores.sqlite.database import Database  # noqa: PLC0415
    except ImportError:
        raise missing_driver("SQLiteStore", "aiosqlite", "sqlite") from None
    if sqlite3.sqlite_version_info < (3, 35):  # which brought RETURNING
        msg = f"SQLiteStore needs SQLite 3.35 or newer, this Python has {sqlite3.sqlite_version}"
        raise MissingDriver(msg)
    return Database
