"""aiosqlite's connection and its thread, made fit for a store."""

from __future__ import annotations

import asyncio
import threading
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import aiosqlite.core

from twitchvault.errors import StoreError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from queue import SimpleQueue

    from twitchvault.stores.sqlite.file import Connections

__all__ = ["Worker"]

_T = TypeVar("_T")
_ITER_CHUNK: Final = 64  # aiosqlite's own default; its cursors are not used here
_EXIT_PATIENCE: Final = 1.0
_EXIT_POLL: Final = 0.001
_PARTS: Final = frozenset({"_execute", "_tx", "close"})
_END: Final = "_STOP_RUNNING_SENTINEL"


class Worker(aiosqlite.Connection):
    """The thread on which a store's SQL runs, one whole job per hop.

    aiosqlite has no public way to run a function on its thread, nor to make the thread a daemon,
    so that a store that nobody closed does not keep the interpreter alive. What is used of its
    inner parts is the same from 0.20 on; without it, making a Worker raises `StoreError`. Up to
    0.21 a connection is itself a `Thread`: names of that class must not be used here.
    """

    connections: Connections

    def __init__(self, connect: Callable[[], Connections]) -> None:
        def connector() -> sqlite3.Connection:
            self.connections = connect()
            return self.connections.writer

        super().__init__(connector, _ITER_CHUNK)
        thread = getattr(self, "_thread", self)
        known = _PARTS.issubset(dir(self)) and hasattr(aiosqlite.core, _END)
        if not known or not isinstance(thread, threading.Thread):
            _refuse_driver()
        self.thread = thread
        self.thread.daemon = True

    def __del__(self) -> None:
        """Unlike aiosqlite's: the session sees to an end without `close`."""

    async def launch(self) -> Connections:
        """Start the thread and open the file on it; after an error the thread has ended."""
        try:
            await self
        except BaseException:
            await self._thread_ended()
            raise
        return self.connections

    async def _thread_ended(self) -> None:
        # Its last word goes to this loop, which its owner may close right after the error.
        deadline = time.monotonic() + _EXIT_PATIENCE
        while self.thread.is_alive() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_EXIT_POLL)

    async def carry_out(self, job: Callable[[], _T]) -> _T:
        """Run `job` on the thread, after the jobs asked for earlier."""
        result: _T = await self._execute(_once(job))  # type: ignore[no-untyped-call]
        return result

    def hand_over(self, job: Callable[[], None]) -> None:
        """As `carry_out`, without waiting for it: `job` itself tells of its end."""
        queue: SimpleQueue[Any] = self._tx
        queue.put_nowait((_Nobody(), _once(job)))

    def abandon(self) -> None:
        """End connection and thread after the jobs asked for, with nobody waiting for it."""
        writer, end = self.connections.writer, getattr(aiosqlite.core, _END)

        def close() -> object:
            writer.close()
            return end  # from 0.22 on a job that returns this is the last, before ...

        queue: SimpleQueue[Any] = self._tx
        queue.put_nowait((_Nobody(), close))
        queue.put_nowait(end)  # ... the sign itself was
        if not _in_loop() and self.thread is not threading.current_thread():
            self.thread.join(_EXIT_PATIENCE)


def _once(job: Callable[[], _T]) -> Callable[[], _T]:
    """What aiosqlite gets, as it logs the repr of what it runs, and its thread keeps that until
    the next job: a function that shows nothing, and forgets the job on running it.
    """
    jobs = [job]

    def once() -> _T:
        return jobs.pop()()

    return once


class _Nobody:
    """Goes in the place of a job's future, and of its loop, where nobody wants the result."""

    def get_loop(self) -> _Nobody:
        return self

    def call_soon_threadsafe(self, *_: object) -> None:
        return


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _refuse_driver() -> NoReturn:
    msg = f"SQLiteStore cannot work with aiosqlite {version('aiosqlite')}: its inner parts have "
    msg += "changed; pip install 'aiosqlite>=0.20,<0.23'"
    raise StoreError(msg)
