"""The changes of a SQLite store, its own and those of other processes."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from typing import TYPE_CHECKING, Final, TypeVar

from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores.base import Change, Feed
from twitchvault.stores.sqlite.table import changes, last_version
from twitchvault.stores.sqlite.trouble import explain

if TYPE_CHECKING:
    from collections.abc import Callable

    from twitchvault.stores.sqlite.session import Session

__all__ = ["SQLiteFeed"]

_T = TypeVar("_T")
_POLL: Final = 0.02
_RETRY: Final = 0.005
_DATA_VERSION: Final = "PRAGMA data_version"


class SQLiteFeed(Feed):
    """A reader's place in the sequence of versions.

    `PRAGMA data_version` tells in a few microseconds that nobody has committed anything. It is read
    before the changes are: a commit in between shows in both, at worst one look is in vain.
    """

    def __init__(self, session: Session, prefix: str) -> None:
        self._session = session
        self._prefix = prefix.encode()
        self._execute = session.reader.execute
        self._seen: tuple[int] | None = None
        self._since = 0
        self._ended = False

    async def start(self) -> None:
        """Take the present as the beginning."""
        self._since = await self._certainly(lambda: last_version(self._execute))

    async def wait(self) -> list[Change]:
        """At least one change; looks every 20 ms. `StoreError` once the store is closed."""
        while not (found := self.drain()):  # noqa: ASYNC110 - no Event comes from other processes
            await asyncio.sleep(_POLL)
        return found

    def drain(self) -> list[Change]:
        """Every change committed so far and not handed out yet, whichever process made it.

        Empty, too, while the file cannot be read; `catch_up` makes that an error.
        """
        try:
            return self._look()
        except sqlite3.Error as error:
            trouble = explain(error, self._session.path)
            if isinstance(trouble, StoreUnavailable):
                return []
            raise trouble from None

    async def catch_up(self) -> list[Change]:
        """As `drain`, but certain: `StoreUnavailable` if the file cannot be read in time."""
        return await self._certainly(self._look)

    def end(self) -> None:
        """The context is left."""
        self._ended = True

    def _look(self) -> list[Change]:
        self._check()
        seen = self._execute(_DATA_VERSION).fetchone()
        if seen == self._seen:
            return []
        last = last_version(self._execute)
        found = changes(self._execute, self._prefix, self._since)
        self._since = max(last, found[-1].version if found else 0)
        self._seen = seen
        return found

    def _check(self) -> None:
        if self._ended:
            msg = "this feed has ended with its context: enter 'store.watch()' again"
            raise StoreError(msg)
        self._session.check()

    async def _certainly(self, step: Callable[[], _T]) -> _T:
        deadline = time.monotonic() + self._session.busy_timeout
        while True:
            self._check()
            self._session.check_file()
            try:
                return step()
            except sqlite3.Error as error:
                trouble = explain(error, self._session.path)
            if not isinstance(trouble, StoreUnavailable) or time.monotonic() >= deadline:
                raise trouble
            await asyncio.sleep(_RETRY)
