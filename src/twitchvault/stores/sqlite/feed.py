"""The changes of a SQLite store, its own and those of other processes."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreUnavailable
from twitchvault.stores.base import Change, Feed
from twitchvault.stores.sqlite.errors import map_error
from twitchvault.stores.sqlite.statements import CHANGES, LAST_VERSION, decode, key_range

if TYPE_CHECKING:
    from twitchvault.stores.sqlite.database import Database

_POLL: Final = 0.02


class SQLiteFeed(Feed):
    """A reader's place in the sequence of versions. The first `catch_up` makes it the present.

    `PRAGMA data_version` tells in a few microseconds that nobody has committed anything. It is read
    before the changes are: a commit in between shows in both, at worst one read finds nothing new.
    """

    def __init__(self, database: Database, prefix: str) -> None:
        self._database = database
        self._keys = key_range(prefix)
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
            version = self._execute(LAST_VERSION).fetchone()[0]
            rows = []
            if self._version is not None:
                rows = self._execute(CHANGES, (self._version, *self._keys)).fetchall()
        except sqlite3.Error as error:
            raise map_error(error, self._database.path) from None
        self._data_version, self._version = data_version, version
        return [decode(Change, row) for row in rows]
