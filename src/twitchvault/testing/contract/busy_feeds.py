"""Feeds of changes while much is written; for stores that are `Watchable`."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Final

from twitchvault.errors import VersionConflict
from twitchvault.stores.base import Change
from twitchvault.testing.contract.replica import Replica
from twitchvault.testing.contract.support import (
    CANCEL_POINTS,
    ContractFixtures,
    reach_point,
    running,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twitchvault.stores.base import Feed, TokenStore
    from twitchvault.testing.contract.support import Watch

WRITERS: Final = 4
END: Final = "the end"
"""The key that is written when everything else is."""


class BusyFeeds(ContractFixtures):
    """What a feed keeps when writers and readers are at work together."""

    async def test_feeds_miss_nothing(self, store: TokenStore, watch: Watch) -> None:
        """Readers that wait, drain or catch up end with what is there, while four writers write."""
        await _check_readers(watch, [store])

    async def test_feeds_miss_nothing_of_other_stores(
        self, store: TokenStore, watch: Watch, others: list[TokenStore]
    ) -> None:
        """The same when the writers use other stores on the same data, too."""
        await _check_readers(watch, [store, *others])

    async def test_watch_then_scan(self, store: TokenStore, watch: Watch) -> None:
        """Who enters a feed amid writes, scans, and then reads the changes knows everything."""
        replicas: list[tuple[Feed, Replica]] = []
        async with AsyncExitStack() as stack:
            async with running(*(_write(store, number) for number in range(WRITERS))):
                for _ in range(3):
                    feed, replica = await stack.enter_async_context(watch()), Replica()
                    async for entry in store.scan():
                        replica.add(Change(*entry))
                    replicas.append((feed, replica))
                    await asyncio.sleep(0.003)
            for feed, replica in replicas:
                replica.apply(await feed.catch_up())
                await replica.check(store, "a reader that entered watch() and then scanned")

    async def test_cancelled_wait_loses_nothing(self, store: TokenStore, watch: Watch) -> None:
        """A change that comes while a wait is being cancelled is given by the next call."""
        async with watch() as feed:
            for point in range(CANCEL_POINTS):
                waiting = asyncio.create_task(feed.wait())
                writing = asyncio.create_task(store.put("key", b"%d" % point))
                await reach_point(point)
                waiting.cancel()
                (result,) = await asyncio.gather(waiting, return_exceptions=True)
                version = await writing
                replica = Replica()
                replica.apply(result if isinstance(result, list) else [])
                replica.apply(await feed.catch_up())
                assert replica.known.get("key") == ("key", version, b"%d" % point), (
                    f"a change was lost with a cancelled wait(): {replica.known}"
                )


async def _check_readers(watch: Watch, writers: Sequence[TokenStore]) -> None:
    """Read by each method while the writers write; fail unless each reader knows what is there."""
    async with AsyncExitStack() as stack:
        readers = [
            (method, await stack.enter_async_context(watch()), Replica())
            for method in ("wait", "drain", "catch_up")
        ]
        async with running(*(_read(*reader) for reader in readers)):
            await asyncio.gather(*(_write(writers[i % len(writers)], i) for i in range(WRITERS)))
            await writers[0].put(END, b"")
        for method, feed, replica in readers:
            replica.apply(await feed.catch_up())
            await replica.check(writers[0], f"a feed read by {method}() while others wrote")


async def _read(method: str, feed: Feed, replica: Replica) -> None:
    """Read until the last write has come."""
    while END not in replica.known:
        await asyncio.sleep(0.001 if method == "drain" else 0)
        result = getattr(feed, method)()
        replica.apply(result if method == "drain" else await result)


async def _write(store: TokenStore, number: int) -> None:
    """Put, compare and set, and delete some keys that other writers change too."""
    for step in range(40):
        key, value = f"key:{(number + step * 3) % 8}", b"%d of %d" % (step, number)
        match step % 5:
            case 0:
                await store.delete(key)
            case 1 | 2:
                entry = await store.get(key)
                with suppress(VersionConflict):
                    await store.put(key, value, expect=entry.version if entry else 0)
            case _:
                await store.put(key, value)
