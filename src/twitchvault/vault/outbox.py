"""Changes of this process on their way into the store: shown at once, repeated until they are in.

A change is a pure transition from the record that stands to the one that should stand. It is
written by compare-and-set, first over the record that the mirror holds, then over whatever the
store holds by then, so it never overwrites somebody's newer decision by accident. Nothing but
success takes a change out of its queue: a rotated pair is never dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from twitchvault.errors import (
    CorruptRecord,
    DecryptionError,
    StoreError,
    VersionConflict,
    fresh_copy,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twitchvault.vault.mirror import Mirror
    from twitchvault.vault.record import Record
    from twitchvault.vault.repository import Repository

__all__ = ["Outbox", "Update"]

_logger = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.1
CONFLICTS: Final = 50
"""Conflicts in a row after which a write pauses; each means that somebody else made progress."""


class Update:
    """One transition of one record, computed once for each record that it is applied to.

    `asked_for`: the user of the vault made it. Such an update may overwrite what cannot be read.
    `prepare` is awaited before each attempt to write. `tried` is the result of the last
    attempt, if its answer was an error: it may have taken place all the same.
    """

    __slots__ = ("_before", "_result", "_transition", "_used", "asked_for", "prepare", "tried")

    def __init__(
        self,
        transition: Callable[[Record | None], Record | None],
        *,
        asked_for: bool = False,
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.asked_for = asked_for
        self.prepare = prepare
        self.tried: tuple[Record | None] | None = None
        self._transition = transition
        self._used = False
        self._before: Record | None = None
        self._result: Record | None = None

    def __call__(self, record: Record | None) -> Record | None:
        """What becomes of `record`."""
        if self._used and record is self._result:
            return record  # it is written
        if not self._used or record is not self._before:
            self._result = self._transition(record)
            self._before, self._used = record, True
        return self._result

    def forget(self) -> None:
        """Compute the result anew: what was prepared may change it."""
        self._used = False


class _Queue:
    """The updates of one key, in order, and the task that writes them."""

    def __init__(self) -> None:
        self.updates: deque[Update] = deque()
        self.task: asyncio.Task[None] | None = None
        self.error: StoreError | None = None
        self.hurry = asyncio.Event()
        self.attempts: set[asyncio.Future[None]] = set()

    def apply(self, record: Record | None) -> Record | None:
        """What all of the updates make of a record."""
        for update in self.updates:
            record = update(record)
        return record

    def overrule(self) -> bool:
        """Drop updates of a record that is damaged by now, if the user has replaced it since."""
        asked_for = [n for n, update in enumerate(self.updates) if update.asked_for]
        for _ in range(asked_for[0] if asked_for else 0):
            self.updates.popleft()
        return bool(asked_for)

    def end_attempt(self, error: StoreError | None) -> None:
        """An attempt has ended: all is written (None) or this is what went wrong."""
        self.error = error
        attempts, self.attempts = self.attempts, set()
        for attempt in attempts:
            if not attempt.done():
                attempt.set_result(None)


class Outbox:
    """A queue per key with updates that the store has not confirmed."""

    def __init__(self, repository: Repository, mirror: Mirror, longest_pause: float) -> None:
        self._repository = repository
        self._mirror = mirror
        self._longest_pause = longest_pause
        self._queues: dict[str, _Queue] = {}
        self._running = False

    def __len__(self) -> int:
        return sum(len(queue.updates) for queue in self._queues.values())

    def start(self) -> None:
        """The store is open: begin to write what is waiting."""
        self._running = True
        for key, queue in self._queues.items():
            self._ensure_task(key, queue)

    def show(self) -> None:
        """Show what is waiting, in a mirror that was filled anew."""
        for key, queue in self._queues.items():
            self._show(key, queue)

    async def stop(self) -> None:
        """End all tasks. What they could not write stays queued for the next `start`."""
        tasks = self.abandon()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    def abandon(self) -> list[asyncio.Task[None]]:
        """As `stop`, without waiting."""
        self._running = False
        tasks = [queue.task for queue in self._queues.values() if queue.task is not None]
        for queue in self._queues.values():
            queue.task = None
        for task in tasks:
            task.cancel()
        return tasks

    def submit(self, key: str, update: Update) -> None:
        """Show the change now and write it in the background."""
        queue = self._queues.setdefault(key, _Queue())
        queue.updates.append(update)
        self._show(key, queue)
        if self._running:
            self._ensure_task(key, queue)

    async def apply(self, key: str, update: Update) -> StoreError | None:
        """Like `submit`, then wait for one attempt to write it; what went wrong is returned."""
        self.submit(key, update)
        return await self.attempt(key)

    async def attempt(self, key: str) -> StoreError | None:
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

    async def written(self, key: str) -> None:
        """As `attempt`, but raise what went wrong."""
        error = await self.attempt(key)
        if error is not None:
            raise fresh_copy(error)

    async def flush(self) -> None:
        """Return once all is written; raise the first failure of an attempt made for this call."""
        errors = await asyncio.gather(*(self.attempt(key) for key in list(self._queues)))
        for error in errors:
            if error is not None:
                raise fresh_copy(error)

    def unwritten(self) -> StoreError | None:
        """The error that says what is not in the store yet, None if all is."""
        if not self._queues:
            return None
        count = len(self)
        changes = "1 change is" if count == 1 else f"{count} changes are"
        return StoreError(f"{changes} not in the store: authorize() opens it and tries on")

    def _show(self, key: str, queue: _Queue) -> None:
        user_id = self._repository.user_of(key)
        if user_id is not None:
            asked_for = any(update.asked_for for update in queue.updates)
            self._mirror.set_pending(user_id, queue.apply, overrides_damage=asked_for)

    def _ensure_task(self, key: str, queue: _Queue) -> None:
        if queue.task is None or queue.task.done():
            queue.hurry = asyncio.Event()
            queue.task = asyncio.create_task(self._write_all(key, queue), name="twitchvault outbox")

    async def _write_all(self, key: str, queue: _Queue) -> None:
        try:
            await self._write_queue(key, queue)
        except BaseException:
            queue.end_attempt(_stopped())
            raise

    async def _write_queue(self, key: str, queue: _Queue) -> None:
        pause = FIRST_PAUSE
        while queue.updates:
            queue.hurry.clear()
            try:
                await self._write(key, queue.updates[0])
            except StoreError as error:
                if queue.error is None:
                    _logger.warning("%r: a change is not in the store yet: %s", key, error)
                if isinstance(error, (CorruptRecord, DecryptionError)) and queue.overrule():
                    continue
                queue.end_attempt(error)
                await _sleep_unless(queue.hurry, pause)
                pause = min(pause * 2, self._longest_pause)
            else:
                queue.updates.popleft()
                pause = FIRST_PAUSE
                if queue.updates:
                    self._show(key, queue)
        del self._queues[key]
        user_id = self._repository.user_of(key)
        if user_id is not None:
            self._mirror.drop_pending(user_id)
        queue.end_attempt(None)

    async def _write(self, key: str, update: Update) -> None:
        if update.tried and self._repository.has_arrived(key, *update.tried):
            return
        if update.prepare is not None:
            await update.prepare()
            update.forget()
        if await self._write_over_mirror(key, update):
            return
        for _ in range(CONFLICTS):
            try:
                held = await self._repository.read(key)
            except (CorruptRecord, DecryptionError):
                if not update.asked_for:
                    raise
                expect = await self._repository.version_of(key)
                done = await self._try(key, update, update(None), expect)
            else:
                before, expect = (None, 0) if held is None else (held.record, held.version)
                after = update(before)
                done = after == before or await self._try(key, update, after, expect)
            if done:
                return
        msg = f"{key!r} was changed by others {CONFLICTS} times in a row"
        raise StoreError(msg)

    async def _write_over_mirror(self, key: str, update: Update) -> bool:
        """The usual case spares reading the record: the mirror holds it as it stands."""
        user_id = self._repository.user_of(key)
        if user_id is None or self._mirror.cleared or self._mirror.is_damaged(user_id):
            return False
        before = self._mirror.confirmed(user_id)
        if before is None:
            return False
        after = update(before)
        if after == before:
            return False  # the store may hold something else by now
        return await self._try(key, update, after, self._mirror.version(user_id))

    async def _try(
        self, key: str, update: Update, after: Record | None, expect: int | None
    ) -> bool:
        """Write, or delete if `after` is None; False: it has changed meanwhile."""
        update.tried = (after,)
        try:
            if after is None:
                await self._repository.delete(key, expect=expect)
            else:
                await self._repository.write(key, after, expect=expect)
        except VersionConflict:
            update.tried = None
            return False
        return True


def _stopped() -> StoreError:
    msg = "a change is not in the store: it is not open; authorize() opens it and tries on"
    return StoreError(msg)


async def _sleep_unless(hurry: asyncio.Event, pause: float) -> None:
    try:
        async with asyncio.timeout(pause):
            await hurry.wait()
    except TimeoutError:
        return
