"""An open file: aiosqlite's connection for entries, and one of sqlite3 for feeds."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Self

import aiosqlite

from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores.batcher import Batcher
from twitchvault.stores.sqlite.errors import map_error
from twitchvault.stores.sqlite.file import file_id, open_file
from twitchvault.stores.sqlite.statements import Row, write_statement

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from twitchvault.stores.connected import Write

_log = logging.getLogger(__name__)
_CLOSE_TIMEOUT: Final = 5.0
_GROUP: Final = 1_000  # writes that share a transaction at most
_PREPARED: Final = 8  # statements that stay prepared; each holds what it wrote last


class Database:
    """A file from its opening to its close, on one event loop. `await Database.open()` makes it.

    `submit` commits a `Write` and returns its version, 0 if its expectation does not hold. Writes
    that wait at the same time share a transaction; a cancelled caller takes back a write that is
    not on its way to the file yet. `reader` answers at once, on any thread.
    """

    def __init__(
        self, path: str, real: str, reader: sqlite3.Connection, busy_timeout: float
    ) -> None:
        self.path = path
        self.reader = reader.cursor()
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._closed = False
        self._real, self._wal = real, f"{real}-wal"
        self._id: tuple[int, int] | None = None
        self._patience = busy_timeout + _CLOSE_TIMEOUT
        self._batcher: Batcher[Write, int] = Batcher(self._commit, _GROUP, key=itemgetter(0))
        self.submit = self._batcher.submit
        self._connection = aiosqlite.connect(
            real, timeout=busy_timeout, isolation_level=None, cached_statements=_PREPARED
        )
        # A store that nobody closed must not keep the interpreter alive, and aiosqlite has no
        # public way to say so.
        thread = getattr(self._connection, "_thread", None)
        if isinstance(thread, threading.Thread):
            thread.daemon = True

    @classmethod
    async def open(cls, path: str, busy_timeout: float) -> Self:
        """Open or make the file. Errors: `StoreError`s only, after which nothing is left open."""
        real, reader = await asyncio.to_thread(open_file, path, busy_timeout)
        database = cls(path, real, reader, busy_timeout)
        try:
            await database._connect()
        except BaseException:
            await database.close()
            raise
        return database

    def check_open(self) -> None:
        """Raise `StoreError` if it is closed, or belongs to the parent process."""
        if self._closed or self._pid != os.getpid():
            raise StoreError(f"the store in {self.path!r} is closed, or was open before a fork")

    def check_file(self) -> None:
        """Raise `StoreUnavailable` if another file, or none, stands where ours was opened."""
        try:
            # Reading the log's times makes its next fsync slower.
            if file_id(self._real) == self._id and os.access(self._wal, os.F_OK):
                return
        except OSError:
            pass
        msg = f"{self._real!r} or its log was deleted or replaced while the store had it open: "
        msg += "nothing is written any more; close the store and open it again"
        raise StoreUnavailable(msg)

    async def execute(self, sql: str, *parameters: object) -> list[Any]:
        """The rows of a SELECT. A cancelled caller leaves at once; the thread goes on."""
        return await asyncio.shield(self._execute(sql, parameters))

    async def close(self) -> None:
        """Finish what is under way, then let go of the file; bounded in time."""
        self._closed = True
        try:
            if self._loop is asyncio.get_running_loop():
                await self._batcher.close(self._patience)
        finally:
            reader = self.reader.connection
            self.reader.close()  # with a statement left, closing the connection would close no file
            reader.close()
            await self._disconnect()

    async def _connect(self) -> None:
        try:
            self._id = file_id(self._real)
            await self._connection
            self._connection.text_factory = bytearray
            self._connection.row_factory = Row
            await self._connection.execute_fetchall("PRAGMA synchronous = FULL")
            await self._connection.execute_fetchall("PRAGMA fullfsync = ON")  # for macOS
        except Exception as error:
            raise map_error(error, self.path) from None

    async def _disconnect(self) -> None:
        closing = asyncio.ensure_future(self._connection.close())
        await asyncio.wait({closing}, timeout=_CLOSE_TIMEOUT)
        if not closing.done():
            closing.cancel()
            _log.error("%r did not close in time; its thread is left behind", self.path)
        elif error := closing.exception():
            _log.warning("closing %r failed: %s", self.path, type(error).__name__)

    async def _execute(self, sql: str, parameters: Sequence[object]) -> list[Any]:
        self.check_file()
        try:
            return list(await self._connection.execute_fetchall(sql, parameters))
        except asyncio.CancelledError:  # the loop ends: the thread has to report to it before that
            with suppress(Exception):
                async with asyncio.timeout(self._patience):
                    await self._connection.commit()
            raise
        except Exception as error:
            raise map_error(error, self.path) from None

    async def _commit(self, group: list[Write]) -> list[int]:
        versions = dict(row.values for row in await self._execute(*write_statement(group)))
        return [versions.get(write.key.encode(), 0) for write in group]
