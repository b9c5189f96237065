"""Changes of this process on their way into the store: shown at once, repeated until they are in.

A change is written by compare-and-set, first over the record that the mirror holds, then over
whatever the store holds by then, so it never overwrites somebody's newer decision by accident.
Nothing but success takes a change out of its queue: a rotated pair is never dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreError, VersionConflict, fresh_copy
from twitchvault.vault.history import noted
from twitchvault.vault.repository import UNREADABLE, WriteLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twitchvault.vault.clocks import Clocks
    from twitchvault.vault.mirror import Mirror
    from twitchvault.vault.record import Record
    from twitchvault.vault.repository import Repository
    from twitchvault.vault.transitions import Transition

__all__ = ["Outbox"]

_logger = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.1
CONFLICTS: Final = 50
"""Conflicts in a row after which a write pauses; each means that somebody else made progress."""


@dataclass(eq=False, slots=True)
class _Update:
    """A transition of one record, computed once for each record that it is applied to.

    `tried` is the result of the last attempt, if its answer was an error: it may have taken place
    all the same. `in_doubt` is what is done then, instead of the transition, to a record that
    others may have changed since; its second argument is the one before that attempt.
    """

    transition: Transition
    note: Callable[[Record | None, Record | None], Record | None]
    asked_for: bool
    prepare: Callable[[], Awaitable[None]] | None
    in_doubt: Callable[[Record | None, Record | None], Record | None] | None = None
    tried: tuple[Record | None] | None = None
    base: Record | None = None
    computed: tuple[Record | None, Record | None] | None = None

    def __call__(self, record: Record | None) -> Record | None:
        """What becomes of `record`."""
        if self.computed is not None:
            before, after = self.computed
            if record is after:
                return record  # it is written
            if record is before:
                return after
        after = self.note(record, self.transition(record))
        self.computed = record, after
        return after

    def doubt(self) -> None:
        """If the last attempt may have taken place, touch only what it was made for."""
        in_doubt, base = self.in_doubt, self.base
        if self.tried and in_doubt is not None:
            self.transition = lambda record: in_doubt(record, base)
            self.in_doubt = self.computed = None


class _Queue:
    """The updates of one key, in order, and the task that writes them."""

    def __init__(self, key: str, user_id: str | None) -> None:
        self.key = key
        self.user_id = user_id
        self.updates: deque[_Update] = deque()
        self.task: asyncio.Task[None] | None = None
        self.error: StoreError | None = None
        self.hurry = asyncio.Event()
        self.attempted = asyncio.Event()

    def apply(self, record: Record | None) -> Record | None:
        """What all of the updates make of a record."""
        for update in self.updates:
            record = update(record)
        return record

    def overrule(self) -> bool:
        """Drop updates of a record that is damaged by now, if the user has replaced it since."""
        count = next((n for n, update in enumerate(self.updates) if update.asked_for), 0)
        for _ in range(count):
            self.updates.popleft()
        return count > 0

    def end_attempt(self, error: StoreError | None) -> None:
        """An attempt has ended: all is written (None) or this is what went wrong."""
        self.error = error
        attempted, self.attempted = self.attempted, asyncio.Event()
        attempted.set()


class Outbox:
    """A queue per key with updates that the store has not confirmed."""

    def __init__(
        self, repository: Repository, mirror: Mirror, clocks: Clocks, longest_pause: float
    ) -> None:
        self._clocks = clocks
        self._repository = repository
        self._mirror = mirror
        self._longest_pause = longest_pause
        self._queues: dict[str, _Queue] = {}
        self._running = False

    def start(self) -> None:
        """The store is open: begin to write what is waiting."""
        self._running = True
        for queue in list(self._queues.values()):  # an eager task may end its queue at once
            self._ensure_task(queue)

    def show(self) -> None:
        """Show what is waiting, in a mirror that was filled anew."""
        for queue in self._queues.values():
            self._show(queue)

    def cancel(self) -> list[asyncio.Task[None]]:
        """Let all tasks end. What they could not write stays queued for the next `start`."""
        self._running = False
        tasks = [queue.task for queue in self._queues.values() if queue.task is not None]
        for queue in self._queues.values():
            queue.task = None
        for task in tasks:
            task.cancel()
        for queue in self._queues.values():
            queue.end_attempt(self.unwritten())  # a task that had not begun yet says nothing
        return tasks

    def submit(
        self,
        key: str,
        transition: Transition,
        *,
        asked_for: bool = False,
        prepare: Callable[[], Awaitable[None]] | None = None,
        in_doubt: Callable[[Record | None, Record | None], Record | None] | None = None,
    ) -> None:
        """Show a change now and write it in the background.

        `asked_for`: the user of the vault made it. Such a change may overwrite what cannot be read.
        `prepare` is awaited before each attempt to write. `in_doubt(record, base)` takes the place
        of the transition once an attempt over `base` may have taken place.
        """
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue(key, self._repository.user_of(key))
        note = partial(self._note, queue.user_id)
        queue.updates.append(_Update(transition, note, asked_for, prepare, in_doubt))
        self._show(queue)
        if self._running:
            self._ensure_task(queue)

    async def apply(
        self, key: str, transition: Transition, *, asked_for: bool = False
    ) -> StoreError | None:
        """Like `submit`, then wait for one attempt to write it; what went wrong is returned."""
        self.submit(key, transition, asked_for=asked_for)
        return await self._attempt(key)

    async def written(self, key: str) -> None:
        """Wait for one attempt to write all that is queued for `key`; raise what went wrong."""
        error = await self._attempt(key)
        if error is not None:
            raise fresh_copy(error)

    async def flush(self, but: tuple[type[StoreError], ...] = ()) -> None:
        """Return once all is written; raise the first failure of an attempt made for this call.

        Failures of the types in `but` are passed over.
        """
        errors = await asyncio.gather(*map(self._attempt, list(self._queues)))
        for error in errors:
            if error is not None and not isinstance(error, but):
                raise fresh_copy(error)

    async def _attempt(self, key: str) -> StoreError | None:
        queue = self._queues.get(key)
        if queue is None:
            return None
        if not self._running:
            return self.unwritten()
        self._ensure_task(queue)  # whatever may have ended it
        queue.hurry.set()
        await queue.attempted.wait()
        return queue.error

    @property
    def pending(self) -> int:
        """How many changes are not in the store yet."""
        return sum(len(queue.updates) for queue in self._queues.values())

    def unwritten(self) -> StoreError | None:
        """The error that says what is not in the store yet, None if all is."""
        count = self.pending
        changes = "1 change is" if count == 1 else f"{count} changes are"
        message = f"{changes} not in the store: authorize() opens it and tries on"
        return StoreError(message) if count else None

    def _note(
        self, user_id: str | None, before: Record | None, after: Record | None
    ) -> Record | None:
        if user_id is None:
            return after
        is_app = user_id == self._mirror.client_id
        return noted(before, after, self._clocks.wall(), is_app=is_app)

    def _show(self, queue: _Queue) -> None:
        if queue.user_id is not None:
            asked_for = any(update.asked_for for update in queue.updates)
            self._mirror.set_pending(queue.user_id, queue.apply, overrides_damage=asked_for)

    def _ensure_task(self, queue: _Queue) -> None:
        if queue.task is None or queue.task.done():
            queue.hurry, queue.attempted = asyncio.Event(), asyncio.Event()
            queue.task = asyncio.create_task(self._write_all(queue), name="twitchvault outbox")

    async def _write_all(self, queue: _Queue) -> None:
        try:
            await self._write_queue(queue)
        except BaseException:
            queue.end_attempt(self.unwritten())
            raise

    async def _write_queue(self, queue: _Queue) -> None:
        pause = FIRST_PAUSE
        while queue.updates:
            queue.hurry.clear()
            update = queue.updates[0]
            try:
                await self._write(queue, update)
            except Exception as error:
                failure = self._failure(queue, error)
                if isinstance(failure, UNREADABLE) and queue.overrule():
                    continue
                queue.end_attempt(failure)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await queue.hurry.wait()
                pause = min(pause * 2, self._longest_pause)
            else:
                # A store that goes on with a cancelled put may keep an older task of this queue up.
                if queue.updates and queue.updates[0] is update:
                    queue.updates.popleft()
                pause = FIRST_PAUSE
                if queue.updates:
                    self._show(queue)
        if queue.error is not None:
            _logger.info("%r: the change is in the store now", queue.key)
        if self._queues.get(queue.key) is not queue:
            return
        del self._queues[queue.key]
        if queue.user_id is not None:
            self._mirror.drop_pending(queue.user_id)
        queue.end_attempt(None)

    def _failure(self, queue: _Queue, error: Exception) -> StoreError:
        """What callers get; a change stays queued whatever went wrong, also a bug of ours."""
        if not isinstance(error, StoreError):
            _logger.error("%r: a change is not in the store yet", queue.key, exc_info=error)
            return StoreError(f"writing {queue.key!r} failed with {type(error).__name__}")
        if queue.error is None:
            _logger.warning("%r: a change is not in the store yet: %s", queue.key, error)
        return error

    async def _write(self, queue: _Queue, update: _Update) -> None:
        key = queue.key
        if update.tried and self._repository.has_arrived(key, *update.tried):
            return
        update.doubt()
        if update.prepare is not None:
            await update.prepare()
            update.computed = None  # what was prepared may change it
        if update.asked_for and self._mirror.readable_elsewhere() is not None:
            await self._repository.refuse_encrypted()
        if await self._write_over_mirror(queue, update):
            return
        for _ in range(CONFLICTS):
            try:
                held = await self._repository.read(key)
            except UNREADABLE:
                if not update.asked_for:
                    raise
                await self._repository.refuse_encrypted()
                expect = await self._repository.version_of(key)
                done = await self._try(key, update, update(None), expect)
            else:
                before, expect = (None, 0) if held is None else (held.record, held.version)
                after = update(before)
                done = after == before or await self._try(key, update, after, expect)
            if done:
                return
        raise StoreError(f"{key!r} was changed by others {CONFLICTS} times in a row")

    async def _write_over_mirror(self, queue: _Queue, update: _Update) -> bool:
        """The usual case spares reading the record: the mirror holds it as it stands."""
        user_id = queue.user_id
        if user_id is None or self._mirror.cleared or self._mirror.is_damaged(user_id):
            return False
        before = self._mirror.confirmed(user_id)
        if before is None:
            return False
        after = update(before)
        if after == before:
            return False  # the store may hold something else by now
        return await self._try(queue.key, update, after, self._mirror.version(user_id))

    async def _try(
        self, key: str, update: _Update, after: Record | None, expect: int | None
    ) -> bool:
        """Write, or delete if `after` is None; False: it has changed meanwhile."""
        update.tried = (after,)
        update.base, _ = update.computed or (None, None)
        try:
            if after is None:
                await self._repository.delete(key, expect=expect)
            else:
                await self._repository.write(key, after, expect=expect)
        except VersionConflict as conflict:
            if isinstance(conflict, WriteLost):
                update.doubt()
            update.tried = None
            return False
        return True
