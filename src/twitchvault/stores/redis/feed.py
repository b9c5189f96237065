"""The changes of a namespace: one follower for a store, and the feeds that it serves.

The follower reads the stream of changes from the version it stands at. Each element names the one
before it and its epoch. Where those are not the follower's own, or where nothing comes for a while,
it asks the server where things stand. If the stream was cut behind it, or data were lost, it takes
what happened since from the deletes that are remembered and from a scan, and goes on after them.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreError
from twitchvault.stores.base import Change
from twitchvault.stores.batcher import cancel_and_wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twitchvault.stores.redis.namespace import Namespace, State, StreamElement

RETRY_DELAYS: Final = (0.0, 0.05, 0.1, 0.2, 0.4)  # seconds before another try; the last one repeats

log = logging.getLogger("twitchvault.stores.redis")


class RedisFeed:
    """The changes of the keys under a prefix. Never waits on a network but in `catch_up`."""

    def __init__(self, follower: Follower, prefix: str, *, lost: bool) -> None:
        self._follower = follower
        self._prefix = prefix
        self._lost = lost
        self._pending: dict[str, Change] = {}
        self._arrived = asyncio.Event()
        self._on_loss: Callable[[], None] | None = None
        self._closed = False

    async def wait(self) -> list[Change]:
        """At least one change, as soon as there is one; `StoreError` once the store is closed."""
        while not (changes := self.drain()):
            self._arrived.clear()
            await self._arrived.wait()
        return changes

    def drain(self) -> list[Change]:
        """What has arrived, of each key the newest; `StoreError` once the store is closed."""
        if self._closed:
            raise StoreError("the feed has ended: its store was closed, or its context was left")
        changes = list(self._pending.values())
        self._pending.clear()
        self._notify_loss()
        return changes

    async def catch_up(self) -> list[Change]:
        """All that was committed before the call; usually one round trip to the primary.

        `StoreUnavailable` if the server does not answer in time.
        """
        if not self._closed:
            await self._follower.catch_up()
        return self.drain()

    def on_loss(self, listener: Callable[[], None]) -> None:
        """Call `listener`, on the loop's thread, whenever the server has lost committed writes.

        What others wrote since is handed out before the call. What was lost before, while the store
        was open, is reported at once.
        """
        self._on_loss = listener
        self._notify_loss()

    def add(self, changes: Iterable[Change]) -> None:
        """Keep changes until they are handed out, of each key the newest."""
        for change in changes:
            if change.key.startswith(self._prefix):
                self._pending.pop(change.key, None)
                self._pending[change.key] = change
        if self._pending:
            self._arrived.set()

    def mark_lost(self) -> None:
        """The follower has found that data were lost."""
        self._lost = True
        self._notify_loss()

    def close(self) -> None:
        """End the feed: a reader that waits gets an error."""
        self._closed = True
        self._arrived.set()

    def _notify_loss(self) -> None:
        """Report a loss once all that came before it is handed out."""
        if self._lost and self._on_loss is not None and not self._pending:
            self._lost = False
            # Soon, not now: the reader has to take in first what it is just being given.
            asyncio.get_running_loop().call_soon(self._on_loss)


class Follower:
    """Follows the changes for all feeds of an opened store, by one task."""

    def __init__(self, namespace: Namespace) -> None:
        self.epoch = 0
        self._namespace = namespace
        self._server = namespace.client.server
        self._position = 0
        self._feeds: set[RedisFeed] = set()
        self._task: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    async def enter(self, prefix: str) -> RedisFeed:
        """A feed of all that is committed from now on."""
        async with self._turn:
            lost = False
            if self._task is None:
                state = await self._namespace.check(self.epoch)
                lost = state.epoch != self.epoch
                self.epoch, self._position = state.epoch, state.version
                self._task = asyncio.create_task(self._run(), name="twitchvault-redis-changes")
            feed = RedisFeed(self, prefix, lost=lost)
            self._feeds.add(feed)
            return feed

    def leave(self, feed: RedisFeed) -> None:
        """Serve this feed no longer."""
        feed.close()
        self._feeds.discard(feed)
        if not self._feeds and self._task is not None:
            self._task.cancel()
            self._ending.add(self._task)
            self._task.add_done_callback(self._ending.discard)
            self._task = None

    async def close(self) -> None:
        """End all feeds, and wait for the task, which must not outlive the client."""
        for feed in tuple(self._feeds):
            self.leave(feed)
        await cancel_and_wait(self._ending)

    async def catch_up(self) -> None:
        """Bring the feeds all that was committed before the call."""
        async with self._turn:
            await self._compare()

    async def _run(self) -> None:
        await asyncio.sleep(0)  # an eager task runs before it is noted
        failures = 0
        me = asyncio.current_task()
        while self._task is me:  # up to Python 3.11 the driver may swallow a cancellation
            try:
                await self._step()
            except Exception as error:
                if failures == 1:  # the first may be an idle connection that somebody has closed
                    unexpected = f"{self._server}: {type(error).__name__}"
                    reason = error if isinstance(error, StoreError) else unexpected
                    log.warning("the feed tries again until it goes on: %s", reason)
                await asyncio.sleep(RETRY_DELAYS[min(failures, len(RETRY_DELAYS) - 1)])
                failures += 1
            else:
                if failures > 1:
                    log.info("%s: the feed goes on", self._server)
                failures = 0

    async def _step(self) -> None:
        """Read what comes next; if nothing does, ask whether the server still has everything."""
        elements = await self._namespace.next_changes(self._position)
        async with self._turn:
            if not elements or not self._apply(elements):
                await self._compare()
        # The reader, and who waits for it, go first: asking for more would cost them a system call.
        for _ in range(2):
            await asyncio.sleep(0)

    async def _compare(self) -> None:
        """Read up to where the server stands now."""
        target = 0
        while True:
            start = self._position
            state = await self._namespace.check(self.epoch, start)
            target = target or state.version
            complete = state.epoch == self.epoch and self._apply(state.changes or ())
            if not complete or self._position == start < state.version:
                await self._rescan(state)
            if self._position >= target:
                return

    def _apply(self, elements: Iterable[StreamElement]) -> bool:
        """Bring these changes to the feeds; False if some before them are missing."""
        changes, position, complete = [], self._position, True
        for version, epoch, before, change in elements:
            if version <= position:
                continue  # `catch_up` was faster
            complete = before == position and epoch == self.epoch
            if not complete:
                break
            position = version
            if change is not None:
                changes.append(change)
        self._deliver(changes, position)
        return complete

    async def _rescan(self, state: State) -> None:
        """Bring what happened up to `state` without the stream.

        What comes later is left to the stream, so that no key goes back to an older version.
        """
        start, changes = self._position, {}
        async for change in self._namespace.deletes(start, state.version):
            changes[change.key] = change
        async for entry in self._namespace.scan(""):
            if start < entry.version <= state.version:
                changes[entry.key] = Change(*entry)
        lost, self.epoch = state.epoch != self.epoch, state.epoch
        self._deliver(changes.values(), state.version)
        if lost:
            log.warning("%s: the server has lost data; a new epoch begins", self._server)
            for feed in tuple(self._feeds):
                feed.mark_lost()

    def _deliver(self, changes: Iterable[Change], position: int) -> None:
        self._position = position
        self._namespace.note_version(position)
        for feed in self._feeds:
            feed.add(changes)
