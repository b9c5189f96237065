"""What stands between `open` and `close`: the worker, its file, and the group commit."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import sqlite3
import weakref
from collections import deque
from itertools import filterfalse
from typing import TYPE_CHECKING, Final, TypeVar

from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores.sqlite.file import FORKED, connect, file_id, inherited
from twitchvault.stores.sqlite.steadfast import Steadfast, under_way
from twitchvault.stores.sqlite.table import commit
from twitchvault.stores.sqlite.trouble import explain
from twitchvault.stores.sqlite.worker import Worker
from twitchvault.stores.sqlite.writing import Writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Session"]

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_GROUP: Final = 1_000
_CLOSE_PATIENCE: Final = 10.0

_sessions: weakref.WeakSet[Session] = weakref.WeakSet()
_parents: list[Session] = []  # kept after a fork: even closing them in the child could do harm


class Session:
    """One opening of a store's file. `await Session.open(...)` makes it."""

    def __init__(self, path: str, busy_timeout: float, worker: Worker) -> None:
        self.path = path
        self.busy_timeout = busy_timeout
        self.refusal: str | None = None
        self.loop = asyncio.get_running_loop()
        """Where writes are waited for."""
        self.reader = worker.connections.reader.cursor()  # one for all feeds: nothing is cheaper
        self.files = worker.connections.files
        self._worker = worker
        self._queue: deque[Writing] = deque()
        self._committing: list[Writing] = []
        self._pump: Steadfast[None] | None = None
        self._pumping = False
        self._forgotten = weakref.finalize(self, _let_go, worker, os.getpid())
        _sessions.add(self)

    @classmethod
    async def open(cls, path: str, busy_timeout: float) -> Session:
        """Open or make the file. Errors: `StoreError`s only, after which nothing is left open."""
        worker = Worker(lambda: connect(path, busy_timeout))
        await worker.launch()
        return cls(path, busy_timeout, worker)

    @property
    def foreign(self) -> bool:
        """Whether it was opened by the parent process, before a fork."""
        return self in _parents

    def check(self) -> None:
        """Raise `StoreError` if the session is closed, or belongs to the parent process."""
        if self.refusal:
            raise StoreError(self.refusal)

    def check_file(self) -> None:
        """Raise `StoreUnavailable` if another file, or none, stands where ours was opened."""
        for name, identity in self.files:
            try:
                same = file_id(name) == identity
            except OSError:
                same = False
            if not same:
                msg = f"{name!r} was deleted or replaced while the store had it open: nothing is "
                msg += "written any more; close the store and open it again"
                raise StoreUnavailable(msg)

    async def run(self, job: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `job` on the worker's thread. A cancelled caller leaves at once, the job ends."""
        self.check()
        return await asyncio.shield(Steadfast(self._run(job)))

    def write(self, key: str, value: bytes | None, expect: int | None) -> Writing:
        """To be awaited: the new version, or 0 for the delete of an absent key; durable.

        Writes that wait at the same time share one transaction. A caller that is cancelled takes
        back a write that has not begun; one that has begun is carried out or fails as a whole.
        """
        if self.refusal:
            self.check()
        if not self._pumping or asyncio.get_running_loop() is not self.loop:
            self._start_pump()
        writing = Writing(loop=self.loop)
        writing.key, writing.value, writing.expect = key, value, expect
        self._queue.append(writing)
        return writing

    async def close(self) -> None:
        """Finish the writes that wait, then let go of the file; bounded in time."""
        self.refusal = (
            f"the store in {self.path!r} is closed: call 'await store.open()' to use it again"
        )
        if under_way(self._pump) and self._pump:
            await asyncio.wait({self._pump}, timeout=self.busy_timeout + _CLOSE_PATIENCE)
        ending = Steadfast(self._close_connections())
        done, _ = await asyncio.wait({ending}, timeout=_CLOSE_PATIENCE)
        self._forgotten.detach()
        _sessions.discard(self)
        if not done:
            self._give_up(ending)

    async def _run(self, job: Callable[[sqlite3.Connection], _T]) -> _T:
        self._check_thread()
        return await self._worker.carry_out(lambda: self._guarded(job))

    def _check_thread(self) -> None:
        if not self._worker.thread.is_alive():
            msg = f"the thread for {self.path!r} has ended: close the store and open it again"
            raise StoreUnavailable(msg)

    def _guarded(self, job: Callable[[sqlite3.Connection], _T]) -> _T:
        """On the worker's thread."""
        self.check_file()
        try:
            return job(self._worker.connections.writer)
        except sqlite3.Error as error:
            raise explain(error, self.path) from None

    def _start_pump(self) -> None:
        if not under_way(self._pump):
            self.loop = asyncio.get_running_loop()
            self._pump = Steadfast(self._commit_all())
            self._pumping = True

    async def _commit_all(self) -> None:
        try:
            while self._queue:
                if group := self._next_group():
                    self._committing = group
                    await self._sent(group)
        finally:
            self._committing, self._pumping = [], False

    def _next_group(self) -> list[Writing]:
        queue = self._queue
        if len(queue) > _GROUP:
            group = [queue.popleft() for _ in range(_GROUP)]
        else:
            group = list(queue)
            queue.clear()
        group = list(filterfalse(Writing.done, group))
        gone = {loop for loop in set(map(Writing.get_loop, group)) if loop.is_closed()}
        return [one for one in group if one.get_loop() not in gone] if gone else group

    def _sent(self, group: list[Writing]) -> asyncio.Future[None]:
        """Have the thread commit the group; done when all of its writers have their results.

        They get them in the callback that the thread asks for: one turn of the loop earlier than
        by way of the task that waits for this.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def job() -> None:
            loop.call_soon_threadsafe(_settle_all, group, self._commit(group), done)

        try:
            self._check_thread()
        except StoreUnavailable as error:
            _settle_all(group, [copy.copy(error) for _ in group], done)
        else:
            self._worker.hand_over(job)
        return done

    def _commit(self, group: list[Writing]) -> Sequence[int | Exception]:
        """On the worker's thread."""
        try:
            return self._guarded(lambda connection: commit(connection, group))
        except Exception as error:
            return [copy.copy(error) for _ in group]

    async def _close_connections(self) -> None:
        try:
            self.reader.close()  # with a statement left, closing the connection would close no file
            self._worker.connections.reader.close()
            if self._worker.thread.is_alive():
                await self._worker.close()
            else:
                self._worker.connections.writer.close()
        except sqlite3.Error as error:
            _log.warning("while closing: %s", explain(error, self.path))

    def _give_up(self, ending: Steadfast[None]) -> None:
        _log.error("%r did not close in time; its thread is left behind", self.path)
        for task in (ending, self._pump):
            if task:
                task.abandon()
        msg = f"{self.path!r} did not answer while the store was being closed: "
        msg += "it is not known whether this write was stored"
        waiting = [*self._committing, *self._queue]
        _settle(waiting, [StoreUnavailable(msg) for _ in waiting])


def _settle_all(
    group: list[Writing], results: Iterable[int | Exception], done: asyncio.Future[None]
) -> None:
    _settle(group, results)
    if not done.done():
        done.set_result(None)


def _settle(group: list[Writing], results: Iterable[int | Exception]) -> None:
    for writing, result in zip(group, results, strict=True):
        if writing.done():
            continue
        if isinstance(result, int):
            writing.set_result(result if writing.value is not None else bool(result))
        else:
            writing.set_exception(result)


def _let_go(worker: Worker, pid: int) -> None:
    """The store was forgotten unclosed, or the interpreter ends."""
    if os.getpid() == pid:
        worker.connections.reader.close()
        worker.abandon()


def _after_fork() -> None:
    _parents.extend(_sessions)
    for session in _parents:
        session.refusal = FORKED.format(path=session.path)
        inherited.update(session.files)


os.register_at_fork(after_in_child=_after_fork)
