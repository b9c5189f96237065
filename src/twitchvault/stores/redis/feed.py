"""The changes of a namespace: one reader for a store, and the feeds that it serves.

The reader follows the stream of changes from the version it stands at. Each element names the
version before it; where that is not the reader's own, something was missed, because the stream was
cut or the server lost data. The reader then takes the deletes after its version from the stream of
deletes, and all entries after its version from a scan, and goes on behind them. The same when the
server was silent for a while and turns out to have another epoch, or to be further on.

A server that lost data never makes a feed tell of deletes: what is lost has left no delete behind.
It is told by `RedisFeed.on_loss`.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores.base import Change
from twitchvault.stores.redis.failures import DRIVER_ERRORS
from twitchvault.stores.redis.lane import end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twitchvault.stores.redis.data import Data, State
    from twitchvault.stores.redis.wire import Record

__all__ = ["Reader", "RedisFeed"]

AT_ONCE: Final = 500
"""Changes taken from the stream in one step."""
PAUSES: Final = (0.0, 0.05, 0.1, 0.2, 0.4)
"""Seconds before a broken connection is taken up again; the last one repeats."""
PATIENCE: Final = 10.0
"""Seconds for which `catch_up` waits for the reader."""
STOPPING: Final = 2.0
"""Seconds for the reader to end."""

log = logging.getLogger("twitchvault.stores.redis")


class RedisFeed:
    """A `PushingFeed` of the keys under a prefix. Never waits on a network but in `catch_up`."""

    def __init__(self, reader: Reader, prefix: str, *, lost: bool) -> None:
        self._reader = reader
        self._lost = lost
        self._prefix = prefix
        self._pending: dict[str, Change] = {}
        self._news = asyncio.Event()
        self._sink: Callable[[list[Change]], None] | None = None
        self._on_loss: Callable[[], None] | None = None
        self._closed = False

    async def wait(self) -> list[Change]:
        """At least one change, as soon as there is one; `StoreError` once the store is closed."""
        while not self._pending:
            self._check_open()
            self._news.clear()
            await self._news.wait()
        return self.drain()

    def drain(self) -> list[Change]:
        """What has arrived, of each key the newest; `StoreError` once the store is closed."""
        if not self._pending:
            self._check_open()
        changes = list(self._pending.values())
        self._pending.clear()
        return changes

    async def catch_up(self) -> list[Change]:
        """All that was committed before the call; one round trip to the primary, then a wait.

        `StoreUnavailable` if the server does not answer, or the feed cannot follow it, in time.
        """
        self._check_open()
        await self._reader.catch_up()
        return self.drain()

    def push_to(self, sink: Callable[[list[Change]], None]) -> None:
        """Call `sink` with each change from now on, and with what is waiting already."""
        self._sink = sink
        if self._pending:
            self._hand_over(self.drain())

    def on_loss(self, listener: Callable[[], None]) -> None:
        """Call `listener`, on the loop's thread, whenever the server has lost committed writes.

        That is: restarted without its newest data, failed over to a replica that lagged behind, or
        emptied. Nothing that was lost is reported as deleted. What the server still holds and what
        others wrote since has been handed out before the call; every version given from then on is
        larger than any before. A reader that still holds what was lost should compare with a scan
        and write back, with `expect`, what is missing or older there. What was lost while the store
        was open but had no feed, or no listener, is told at once.
        """
        self._on_loss = listener
        if self._lost:
            self.tell_loss()

    def take(self, changes: Iterable[Change]) -> None:
        """The reader brings changes."""
        mine = [change for change in changes if change.key.startswith(self._prefix)]
        if not mine:
            return
        if self._sink is not None:
            self._hand_over(mine)
            return
        for change in mine:
            self._pending.pop(change.key, None)
            self._pending[change.key] = change
        self._news.set()

    def tell_loss(self) -> None:
        """The reader has found that data were lost."""
        self._lost = self._on_loss is None
        if self._on_loss is not None:
            _call(self._on_loss)

    def close(self) -> None:
        """The store is closed: nothing more will come."""
        self._closed = True
        self._news.set()

    def _hand_over(self, changes: list[Change]) -> None:
        sink = self._sink
        if sink is not None:
            _call(lambda: sink(changes))

    def _check_open(self) -> None:
        if self._closed:
            msg = "the feed has ended: its store was closed, or its context was left"
            raise StoreError(msg)


def _call(listener: Callable[[], None]) -> None:
    """Call somebody else's code, whose faults must not end the reader."""
    try:
        listener()
    except Exception as error:
        log.error("a listener of a feed failed: %s", whereabouts(error))


