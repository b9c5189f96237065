"""A token store of one's own: a SQLite file, by the standard library alone."""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

from twitchvault.errors import StoreUnavailable, VersionConflict
from twitchvault.stores.base import Entry, TokenStore, check_arguments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

TABLE = "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, version UNIQUE, value BLOB)"
READ = "SELECT key, version, value FROM entries WHERE value IS NOT NULL"
WRITE = "REPLACE INTO entries SELECT ?, 1 + coalesce(max(version), 0), ? FROM entries"

T = TypeVar("T")


class FileStore(TokenStore):
    """A deleted key stays in the file, without a value, so that no version is used again."""

    def __init__(self, path: Path) -> None:
        self._path, self._thread = path, ThreadPoolExecutor(1)  # off the loop, one by one

    async def get(self, key: str) -> Entry | None:
        """The entry of `key`, or None."""
        check_arguments(key)
        return next(iter(await self._run(lambda db: _read(db, " AND key = ?", key))), None)

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write `value`; its version."""
        check_arguments(key, value, expect)
        return await self._run(lambda db: _write(db, key, value, expect))

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Write that there is no value."""
        check_arguments(key, expect=expect)
        return await self._run(lambda db: _write(db, key, None, expect)) > 0

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """The entries of one moment."""
        for entry in await self._run(_read):
            if entry.key.startswith(prefix):
                yield entry

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def call() -> T:
            try:
                with closing(sqlite3.connect(self._path, timeout=30)) as db, db:
                    db.execute(TABLE)
                    return work(db)
            except sqlite3.Error as error:
                raise StoreUnavailable(f"{str(self._path)!r}: {error}") from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _read(db: sqlite3.Connection, condition: str = "", *values: str) -> list[Entry]:
    return [Entry(*row) for row in db.execute(READ + condition, values)]


def _write(db: sqlite3.Connection, key: str, value: bytes | None, expect: int | None) -> int:
    db.execute("BEGIN IMMEDIATE")
    found = next((entry.version for entry in _read(db, " AND key = ?", key)), 0)
    if expect is not None and expect != found:
        raise VersionConflict(key, expect, found)
    if value is None and not found:
        return 0
    return int(db.execute(WRITE + " RETURNING version", (key, value)).fetchall()[0][0])
