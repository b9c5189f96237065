"""Open and close, in any order and with work under way; connections that break."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores.base import Change, Watchable
from twitchvault.testing.contract.feeds import Replica, check_wait
from twitchvault.testing.contract.support import (
    CANCEL_POINTS,
    ContractFixtures,
    CutConnections,
    MakeStore,
    T,
    Watch,
    check_entry,
    opened,
    reach_point,
    result_of,
    scan_all,
    time_limit,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twitchvault.stores.base import TokenStore


async def _enter_feed(store: TokenStore) -> None:
    if isinstance(store, Watchable):
        async with store.watch():
            pass


CALLS: Final[dict[str, Callable[[TokenStore], Awaitable[object]]]] = {
    "get()": lambda store: store.get("key"),
    "put()": lambda store: store.put("key", b"value"),
    "delete()": lambda store: store.delete("key"),
    "scan()": scan_all,
    "watch()": _enter_feed,
}


ROUNDS: Final = 5
WRITES: Final = range(6)


class Lifecycle(ContractFixtures):
    """What `open` and `close` promise, and what holds when all connections are cut."""

    async def test_open_and_close_are_idempotent(self, store: TokenStore) -> None:
        """What was stored stays stored, and versions go on, however often a store is closed.

        Opening an open store and closing a closed one do nothing, also both at once.
        """
        entry, last = ("key", await store.put("key", b"value"), b"value"), 0
        for _ in range(3):
            await asyncio.gather(store.open(), store.open())
            await check_entry(store, entry, "lost by a second open()")
            last = await _check_newest(store, last, "close() and open()")
            await asyncio.gather(store.close(), store.close())
            await store.close()
            await store.open()
            await check_entry(store, entry, "lost by close() and open()")
            assert await store.get("newest") is None, "close() and open() undid a delete"

    async def test_before_open(self, make_store: MakeStore) -> None:
        """A store that was never opened works or raises StoreError, and can be closed."""
        store = make_store()
        for call in CALLS:
            await _works(store, call, "before open()")
        await store.close()
        async with opened(lambda: store):
            assert await store.put("key", b"value"), "put() after close() and open()"

    async def test_after_close(self, store: TokenStore) -> None:
        """A closed store works or raises StoreError; what it refused has not happened."""
        for call in CALLS:
            await store.close()
            worked = await _works(store, call, "after close()")
            await store.open()
            present = await store.get("key") is not None
            right = worked and call == "put()"
            assert present == right, f"{call} {worked=} after close(); its key is there: {present}"
            await store.delete("key")

    async def test_close_with_work_under_way(self, store: TokenStore) -> None:
        """`close` ends in time; a put under way takes effect and returns, or raises StoreError."""
        puts = [asyncio.create_task(store.put(f"key:{i}", b"value")) for i in range(20)]
        await asyncio.sleep(0)
        async with time_limit("close() and the writes that it interrupts return or raise"):
            await store.close()
            results = await asyncio.gather(*puts, return_exceptions=True)
        await store.open()
        for number, result in enumerate(results):
            if isinstance(result, int):
                await check_entry(store, (f"key:{number}", result, b"value"), "a put is lost")
            else:
                assert isinstance(result, StoreError), (
                    f"a put() that close() interrupts must raise StoreError, it raised {result!r}"
                )

    async def test_entries_outlive_their_stores(
        self, stores: list[TokenStore], make_store: MakeStore
    ) -> None:
        """Closing one store leaves others open; a new one finds the entries, and versions go on."""
        entry, last = ("key", await stores[0].put("key", b"value"), b"value"), 0
        for store in stores:
            last = await _check_newest(store, last, "another store was closed")
            await store.close()
        async with opened(make_store) as new:
            found = await scan_all(new)
            assert found == {"key": entry}, f"a new store must find {entry}, it finds {found}"
            await _check_newest(new, last, "a new store was made")

    async def test_close_with_a_feed_open(self, store: TokenStore, watch: Watch) -> None:
        """`close` ends in time though somebody watches; the feed's context can still be left."""
        async with time_limit("leave the context of a feed whose store was closed"), watch() as f:
            waiting = asyncio.create_task(f.wait())
            await asyncio.sleep(0)
            async with time_limit("close() returns while a feed waits"):
                await store.close()
            waiting.cancel()
            result = await result_of(waiting)
            right = isinstance(result, StoreError | asyncio.CancelledError)
            assert right, f"wait() of a closed store must wait or raise StoreError, not {result!r}"
        await store.open()
        assert await store.put("key", b"value"), "put() after close() with a feed, and open()"

    async def test_calls_after_broken_connections(
        self, store: TokenStore, cut_connections: CutConnections
    ) -> None:
        """Soon after connections broke every call works, over new ones."""
        for name, call in CALLS.items():
            await cut_connections()
            await repeated(name, partial(call, store))

    async def test_writes_while_connections_break(
        self, stores: list[TokenStore], cut_connections: CutConnections
    ) -> None:
        """A write returns, or raises StoreUnavailable and says that it may have taken place."""
        for point in range(CANCEL_POINTS):
            keys = [f"key:{point}:{number}" for number in WRITES]
            calls = (stores[i % len(stores)].put(k, b"value", expect=0) for i, k in enumerate(keys))
            puts = asyncio.gather(*calls, return_exceptions=True)
            await reach_point(point)
            await cut_connections()
            async with time_limit("writes whose connection breaks return or raise"):
                results = await puts
            for key, result in zip(keys, results, strict=True):
                await _check_broken_put(stores[0], key, result)

    async def test_feed_after_broken_connections(
        self, stores: list[TokenStore], watch: Watch, cut_connections: CutConnections
    ) -> None:
        """A feed goes on over a new connection: it misses nothing, and `wait` wakes up."""
        async with watch() as feed:
            replica = Replica()
            for turn in range(ROUNDS):
                waiting = asyncio.create_task(feed.wait())
                puts = (partial(stores[i % len(stores)].put, f"{turn}:{i}", b"") for i in WRITES)
                writes = (repeated("put()", put) for put in puts)
                await asyncio.gather(cut_connections(), *writes)
                async with time_limit("wait() gives what was written as connections broke"):
                    replica.apply(await waiting)
                replica.apply(await repeated("catch_up()", feed.catch_up))
            await replica.check(stores[0], "a feed whose connection broke")
            await cut_connections()
            version = await repeated("put()", lambda: stores[-1].put("last", b""))
            await check_wait(feed.wait(), Change("last", version, b""))


