"""The base of the stores that hold a connection while they are open."""

from __future__ import annotations

import asyncio
import os
from abc import abstractmethod
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, Protocol, Self, TypeVar

from twitchvault.errors import StoreError, WrongEventLoop
from twitchvault.stores.base import CLOSED, NOT_OPEN, TokenStore, check_arguments

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_LOOP_CLOSED: Final = (
    "was opened on an event loop that is closed: call 'await store.open()' to use it again"
)
_OTHER_LOOP: Final = (
    "was opened on another event loop, which is not closed: call it there, by "
    "'asyncio.run_coroutine_threadsafe', or make a store for each loop"
)
_FORKED: Final = (
    "was open when this process was forked: close it before, or start processes by 'spawn' or "
    "'forkserver'"
)


class Write(NamedTuple):
    """A put or, when `value` is None, a delete."""

    key: str
    value: bytes | None
    expect: int | None


class Connection(Protocol):
    """What is open between `open` and `close`."""

    async def close(self) -> None:
        """Finish what is under way and let go of the rest, also after the loop was closed."""
        ...


C = TypeVar("C", bound=Connection)


class ConnectedStore(TokenStore, Generic[C]):
    """Holds one connection at a time, on one event loop.

    A subclass has `_connect`, which makes the connection, `_write`, `get` and `scan`; it asks
    `_opened()` for the connection.
    """

    def __init__(self) -> None:
        self._connection: C | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._refusal = NOT_OPEN
        self._last_turn: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Make the store usable; idempotent, also after `close`. Errors: any `StoreError`.

        An `open` whose caller is cancelled ends in the background; `close` waits for it.
        """
        await self._in_turn(self._open)

    async def close(self) -> None:
        """Finish what is under way, within some seconds, and disconnect; idempotent.

        Goes on in the background if its caller is cancelled.
        """
        await self._in_turn(self._close)

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write `value` and return its new version; cancelled, it may have been written."""
        check_arguments(key, value, expect)
        return await self._write(Write(key, value, expect))

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove `key`; True if it was there."""
        check_arguments(key, expect=expect)
        return await self._write(Write(key, None, expect)) > 0

    @abstractmethod
    async def _write(self, write: Write) -> int:
        """The new version once it is durable; 0 for the delete of an absent key."""
        ...

    @abstractmethod
    async def _connect(self) -> C:
        """A new connection. Errors: any `StoreError`, after which nothing is left open."""
        ...

    def _opened(self) -> C:
        """The connection; `StoreError` if there is none, `WrongEventLoop` if it is elsewhere."""
        if self._connection is not None:
            if self._is_here(self._loop):
                return self._connection
            raise StoreError(f"{self!r} {_LOOP_CLOSED}")
        raise StoreError(f"{self!r} {self._refusal}")

    async def _in_turn(self, step: Callable[[], Awaitable[None]]) -> None:
        """Open or close once the calls before have done so; cancelling does not stop it."""
        before = self._last_turn
        if before and (before.done() or not self._is_here(before.get_loop())):
            before = None

        async def follow() -> None:
            if before:
                await asyncio.wait({before})
            await step()

        self._last_turn = asyncio.create_task(follow(), name="twitchvault open or close")
        await asyncio.shield(self._last_turn)

    async def _open(self) -> None:
        if self._connection is not None:
            if self._is_here(self._loop):
                return
            connection, self._connection = self._connection, None
            await connection.close()
        self._connection = await self._connect()
        self._loop, self._pid = asyncio.get_running_loop(), os.getpid()
        self._refusal = CLOSED

    async def _close(self) -> None:
        if self._connection is not None and self._pid == os.getpid():
            self._is_here(self._loop)
            connection, self._connection = self._connection, None
            await connection.close()

    def _is_here(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        """Whether this loop runs here; False if it is closed. `WrongEventLoop`: it is neither."""
        if self._connection is not None and self._pid != os.getpid():
            raise StoreError(f"{self!r} {_FORKED}")
        if loop is asyncio.get_running_loop():
            return True
        if loop is None or loop.is_closed():
            return False
        raise WrongEventLoop(f"{self!r} {_OTHER_LOOP}")
