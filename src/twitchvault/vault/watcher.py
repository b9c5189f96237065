"""Keeps the mirror up with the store: one task per open vault.

It enters the store's feed, scans, and then applies changes; whatever breaks is entered and scanned
again. A store that cannot be watched is scanned every second and compared.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.vault.repository import UNREADABLE, was_cancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twitchvault.stores.base import Feed, Watchable
    from twitchvault.vault.mirror import Mirror
    from twitchvault.vault.repository import Repository

__all__ = ["Watcher"]

_logger = logging.getLogger(__name__)

SCAN_EVERY: Final = 1.0
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
QUIET: Final = 60.0
"""Seconds between two warnings of losses."""
AT_ONCE: Final = 100
"""Users that are looked for, or written back, at the same time."""


class Watcher:
    """Brings what others write into the mirror."""

    def __init__(self, repository: Repository, mirror: Mirror) -> None:
        self._repository = repository
        self._mirror = mirror
        self._task: asyncio.Task[None] | None = None
        self._restoring: asyncio.Task[None] | None = None
        self._feed: Feed | None = None
        self._pause = FIRST_PAUSE
        self._quiet_until = 0.0
        self._lost_all = False
        self._lost_since_load = False
        self._lost: set[str] = set()
        self._new_loss = asyncio.Event()
        self._knows_deletes = False
        """From before a loss: versions go on below theirs."""
        repository.catch_up = self.catch_up
        mirror.on_loss = self._look_again

    async def start(self) -> None:
        """Fill the mirror, then keep it up in the background; raises what the store raises."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._scanning = asyncio.Lock()
        self._new_loss = asyncio.Event()
        task = self._task = asyncio.create_task(self._run(ready), name="twitchvault watcher")
        task.add_done_callback(lambda _task: ready.cancel())
        try:
            await ready
        except BaseException:
            task.cancel()
            await asyncio.wait((task,), timeout=LONGEST_PAUSE)
            raise

    def cancel(self) -> list[asyncio.Task[None]]:
        """Let the tasks end without waiting for them."""
        tasks = [task for task in (self._task, self._restoring) if task is not None]
        self._task = self._restoring = self._feed = None
        self._mirror.read_with(None)
        for task in tasks:
            task.cancel()
        return tasks

    async def catch_up(self) -> None:
        """Return once the mirror shows all that any process had committed before the call."""
        if self._task is None:
            raise StoreError("the flow is not open: call authorize() first")
        if self._repository.watchable is None:
            async with self._scanning:
                await self._load(quiet=False)
        elif self._feed is None:
            msg = "the feed of changes broke and is being taken up again; try again in a moment"
            raise StoreUnavailable(msg)
        else:
            self._mirror.apply(await self._repository.call(self._feed.catch_up))

    async def _run(self, ready: asyncio.Future[None]) -> None:
        while True:
            try:
                if self._repository.watchable is not None:
                    await self._follow(self._repository.watchable, ready)
                else:
                    await self._compare(ready)
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and was_cancelled():
                    raise
                failure = (
                    error
                    if isinstance(error, StoreError)
                    else StoreUnavailable(f"the store's feed failed with {type(error).__name__}")
                )
                if not ready.done():
                    ready.set_exception(failure)
                    return
                _logger.warning("the store's changes cannot be followed, trying on: %s", failure)
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def _follow(self, store: Watchable, ready: asyncio.Future[None]) -> None:
        async with store.watch(self._repository.prefix) as feed:
            listen = getattr(feed, "on_loss", None)
            if listen is not None:
                listen(self._note_all_lost)
            await self._load(quiet=not ready.done())
            if not getattr(store, "pushes_changes", False):
                self._mirror.read_with(feed.drain)
            self._feed, self._pause = feed, FIRST_PAUSE
            if not ready.done():
                ready.set_result(None)
            if self._lost_all or self._lost:
                self._start_restoring()
            try:
                while True:
                    changes = await feed.wait()
                    self._mirror.apply(changes)
                    if not changes:  # a store that does not keep to its contract
                        await asyncio.sleep(FIRST_PAUSE)
            finally:
                if self._feed is feed:  # else a later `start` has its own by now
                    self._feed = None
                    self._mirror.read_with(None)

    async def _compare(self, ready: asyncio.Future[None]) -> None:
        while True:
            async with self._scanning:
                await self._load(quiet=not ready.done())
            if not ready.done():
                ready.set_result(None)
            self._pause = FIRST_PAUSE
            await asyncio.sleep(SCAN_EVERY)

    async def _load(self, *, quiet: bool) -> None:
        """Compare all users in the store with the mirror."""
        missing = {user_id: self._mirror.version(user_id) for user_id in self._mirror.users()}
        await self._repository.scan(missing, quiet=quiet)
        users = [*missing]
        await _for_each(users, lambda one: self._confirm_missing(one, missing[one]))
        self._lost_since_load = False

    async def _confirm_missing(self, user_id: str, version: int) -> None:
        # A scan may pass over what is written meanwhile; whether it is gone only a read tells.
        lost = self._lost_since_load
        with suppress(*UNREADABLE):
            key = self._repository.user_key(user_id)
            if await self._repository.read(key, absent_is_lost=lost) is None:
                self._mirror.forget(user_id, "remote", known=version)

    # Losses

    def _look_again(self, user_id: str) -> None:
        self._lost.add(user_id)
        self._start_restoring()

    def _note_all_lost(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._quiet_until:  # a server that evicts keys loses some all the time
            self._quiet_until = now + QUIET
            _logger.warning("the store has lost data: writing back what this process holds")
        self._lost_all = self._lost_since_load = self._knows_deletes = True
        self._repository.note_loss()
        self._new_loss.set()
        self._start_restoring()

    def _start_restoring(self) -> None:
        if self._task is not None and (self._restoring is None or self._restoring.done()):
            self._restoring = asyncio.create_task(self._restore(), name="twitchvault write-back")

    async def _restore(self) -> None:
        pause = FIRST_PAUSE
        while self._lost_all or self._lost:
            self._new_loss.clear()
            try:
                await self._restore_once()
            except Exception as error:
                # Only a store's own error says what is wrong without quoting what it was given.
                reason = error if isinstance(error, StoreError) else type(error).__name__
                _logger.warning("what the store has lost is not written back yet: %s", reason)
                with suppress(TimeoutError):  # a store that tells of a loss may be there again
                    async with asyncio.timeout(pause):
                        await self._new_loss.wait()
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _restore_once(self) -> None:
        all_lost, self._lost_all = self._lost_all, False
        if all_lost:
            if self._feed is None:
                self._lost_all = True
                raise StoreUnavailable("the feed of changes is being taken up")
            if self._knows_deletes:
                self._mirror.apply(self._feed.drain())  # what was told before the loss
                self._mirror.forget_deletes()
                self._knows_deletes = False
            self._lost.update(self._mirror.users())
        try:
            # Who is being refreshed just now comes first: others wait for that lease.
            lost = sorted(self._lost, key=self._is_free)
            await _for_each(lost, self._restore_user)
            if all_lost:
                await self._repository.restore_seeds()
                await self._repository.scan({}, quiet=False)
        except BaseException:
            self._lost_all = self._lost_all or all_lost
            raise

    async def _restore_user(self, user_id: str) -> None:
        with suppress(*UNREADABLE):
            await self._repository.read(self._repository.user_key(user_id))
        self._lost.discard(user_id)

    def _is_free(self, user_id: str) -> bool:
        record = self._mirror.confirmed(user_id)
        return record is None or record.lease is None


async def _for_each(users: list[str], act: Callable[[str], Awaitable[None]]) -> None:
    """Do it for all of them; the first error, once none is under way any more."""
    for start in range(0, len(users), AT_ONCE):
        some = map(act, users[start : start + AT_ONCE])
        for error in await asyncio.gather(*some, return_exceptions=True):
            if error is not None:
                raise error
