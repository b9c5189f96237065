"""Connections that break: what a store makes of it, and what follows."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from twitchvault.errors import StoreUnavailable
from twitchvault.stores.base import Change
from twitchvault.testing.contract.feeds import Replica, check_wait
from twitchvault.testing.contract.lifecycle import CALLS
from twitchvault.testing.contract.support import (
    CANCEL_POINTS,
    ContractFixtures,
    CutConnections,
    Watch,
    reach_point,
    time_limit,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twitchvault.stores.base import TokenStore

T = TypeVar("T")
ROUNDS: Final = 5
WRITES: Final = range(6)


class Connections(ContractFixtures):
    """What holds when the connections of all stores are cut."""

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
