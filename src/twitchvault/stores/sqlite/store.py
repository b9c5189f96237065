"""`SQLiteStore`: which operation is allowed when; the work is done in the modules beside it."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from twitchvault.errors import MissingDriver, StoreError
from twitchvault.stores.base import (
    Entry,
    Feed,
    TokenStore,
    Watchable,
    check_expect,
    check_key,
    check_value,
)
from twitchvault.stores.pages import PAGE
from twitchvault.stores.sqlite.feed import SQLiteFeed
from twitchvault.stores.sqlite.steadfast import Steadfast, under_way
from twitchvault.stores.sqlite.table import chunk, find

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine

    from twitchvault.stores.pages import Page
    from twitchvault.stores.sqlite.session import Session

__all__ = ["SQLiteStore"]

_BUSY_TIMEOUT: Final = 5.0
_LONGEST: Final = 86_400

_Value = TypeVar("_Value", bytes, None)


class SQLiteStore(TokenStore, Watchable):
    """Entries in one SQLite file, shared by all processes of this machine that open it.

    `path` is made on `open` if nothing is there (its folder must exist), readable by its owner
    alone (0600) whatever the umask; the permissions of a file that exists already are left as they
    are, with a warning in the log if others can use it. Beside the file stand `<path>-wal` and
    `<path>-shm` while it is open: they belong to it, also in a backup. Keep it on a local disk.

    `busy_timeout`, in seconds, is how long an operation waits for another program's lock before it
    raises `StoreUnavailable`.

    A write has reached the disk when it returns (`synchronous=FULL`), and is there as a whole or
    not at all after a power cut or `kill -9`. Writes that wait at the same time share one
    transaction, each with a result of its own. If the file is deleted or replaced while it is open,
    every operation raises `StoreUnavailable` until the store is closed and opened again.

    Fork safety: a store that was open during `os.fork` cannot be used in the child, and its file
    not be opened there (`StoreError`); use `spawn` or `forkserver`, or open it after the fork.

    Errors: `StoreUnavailable` (locked, disk full, no permission), `CorruptRecord` (not a database,
    damaged), `StoreError` (another program's database, a newer schema, not open), `MissingDriver`.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, busy_timeout: float = _BUSY_TIMEOUT
    ) -> None:
        self._session_type = _load_driver()
        self._path = _checked(path)
        if not 0 <= busy_timeout <= _LONGEST:
            msg = f"'busy_timeout' must be 0 to {_LONGEST} seconds, not {busy_timeout!r}"
            raise ValueError(msg)
        self._busy_timeout = float(busy_timeout)
        self._session: Session | None = None
        self._was_open = False
        self._move: tuple[str, Steadfast[None]] | None = None

    def __repr__(self) -> str:
        return f"SQLiteStore({self._path!r})"

    async def open(self) -> None:
        """Open the file, or make it; idempotent, also after `close`. Errors: any `StoreError`.

        After an error nothing is left open, and it may be tried again. An `open` whose caller is
        cancelled ends in the background; `close` waits for it.
        """
        if self._session:
            self._session.check()
        await self._in_turn("open")

    async def close(self) -> None:
        """Finish the writes that wait and let go of the file; idempotent, bounded in time.

        Cancelling the caller does not stop it. What was stored stays stored.
        """
        if not (self._session and self._session.foreign):
            await self._in_turn("close")

    async def get(self, key: str) -> Entry | None:
        """The entry of `key` as last committed by any process, or None if there is none."""
        check_key(key)
        return await self._opened().run(lambda connection: find(connection, key))

    def put(self, key: str, value: bytes, *, expect: int | None = None) -> Coroutine[Any, Any, int]:
        """Write `value` and return its new version; on disk when it returns.

        The write is asked for by the call itself; awaiting it gives the version, or what failed.
        """
        return self._write(key, value, expect, check_value)

    def delete(self, key: str, *, expect: int | None = None) -> Coroutine[Any, Any, bool]:
        """Remove `key`; True if it was there. On disk when it returns.

        Asked for by the call itself, as `put`: the two are carried out in the order of the calls.
        """
        return self._write(key, None, expect, _no_value)

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """All entries whose key starts with `prefix`, in the order in which they first came.

        Read piece by piece: it holds no lock and no snapshot between two of them.
        """
        async with aclosing(self.scan_pages(prefix)) as pages:
            async for page in pages:
                for entry in page:
                    yield entry

    async def scan_pages(self, prefix: str = "") -> AsyncGenerator[Page, None]:
        """As `scan`, some entries at a time."""
        after: int | None = 0
        while after is not None:
            piece = partial(chunk, prefix=prefix.encode(), after=after)
            page, after = await self._opened().run(piece)
            for start in range(0, len(page), PAGE):
                yield page.part(start, PAGE)

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[Feed]:
        """A feed of the changes from now on, other processes' included; ends with its context."""
        feed = SQLiteFeed(self._opened(), prefix)
        try:
            await feed.start()
            yield feed
        finally:
            feed.end()

    def _write(
        self, key: str, value: _Value, expect: int | None, check: Callable[[_Value], None]
    ) -> Coroutine[Any, Any, Any]:
        session = self._session
        try:
            if session and asyncio.get_running_loop() is session.loop:
                check_key(key)
                check(value)
                check_expect(expect)
                return session.write(key, value, expect)
        except RuntimeError:  # no loop runs here
            pass
        except (StoreError, TypeError, ValueError) as error:
            return _failed(error)
        return self._write_later(key, value, expect, check)

    async def _write_later(
        self, key: str, value: _Value, expect: int | None, check: Callable[[_Value], None]
    ) -> int:
        """What another loop, or none as yet, asks for: when it is awaited."""
        check_key(key)
        check(value)
        check_expect(expect)
        return await self._opened().write(key, value, expect)

    def _opened(self) -> Session:
        if self._session:
            return self._session
        state = "is closed" if self._was_open else "is not open yet"
        again = "to use it again" if self._was_open else "first"
        msg = f"the store in {self._path!r} {state}: call 'await store.open()' {again}"
        raise StoreError(msg)

    async def _in_turn(self, kind: str) -> None:
        """Join the latest opening or closing if it is of the same kind, else come after it."""
        latest, task = self._move or ("", None)
        if task is None or latest != kind or not under_way(task):
            task = Steadfast(self._open_after(task) if kind == "open" else self._close_after(task))
            self._move = kind, task
        await asyncio.shield(task)

    async def _open_after(self, before: Steadfast[None] | None) -> None:
        await _end_of(before)
        if self._session is None:
            self._session = await self._session_type.open(self._path, self._busy_timeout)
            self._was_open = True

    async def _close_after(self, before: Steadfast[None] | None) -> None:
        await _end_of(before)
        session, self._session = self._session, None
        if session:
            await session.close()


def _no_value(_: None) -> None:
    """A delete has none to be checked."""


async def _failed(error: Exception) -> NoReturn:
    raise error


async def _end_of(task: Steadfast[None] | None) -> None:
    if task and under_way(task):
        await asyncio.wait({task})


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


def _load_driver() -> type[Session]:
    try:
        from twitchvault.stores.sqlite.session import Session  # noqa: PLC0415
    except ImportError:
        msg = "SQLiteStore needs the package 'aiosqlite': pip install 'twitchvault[sqlite]'"
        raise MissingDriver(msg) from None
    return Session
