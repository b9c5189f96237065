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
    check_entry,
    get_entry,
    opened,
    scan_all,
    time_limit,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twitchvault.stores.base import TokenStore

CALLS: Final = ("get()", "put()", "delete()", "scan()", "watch()")


class Lifecycle(ContractFixtures):
    """What `open` and `close` promise."""

    async def test_open_and_close_are_idempotent(self, store: TokenStore) -> None:
        """Opening an open store and closing a closed one do nothing, also both at once."""
        version = await store.put("key", b"value")
        await asyncio.gather(store.open(), store.open())
        await check_entry(store, ("key", version, b"value"), "lost by a second open()")
        await asyncio.gather(store.close(), store.close())
        await store.close()
        await store.open()
        await check_entry(store, ("key", version, b"value"), "lost by close() and open()")

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
            right = worked and call == "put()"
            assert present == right, f"{call} {worked=} after close(); its key is there: {present}"
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
                await check_entry(store, (f"key:{number}", result, b"value"), "a put is lost")
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
            found = await scan_all(new)
            assert found == {"kept": ("kept", kept, b"value")}, (
                f"a new store does not find it: {found}"
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
            right = isinstance(result, StoreError | asyncio.CancelledError)
            assert right, f"wait() of a closed store must wait or raise StoreError, not {result!r}"
        await store.open()
        assert await store.put("key", b"value"), "put() after close() with a feed, and open()"


async def _works(store: TokenStore, call: str, when: str) -> bool:
    """Whether the call worked; fail if it raises anything but a StoreError."""
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "get()": lambda: store.get("key"),
        "put()": lambda: store.put("key", b"value"),
        "delete()": lambda: store.delete("key"),
        "scan()": lambda: scan_all(store),
        "watch()": lambda: _enter_feed(store),
    }
    try:
        async with time_limit(f"{call} {when} works or raises StoreError"):
            await calls[call]()
    except StoreError:
        return False
    except AssertionError:
        raise
    except Exception as error:
        msg = f"{call} {when} must work or raise StoreError, it raised {error!r}"
        raise AssertionError(msg) from error
    return True


async def _enter_feed(store: TokenStore) -> None:
    if isinstance(store, Watchable):
        async with store.watch():
            pass