async def _check_newest(store: TokenStore, last: int, after: str) -> int:
    """Write and delete; fail unless the version, which is returned, is larger than `last`."""
    version = await store.put("newest", b"value")
    assert version > last, (
        f"after {after} put() gave version {version}, and {last} had been given before the delete: "
        "keep the last version with the data, so that none is reused"
    )
    await store.delete("newest")
    return version


async def _works(store: TokenStore, call: str, when: str) -> bool:
    """Whether the call worked; fail if it raises anything but a StoreError."""
    async with time_limit(f"{call} {when} works or raises StoreError"):
        result = await result_of(CALLS[call](store))
    right = isinstance(result, StoreError) or not isinstance(result, BaseException)
    assert right, f"{call} {when} must work or raise StoreError, it raised {result!r}"
    return not isinstance(result, StoreError)


async def repeated(name: str, call: Callable[[], Awaitable[T]]) -> T:
    """What the call returns once it does not raise StoreUnavailable any more."""
    async with time_limit(f"{name} works soon after connections broke"):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.01)


async def _check_broken_put(store: TokenStore, key: str, result: int | BaseException) -> None:
    """Fail unless what a `put` with expect=0 came to is what stands in the store."""
    entry = await repeated("get()", lambda: store.get(key))
    if isinstance(result, int):
        assert entry == (key, result, b"value"), f"a put gave {result}, but {entry} stands"
        return
    assert isinstance(result, StoreUnavailable), (
        f"a put() whose connection breaks must raise StoreUnavailable, it raised {result!r}. A "
        "write that may have taken place must not be sent once more: it would be its own conflict"
    )
    said = "may have taken place" in str(result)
    assert said or entry is None, (
        f"a put() raised {result!r} and has written: its message must say 'may have taken place'"
    )