def whereabouts(error: Exception) -> str:
    """Kind and place of an error; its own text might hold a value."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
    return f"{type(error).__name__} at {place}"


class Reader:
    """Follows the changes for all feeds of an opened store, with one connection and one task."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self.epoch = b""
        """The epoch known last; empty before the store has learned of one."""
        self._feeds: set[RedisFeed] = set()
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._position = 0
        self._expected = 0
        self._checked = True
        self._newest: dict[str, int] = {}

    async def enter(self, prefix: str) -> RedisFeed:
        """A feed of all that is committed from now on."""
        async with self._turn:
            lost = self._task is None and await self._start()
            feed = RedisFeed(self, prefix, lost=lost)
            self._feeds.add(feed)
            return feed

    async def leave(self, feed: RedisFeed) -> None:
        """Serve this feed no longer."""
        feed.close()
        self._feeds.discard(feed)
        async with self._turn:
            if not self._feeds:
                await self._stop()

    async def close(self) -> None:
        """End all feeds."""
        for feed in self._feeds:
            feed.close()
        self._feeds.clear()
        await self._stop()

    async def catch_up(self) -> None:
        """Return once the feeds have been given all that was committed before the call."""
        state = await self._data.state()
        if self._position >= state.version:
            return
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((state.version, reached))
        try:
            await asyncio.wait({reached}, timeout=PATIENCE)
        finally:
            reached.cancel()  # does nothing to one that is done
        if reached.cancelled():
            msg = f"{self._data.link.address}: the feed could not catch up within {PATIENCE:g} s"
            raise StoreUnavailable(msg)
        reached.result()

    async def _start(self) -> bool:
        """Begin to follow from now on; whether data were lost since the store knew of them."""
        state = await self._data.state()
        lost = self.epoch not in (b"", state.epoch)
        self.epoch, self._position, self._expected = state.epoch, state.version, 0
        self._checked = True
        self._task = asyncio.create_task(self._run(), name="twitchvault-redis-reader")
        return lost

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await end(task, STOPPING)
        for _, reached in self._waiting:
            if not reached.done():
                reached.set_exception(StoreError("the store was closed while the feed caught up"))
        self._waiting.clear()

    async def _run(self) -> None:
        try:
            await self._follow()
        finally:
            await self._data.link.unfollow()

    async def _follow(self) -> None:
        tries = 0
        me = asyncio.current_task()
        while me is not None and not me.cancelling():
            try:
                await self._step()
            except (*DRIVER_ERRORS, StoreError) as error:
                self._tell_outage(tries, error)
            except Exception as error:
                log.error("%s: the feed stumbled: %s", self._data.link.address, whereabouts(error))
            else:
                if tries:
                    log.info("%s: the feed goes on", self._data.link.address)
                tries = 0
                continue
            self._checked = False
            await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1

    def _tell_outage(self, tries: int, error: BaseException) -> None:
        if tries == 1:  # the first try after an idle connection was closed is nothing to tell of
            told = (
                error
                if isinstance(error, StoreError)
                else self._data.link.translator.failure(error).error
            )
            log.warning("%s; the feed tries again until it goes on", told)

    async def _step(self) -> None:
        """Take in what comes next, or find out that nothing has."""
        if not self._checked:
            await self._check()
        records = await self._data.link.follow(self._position, AT_ONCE)
        if records:
            await self._apply(records)
            # Those who wait for the news go first: asking for more would cost them a system call.
            await asyncio.sleep(0)
        elif self._position < self._expected:
            await self._read_all(await self._state())
        else:
            self._checked = False

    async def _check(self) -> None:
        """Look whether the server is still the one we were following."""
        state = await self._state()
        if state.epoch != self.epoch:
            await self._read_all(state)
        self._expected, self._checked = state.version, True

    async def _state(self) -> State:
        return await self._data.state(self.epoch, self._position)

    async def _apply(self, records: list[Record]) -> None:
        changes: list[Change] = []
        position = self._position
        whole = True
        for record in records:
            whole = record.epoch in (None, self.epoch) and (
                record.before == position or record.epoch is not None
            )
            if not whole:
                break
            position = record.version
            if record.change is not None and record.version >= self._newest.get(
                record.change.key, 0
            ):
                changes.append(record.change)
        self._deliver(changes)
        self._move(position)
        if not whole:
            await self._read_all(await self._state())

    async def _read_all(self, state: State) -> None:
        """Bring what happened after our position without the stream, and go on from `state`."""
        lost = state.epoch != self.epoch
        if not lost and not state.whole:
            log.warning("%s: the feed was away for too many deletes", self._data.link.address)
        async for deleted in self._data.tombstones(self._position, state.version):
            self._deliver(deleted)
        async for page in self._data.pages(""):
            changes = [Change(*entry) for entry in page if entry.version > self._position]
            self._newest.update({c.key: c.version for c in changes if c.version > state.version})
            self._deliver(changes)
        self.epoch = state.epoch
        self._move(state.version)
        if lost:
            log.warning("%s: the server has lost data; a new epoch begins", self._data.link.address)
            for feed in list(self._feeds):
                feed.tell_loss()

    def _deliver(self, changes: list[Change]) -> None:
        if changes:
            for feed in list(self._feeds):
                feed.take(changes)

    def _move(self, position: int) -> None:
        self._position = position
        self._data.seen = max(self._data.seen, position)
        if self._newest and position >= max(self._newest.values()):
            self._newest.clear()
        for target, reached in self._waiting:
            if target <= position and not reached.done():
                reached.set_result(None)
        if self._waiting:
            self._waiting = [waiting for waiting in self._waiting if not waiting[1].done()]
