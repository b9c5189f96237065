"""A process' way to the store: `TokenStore` and `Watchable`, with delays, errors and stalls."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tests.simulation.facts import NEVER
from tests.simulation.server import Queue
from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores.base import (
    Change,
    Entry,
    TokenStore,
    Watchable,
    check_arguments,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.simulation.host import Host
    from tests.simulation.process import Process
    from tests.simulation.world import World
    from twitchvault.stores.base import Feed

__all__ = ["SimStore", "WatchedStore", "store_of"]

_T = TypeVar("_T")

RETRY: Final = 0.3
"""Seconds after an error in which nobody asks the store again."""


class SimStore(TokenStore):
    """The shared server as one process sees it. It can only be scanned."""

    def __init__(self, world: World, process: Process) -> None:
        self.host: Host = process.host
        self.world = world
        self.server = world.server
        self.weather = process.weather
        self.epoch: int | None = None
        self._process = process
        self._arrivals: dict[str, float] = {}
        self._refusal = "the store is not open"
        self._scanned: dict[str, int] = {}
        self.feeds: list[SimFeed] = []

    async def open(self) -> None:
        """Reach the server."""
        epoch = await self.call("open", "", lambda: self.server.epoch)
        self.epoch = epoch if self.epoch is None else self.epoch
        self._refusal = ""

    async def close(self) -> None:
        """Refuse further use."""
        self._refusal = self._refusal or "the store is closed"
        for feed in self.feeds:
            feed.end()

    async def get(self, key: str) -> Entry | None:
        """The entry of a key."""
        check_arguments(key)
        self.check_open()
        entry = await self.call("get", key, lambda: self.server.entries.get(key))
        self._show(key, None if entry is None else entry.value)
        return entry

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write a value."""
        check_arguments(key, value, expect)
        self.check_open()

        def put() -> int:
            version = self.server.put(key, value, expect, self.world.loop.now)
            self.world.stored(self._process, self.host, key, value)
            return version

        version = await self.call("put", key, put)
        self._show(key, value)
        return version

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove a key."""
        check_arguments(key, expect=expect)
        self.check_open()

        def delete() -> bool:
            gone = self.server.delete(key, expect, self.world.loop.now)
            if gone:
                self.world.stored(self._process, self.host, key, None)
            return gone

        gone = await self.call("delete", key, delete)
        self._show(key, None)
        return gone

    def _show(self, key: str, value: bytes | None) -> None:
        # A vault that was cleared takes in what its scan and its feed tell once it is opened.
        self.world.showed(self.host, key, value, taken_in=not self._process.cleared)

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """All entries under a prefix."""
        self.check_open()
        for entry in await self.call("scan", prefix, lambda: self._found(prefix)):
            self._scanned[entry.key] = entry.version
            self.world.showed(self.host, entry.key, entry.value)
            yield entry

    def _found(self, prefix: str) -> list[Entry]:
        return [entry for entry in self.server.entries.values() if entry.key.startswith(prefix)]

    def show_change(self, change: Change) -> None:
        """A feed has told of a change. What a scan has found meanwhile may be newer."""
        newer = change.version >= self._scanned.get(change.key, 0)
        self.world.showed(self.host, change.key, change.value, taken_in=newer)

    def check_open(self) -> None:
        """Raise unless it is open."""
        if self._refusal:
            raise StoreError(self._refusal)

    async def call(self, what: str, key: str, act: Callable[[], _T]) -> _T:
        """Let the server act, one way later; the answer takes another way."""
        loop = self.world.loop
        self.world.store_calls += 1
        waiter = loop.waiter()
        out = self._process.out_of_reach()
        if out:
            self.world.note(self.host.name, f"store {what}: out of reach", key)
            self.world.books.stall(self.host, loop.now, loop.now + out)
            loop.at(out, self._answer, waiter, None, StoreUnavailable("the store is out of reach"))
        else:
            self._send(what, key, act, waiter)
        result: _T = await waiter
        return result

    def _send(
        self, what: str, key: str, act: Callable[[], object], waiter: asyncio.Future[Any]
    ) -> None:
        loop, delay = self.world.loop, self.weather.store_delay()
        fault = self.weather.pick("store") or ""
        back = 0.0
        if fault:
            self.world.note(self.host.name, f"store {what}: {fault}", key)
        if fault.startswith("stall"):
            stall = self.weather.away()
            delay, back = (delay + stall, 0.0) if fault == "stall before" else (delay, stall)
        # What one process asks of a key reaches the server in order, also if it is cancelled.
        due = loop.now + delay
        arrival = self._arrivals[key] = max(due, self._arrivals.get(key, 0.0))
        if fault or arrival > due:
            # After an error a process waits a moment before it tries again.
            pause = RETRY if fault.startswith("error") else 0.0
            self.world.books.stall(self.host, loop.now, arrival + back + pause)
        loop.at(arrival - loop.now, self._arrive, waiter, act, fault, back)

    def _arrive(
        self, waiter: asyncio.Future[Any], act: Callable[[], object], fault: str, back: float
    ) -> None:
        result: object = None
        error: StoreError | None = None
        if fault == "stall before" and self._process.out_of_reach():
            error = StoreUnavailable("the store is out of reach")
        elif fault != "error before":
            try:
                result = act()
            except StoreError as failure:
                error = failure
        if fault.startswith("error"):
            error = StoreUnavailable("the connection to the store broke: it may have taken place")
        if back:
            self.world.loop.at(back, self._answer, waiter, result, error)
        else:
            self._answer(waiter, result, error)

    def _answer(
        self, waiter: asyncio.Future[Any], result: object, error: StoreError | None
    ) -> None:
        self.world.loop.post(self.host, self.weather.hops(), _set_result, waiter, result, error)


def _set_result(waiter: asyncio.Future[Any], result: object, error: StoreError | None) -> None:
    if waiter.done():
        return
    if error is not None:
        waiter.set_exception(error)
    else:
        waiter.set_result(result)


class WatchedStore(SimStore, Watchable):
    """The same with feeds. `pushes_changes` False: their `drain` looks at the server itself."""

    def __init__(self, world: World, process: Process, *, pushes: bool) -> None:
        super().__init__(world, process)
        self.pushes_changes = pushes

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[Feed]:
        """The changes from now on."""
        self.check_open()
        feed = SimFeed(self, prefix)
        try:
            await self.call("watch", prefix, feed.begin)
            yield feed
        finally:
            feed.end()


class SimFeed:
    """The changes under a prefix, some lag later."""

    def __init__(self, store: WatchedStore, prefix: str) -> None:
        self._store = store
        self._loop = store.world.loop
        self._queue = Queue(prefix, self._lag)
        self._pending: dict[str, Change] = {}
        self._received: list[Change | None] = []
        self._news = asyncio.Event()
        self._listener: Callable[[], None] | None = None
        self._lost = False
        self._ended = False

    def begin(self) -> None:
        """The server serves it from now on."""
        if self._ended:
            return
        server = self._store.server
        self._queue.on_item = self._plan
        server.queues.append(self._queue)
        self._store.feeds.append(self)
        self._lost = self._store.epoch not in {None, server.epoch}
        self._store.epoch = server.epoch

    def end(self) -> None:
        """Nobody reads it any more."""
        self._ended = True
        if self._queue in self._store.server.queues:
            self._store.server.queues.remove(self._queue)
        if self in self._store.feeds:
            self._store.feeds.remove(self)
        if not self._store.host.dead:
            self._news.set()

    async def wait(self) -> list[Change]:
        """At least one change."""
        while not (changes := self.drain()):
            self._news.clear()
            await self._news.wait()
        return changes

    def drain(self) -> list[Change]:
        """What has arrived; where the store must be asked, all that was committed."""
        self._check_reading()
        if not self._store.pushes_changes:
            self._take(self._queue.take(NEVER))
        changes = list(self._pending.values())
        self._pending.clear()
        for change in changes:
            self._store.show_change(change)
        return changes

    async def catch_up(self) -> list[Change]:
        """All that was committed before the call."""
        self._check_reading()
        await self._store.call("catch up", "", partial(self._receive, early=True))
        return self.drain()

    def on_loss(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the server has lost writes."""
        self._listener = listener
        if self._lost:
            self._tell_loss()

    def _check_reading(self) -> None:
        if self._ended:
            raise StoreError("the feed has ended")
        self._store.check_open()

    def _lag(self) -> float:
        weather, now = self._store.weather, self._loop.now
        if not weather.pick("feed"):
            return weather.store_delay() * 2
        lag = weather.late()
        self._store.world.books.lag(self._store.host, now, now + lag)
        return lag

    def _plan(self, due: float) -> None:
        self._loop.at(due - self._loop.now, self._receive)

    def _receive(self, *, early: bool = False) -> None:
        items = self._queue.take(NEVER if early else self._loop.now)
        if items:
            self._received += items
            # After a standstill, what came on other connections may be read before this.
            host = self._store.host
            hops = self._store.weather.hops() * 2 if host.held else 0
            self._loop.post(host, hops, self._take_received)

    def _take_received(self) -> None:
        received, self._received = self._received, []
        self._take(received)

    def _take(self, items: list[Change | None]) -> None:
        for change in items:
            if change is None:
                self._store.epoch = self._store.server.epoch
                self._tell_loss()
                continue
            self._pending.pop(change.key, None)
            self._pending[change.key] = change
        self._news.set()

    def _tell_loss(self) -> None:
        self._lost = self._listener is None
        if self._listener is not None:
            self._store.world.told_of_loss(self._store.host)
            self._listener()


def store_of(world: World, process: Process) -> SimStore:
    """The store that this run's profile wants."""
    kind = world.profile.store
    if kind == "plain":
        return SimStore(world, process)
    return WatchedStore(world, process, pushes=kind == "redis")
