"""Changes of this process on their way into the store: shown at once, repeated until they are in.

A change is a pure function from the record that stands to the one that should stand. It is applied
by compare-and-set to whatever the store holds by then, so it never overwrites somebody's newer
decision by accident; until that has succeeded it is applied to the picture only. Nothing but
success takes a change out of its queue: a rotated pair is never dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from twitchvault.errors import (
    CorruptRecord,
    DecryptionError,
    StoreError,
    VersionConflict,
    again,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twitchvault.vault.ledger import Ledger
    from twitchvault.vault.mirror import Mirror
    from twitchvault.vault.record import Record

__all__ = ["Operation", "Outbox"]

_logger = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.1


class Operation:
    """One change of one record.

    `asked_for`: the user of the vault made it. Such a change may overwrite what cannot be read.
    """

    __slots__ = ("asked_for", "change")

    def __init__(
        self, change: Callable[[Record | None], Record | None], *, asked_for: bool = False
    ) -> None:
        self.change = change
        self.asked_for = asked_for


class _Queue:
    """The changes of one key, in order, and the task that writes them."""

    def __init__(self) -> None:
        self.operations: deque[Operation] = deque()
        self.task: asyncio.Task[None] | None = None
        self.error: StoreError | None = None
        self.hurry = asyncio.Event()
        self.attempts: set[asyncio.Future[None]] = set()

    def fold(self, record: Record | None) -> Record | None:
        """What all of the changes make of a record."""
        for operation in self.operations:
            record = operation.change(record)
        return record

    def overrule(self) -> bool:
        """Drop changes of a record that is damaged by now, if the user has replaced it since."""
        asked_for = [n for n, operation in enumerate(self.operations) if operation.asked_for]
        if not asked_for:
            return False
        for _ in range(asked_for[0]):
            self.operations.popleft()
        return True

    def attempted(self, error: StoreError | None) -> None:
        """An attempt has ended: all is written (None) or this is what went wrong."""
        self.error = error
        attempts, self.attempts = self.attempts, set()
        for attempt in attempts:
            if not attempt.done():
                attempt.set_result(None)


class Outbox:
    """A queue per key with changes that the store has not confirmed."""

    def __init__(
        self,
        ledger: Ledger,
        mirror: Mirror,
        catch_up: Callable[[], Awaitable[None]],
        longest_pause: float,
    ) -> None:
        self._longest_pause = longest_pause
        self._ledger = ledger
        self._mirror = mirror
        self._catch_up = catch_up
        self._queues: dict[str, _Queue] = {}
        self._running = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def running(self) -> bool:
        """Whether changes are being written."""
        return self._running

    def start(self) -> None:
        """The store is open: begin to write what is waiting."""
        self._running = True
        self._loop = asyncio.get_running_loop()
        for key, queue in self._queues.items():
            self._ensure_task(key, queue)

    def show(self) -> None:
        """Show what is waiting, in a picture that was filled anew."""
        for key, queue in self._queues.items():
            self._show(key, queue)

    async def stop(self) -> None:
        """End all tasks. What they could not write stays queued for the next `start`."""
        self._running = False
        tasks = [queue.task for queue in self._queues.values() if queue.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def submit(self, key: str, operation: Operation) -> None:
        """Show the change now and write it in the background."""
        if self._running and _running_loop() is not self._loop:
            msg = "tokens are changed on the event loop of authorize() only: "
            msg += "use loop.call_soon_threadsafe() from elsewhere"
            raise RuntimeError(msg)
        queue = self._queues.setdefault(key, _Queue())
        queue.operations.append(operation)
        self._show(key, queue)
        if self._running:
            self._ensure_task(key, queue)

    async def apply(self, key: str, operation: Operation) -> StoreError | None:
        """Like `submit`, then wait for one attempt to write it; what went wrong is returned."""
        self.submit(key, operation)
        return await self.settle(key)

    async def settle(self, key: str) -> StoreError | None:
        """Wait for one attempt to write all that is queued for `key`; None: it is all written."""
        queue = self._queues.get(key)
        if queue is None:
            return None
        if not self._running:
            return _stopped()
        attempt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.attempts.add(attempt)
        queue.hurry.set()
        try:
            await attempt
        finally:
            queue.attempts.discard(attempt)
        return queue.error

    async def flush(self) -> None:
        """Return once all is written; raise the first failure of an attempt made for this call."""
        errors = await asyncio.gather(*(self.settle(key) for key in list(self._queues)))
        for error in errors:
            if error is not None:
                raise again(error)

    def _show(self, key: str, queue: _Queue) -> None:
        user_id = self._ledger.user_of(key)
        if user_id is None:
            return
        asked_for = any(operation.asked_for for operation in queue.operations)
        self._mirror.set_pending(user_id, queue.fold, asked_for=asked_for)

    def _ensure_task(self, key: str, queue: _Queue) -> None:
        if queue.task is None or queue.task.done():
            queue.hurry = asyncio.Event()
            queue.task = asyncio.create_task(self._write_all(key, queue), name="twitchvault outbox")

    async def _write_all(self, key: str, queue: _Queue) -> None:
        try:
            await self._work_off(key, queue)
        except BaseException:
            queue.attempted(_stopped())
            raise

    async def _work_off(self, key: str, queue: _Queue) -> None:
        pause = FIRST_PAUSE
        while queue.operations:
            queue.hurry.clear()
            try:
                await self._write(key, queue.operations[0])
            except StoreError as error:
                if queue.error is None:
                    _logger.warning("%r: a change is not in the store yet: %s", key, error)
                if isinstance(error, (CorruptRecord, DecryptionError)) and queue.overrule():
                    continue
                queue.attempted(error)
                await _sleep_unless(queue.hurry, pause)
                pause = min(pause * 2, self._longest_pause)
            else:
                queue.operations.popleft()
                pause = FIRST_PAUSE
                if queue.operations:
                    self._show(key, queue)
        del self._queues[key]
        user_id = self._ledger.user_of(key)
        if user_id is not None:
            self._mirror.drop_pending(user_id)
        queue.attempted(None)

    async def _write(self, key: str, operation: Operation) -> None:
        while True:
            try:
                held = await self._ledger.read(key)
            except (CorruptRecord, DecryptionError):
                if not operation.asked_for:
                    raise
                before, expect, damaged = None, await self._ledger.version_of(key), True
            else:
                damaged = False
                before, expect = (None, 0) if held is None else (held.record, held.version)
            after = operation.change(before)
            if after == before and not damaged:
                return
            with contextlib.suppress(VersionConflict):
                if after is None:
                    await self._remove(key, expect)
                else:
                    await self._ledger.write(key, after, expect=expect)
                return

    async def _remove(self, key: str, expect: int | None) -> None:
        user_id = self._ledger.user_of(key)
        if user_id is None:
            await self._ledger.remove(key, expect=expect)
            return
        known = self._mirror.version(user_id) if expect is None else expect
        self._mirror.begin_write(user_id, None)
        try:
            await self._ledger.remove(key, expect=expect)
            # A delete does not tell its version. News from before it may still be under way and
            # must not bring the user back into the views, so take them in first.
            with contextlib.suppress(StoreError):
                await self._catch_up()
            self._mirror.forget(user_id, "local", known=known)
        finally:
            self._mirror.end_write(user_id)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _stopped() -> StoreError:
    msg = "a change is not in the store: it is not open; authorize() opens it and tries on"
    return StoreError(msg)


async def _sleep_unless(hurry: asyncio.Event, pause: float) -> None:
    try:
        async with asyncio.timeout(pause):
            await hurry.wait()
    except TimeoutError:
        return
