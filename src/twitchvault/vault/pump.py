"""Keeps the mirror up with the store: one task per open vault.

It enters the store's feed, scans, and then applies changes; whatever breaks is entered and scanned
again. A store that cannot be watched is scanned every second and compared.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores.base import LossFeed, PushingFeed, Watchable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twitchvault.stores.base import Feed
    from twitchvault.vault.ledger import Ledger
    from twitchvault.vault.mirror import Mirror

__all__ = ["Pump"]

_logger = logging.getLogger(__name__)

SCAN_EVERY: Final = 1.0
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0


class Pump:
    """Brings what others write into the mirror."""

    def __init__(
        self, ledger: Ledger, mirror: Mirror, write_back: Callable[[], Awaitable[None]]
    ) -> None:
        self._ledger = ledger
        self._mirror = mirror
        self._write_back = write_back
        self._lost = asyncio.Event()
        self._followed = False
        self._task: asyncio.Task[None] | None = None
        self._feed: Feed | None = None
        self._scanning = asyncio.Lock()

    async def start(self) -> None:
        """Fill the mirror, then keep it up in the background; raises what the store raises."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._scanning, self._lost = asyncio.Lock(), asyncio.Event()
        self._task = asyncio.create_task(self._run(ready), name="twitchvault pump")
        task = self._task
        try:
            await ready
        except BaseException:
            task.cancel()
            await asyncio.wait((task,))
            raise
        finally:
            if not ready.done():
                ready.cancel()

    @property
    def follows(self) -> bool:
        """Whether changes come through a feed, not by scanning."""
        return self._feed is not None

    def cancel(self) -> asyncio.Task[None] | None:
        """Let the task end without waiting for it."""
        task, self._task, self._feed = self._task, None, None
        self._mirror.read_with(None)
        if task is not None:
            task.cancel()
        return task

    async def stop(self) -> None:
        """End the task."""
        task = self.cancel()
        if task is not None:
            await asyncio.wait((task,))

    async def catch_up(self) -> None:
        """Return once the mirror shows all that any process had committed before the call."""
        if self._task is None:
            msg = "the vault is not open: call authorize() first"
            raise StoreError(msg)
        if not isinstance(self._ledger.store, Watchable):
            async with self._scanning:
                await self._ledger.load(quiet=False)
        elif self._feed is None:
            msg = "the feed of changes broke and is being taken up again; try again in a moment"
            raise StoreUnavailable(msg)
        else:
            self._mirror.apply(await self._feed.catch_up())

    async def _run(self, ready: asyncio.Future[None]) -> None:
        try:
            await self._keep_up(ready)
        finally:
            if not ready.done():
                ready.set_exception(StoreError("the vault was cleared or closed while it opened"))

    async def _keep_up(self, ready: asyncio.Future[None]) -> None:
        pause = FIRST_PAUSE / 2
        while True:
            try:
                if isinstance(self._ledger.store, Watchable):
                    await self._follow(self._ledger.store, ready)
                else:
                    await self._compare(ready)
            except StoreError as error:
                if not ready.done():
                    ready.set_exception(error)
                    return
                _logger.warning("the store's changes cannot be followed, trying on: %s", error)
            except Exception as error:
                failure = StoreUnavailable(f"the store's feed failed with {type(error).__name__}")
                if not ready.done():
                    ready.set_exception(failure)
                    return
                _logger.warning("%s, trying on", failure)
            pause = FIRST_PAUSE if self._followed else min(pause * 2, LONGEST_PAUSE)
            self._followed = False
            await asyncio.sleep(pause)

    async def _follow(self, store: Watchable, ready: asyncio.Future[None]) -> None:
        async with store.watch(self._ledger.prefix) as feed:
            pushes = isinstance(feed, PushingFeed)
            if isinstance(feed, PushingFeed):
                feed.push_to(self._mirror.apply)
            if isinstance(feed, LossFeed):
                feed.on_loss(self._lost.set)
            if self._lost.is_set():
                # Before the scan, which would take whom the store has lost for removed.
                self._lost.clear()
                await self._write_back()
            await self._ledger.load(quiet=not ready.done())
            self._mirror.read_with(None if pushes else feed.drain)
            self._feed, self._followed = feed, True
            if not ready.done():
                ready.set_result(None)
            restoring = asyncio.create_task(self._restore_losses(), name="twitchvault write-back")
            reading = asyncio.create_task(self._mirror.read_all(), name="twitchvault reading")
            try:
                while True:
                    self._mirror.apply(await feed.wait())
            finally:
                restoring.cancel()
                reading.cancel()
                self._feed = None
                self._mirror.read_with(None)

    async def _restore_losses(self) -> None:
        while True:
            await self._lost.wait()
            self._lost.clear()
            _logger.warning("the store has lost data: writing back what this process holds")
            await self._write_back()

    async def _compare(self, ready: asyncio.Future[None]) -> None:
        while True:
            async with self._scanning:
                await self._ledger.load(quiet=not ready.done())
            if not ready.done():
                ready.set_result(None)
            await self._mirror.read_all()
            await asyncio.sleep(SCAN_EVERY)
