"""Open and close: in any order, any number of times, with work under way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreError
from twitchvault.stores.base import Watchable
from twitchvault.testing.contract.support import (
    ContractFixtures,
    MakeStore,
    Watch,
    get_entry,
    opened,
    scan_all,
    time_limit,
)

if TYPE_CHECKING:
    from twitchvault.stores.base import TokenStore

CALLS: Final = ("get()", "put()", "delete()", "scan()", "watch()")


class Lifecycle(ContractFixtures):
    """What `open` and `close` promise."""

    async def test_open_and_close_are_idempotent(self, store: TokenStore) -> None:
        """Opening an open store and closing a closed one do nothing, also both at once."""
        version = await store.put("key", b"value")
        await asyncio.gather(store.open(), store.open())
        assert await get_entry(store, "key") == ("key", version, b"value"), "lost by a second open"
        await asyncio.gather(store.close(), store.close())
        await store.close()
        await store.open()
        assert await get_entry(store, "key") == ("key", version, b"value"), "lost by close and open"

    async def test_before_open(self, opener: MakeStore) -> None:
        """A store that was never opened works or raises StoreError, and can be closed."""
        store = opener()
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
            assert present == (worked and call == "put()"), (
                f"after close() {call} {'returned' if worked else 'raised StoreError'}, "
                f"yet the key that it wrote is {'there' if present else 'absent'}"
            )
            await store.delete("key")

    async def test_closed_again_and_again(self, store: TokenStore) -> None:
        """What was stored stays stored, and versions go on where they were."""
        last = 0
        await store.put("kept", b"value")
        for _ in range(5):
            newest = await store.put("newest", b"value")
            assert newest > last, f"version {newest} came after {last} had been deleted: reused"
            last = newest
            await store.delete("newest")
            await store.close()
            await store.open()
            assert (await get_entry(store, "kept")).value == b"value", "lost by close() and open()"
            assert await store.get("newest") is None, "close() and open() undid a delete"

    async def test_close_with_work_under_way(self, store: TokenStore) -> None:
        """Closing ends in time; a put under way is done when it returns, or raises StoreError."""
        puts = [asyncio.create_task(store.put(f"key:{i}", b"value")) for i in range(20)]
        await asyncio.sleep(0)
        async with time_limit("close() and the writes that it interrupts return or raise"):
            await store.close()
            results = await asyncio.gather(*puts, return_exceptions=True)
        await store.open()
        for number, result in enumerate(results):
            if isinstance(result, int):
                entry = await get_entry(store, f"key:{number}")
                assert entry.version == result, "a put that returned before close() was lost"
            else:
                assert isinstance(result, StoreError), f"close() made a put raise {result!r}"

    async def test_data_outlive_all_stores(
        self, store: TokenStore, others: list[TokenStore], opener: MakeStore
    ) -> None:
        """Each store is closed for itself; a new one finds the data, and versions go on."""
        kept = await store.put("kept", b"value")
        await store.close()
        newest = await others[0].put("newest", b"value")
        await others[0].delete("newest")
        for other in others:
            await other.close()
        async with opened(opener) as new:
            assert await scan_all(new) == {"kept": ("kept", kept, b"value")}, (
                "a new store does not find what the last ones have left"
            )
            again = await new.put("newest", b"value")
            assert again > newest, f"version {again} came after {newest} in a new store: reused"

    async def test_close_with_a_feed_open(self, store: TokenStore, watch: Watch) -> None:
        """Closing ends in time although somebody watches; the feed's context can still be left."""
        async with time_limit("leave the context of a feed whose store was closed"), watch() as f:
            waiting = asyncio.create_task(f.wait())
            await asyncio.sleep(0)
            async with time_limit("close() returns while a feed waits"):
                await store.close()
            waiting.cancel()
            (result,) = await asyncio.gather(waiting, return_exceptions=True)
            assert isinstance(result, StoreError | asyncio.CancelledError), (
                f"wait() of a closed store must wait or raise StoreError, it gave {result!r}"
            )
        await store.open()
        assert await store.put("key", b"value"), "put() after close() with a feed, and open()"


async def _works(store: TokenStore, call: str, when: str) -> bool:
    """Whether the call worked; fail if it raises anything but a StoreError."""
    try:
        async with time_limit(f"{call} {when} works or raises StoreError"):
            await _do(store, call)
    except StoreError:
        return False
    except AssertionError:
        raise
    except Exception as error:
        msg = f"{call} {when} must work or raise StoreError, it raised {error!r}"
        raise AssertionError(msg) from error
    return True


async def _do(store: TokenStore, call: str) -> None:
    match call:
        case "get()":
            await store.get("key")
        case "put()":
            await store.put("key", b"value")
        case "delete()":
            await store.delete("key")
        case "scan()":
            await scan_all(store)
        case _ if isinstance(store, Watchable):
            async with store.watch():
                pass
