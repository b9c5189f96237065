"""An open file: aiosqlite's connection for entries, one of sqlite3 for feeds, and the feeds."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import threading
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Self

import aiosqlite

from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores.base import Change, Feed
from twitchvault.stores.batcher import Batcher
from twitchvault.stores.sqlite import statements
from twitchvault.stores.sqlite.errors import map_error
from twitchvault.stores.sqlite.file import file_id, open_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twitchvault.stores.connected import Write

_log = logging.getLogger(__name__)
_CLOSE_TIMEOUT: Final = 5.0
_GROUP: Final = 1_000  # writes that share a transaction at most
_PREPARED: Final = 8  # statements that stay prepared; each holds what it wrote last
_POLL: Final = 0.02  # seconds between two looks of a feed


class Database:
    """A file from its opening to its close, on one event loop. `await Database.open()` makes it.

    `submit` commits a `Write` and returns its version, 0 if its expectation does not hold. `reader`
    answers at once, on any thread.
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

    async def watch(self, prefix: str) -> SQLiteFeed:
        """A feed of the changes from now on."""
        feed = SQLiteFeed(self, prefix)
        await feed.catch_up()
        return feed

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
            self._connection.row_factory = statements.Row
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
        versions = dict(
            row.values for row in await self._execute(*statements.write_statement(group))
        )
        return [versions.get(write.key.encode(), 0) for write in group]


class SQLiteFeed(Feed):
    """A reader's place in the sequence of versions. The first `catch_up` makes it the present.

    `PRAGMA data_version` tells in a few microseconds that nobody has committed anything. It is read
    before the changes are: a commit in between shows in both, at worst one read finds nothing new.
    """

    def __init__(self, database: Database, prefix: str) -> None:
        self._database = database
        self._keys = statements.key_range(prefix)
        self._execute = database.reader.execute
        self._data_version: tuple[int] | None = None
        self._version: int | None = None

    async def wait(self) -> list[Change]:
        """At least one change; asks every 20 ms. `StoreError` once the store is closed."""
        while not (changes := self.drain()):  # noqa: ASYNC110 - no Event comes from other processes
            await asyncio.sleep(_POLL)
        return changes

    def drain(self) -> list[Change]:
        """Every change committed so far, whoever made it; none while the file cannot be read."""
        try:
            return self._read()
        except StoreUnavailable:
            return []

    async def catch_up(self) -> list[Change]:
        """As `drain`, but certain: `StoreUnavailable` if the file cannot be read."""
        self._database.check_open()
        self._database.check_file()
        return self._read()

    def _read(self) -> list[Change]:
        self._database.check_open()
        try:
            data_version = self._execute("PRAGMA data_version").fetchone()
            if data_version == self._data_version:
                return []
            version = self._execute(statements.LAST_VERSION).fetchone()[0]
            rows = []
            if self._version is not None:
                rows = self._execute(statements.CHANGES, (self._version, *self._keys)).fetchall()
        except sqlite3.Error as error:
            raise map_error(error, self._database.path) from None
        self._data_version, self._version = data_version, version
        return [statements.decode(Change, row) for row in rows]
