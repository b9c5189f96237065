"""Open and close: in any order, any number of times, with work under way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreError
from twitchvault.stores.base import Watchable
from twitchvault.testing.contract.kit import (
    PROMPT,
    Kit,
    MakeStore,
    content,
    held,
    opened,
    rule,
    within,
)
from twitchvault.testing.contract.picture import need_watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from twitchvault.stores.base import TokenStore

BUSY: Final = 20


class Lifecycle(Kit):
    """What `open` and `close` promise."""

    @rule()
    async def test_open_and_close_are_idempotent(self, store: TokenStore) -> None:
        """Opening an open store and closing a closed one do nothing, also both at once."""
        version = await store.put("key", b"value")
        await asyncio.gather(store.open(), store.open())
        assert await held(store, "key") == ("key", version, b"value"), "lost by a second open()"
        await asyncio.gather(store.close(), store.close())
        await store.close()
        await store.open()
        assert await held(store, "key") == ("key", version, b"value"), "lost by close() and open()"

    @rule()
    async def test_close_before_open(self, opener: MakeStore) -> None:
        """A store that was never opened can be closed, and opened then."""
        store = opener()
        await store.close()
        async with opened(lambda: store):
            assert await store.get("key") is None, "a new store must be empty"
            assert await store.put("key", b"value"), "put() must return a version"

    @rule()
    async def test_closed_again_and_again(self, store: TokenStore) -> None:
        """What was stored stays stored, and versions go on where they were."""
        last = 0
        for _ in range(5):
            await store.put("kept", b"value")
            newest = await store.put("newest", b"value")
            await store.delete("newest")
            await store.close()
            await store.open()
            assert (await held(store, "kept")).value == b"value", "lost by close() and open()"
            assert await store.get("newest") is None, (
                "a deleted key came back by close() and open()"
            )
            assert newest > last, f"after close() and open() version {newest} came after {last}"
            last = newest
        again = await store.put("newest", b"value")
        assert again > last, f"version {again} came after {last} had been deleted: reused"

    @rule()
    async def test_use_before_open(self, opener: MakeStore) -> None:
        """A store that was never opened works or raises StoreError; it does not hang."""
        store = opener()
        for name in _calls(store):
            await _works_or_says_so(store, name, "before open()")
        await store.close()

    @rule()
    async def test_use_after_close(self, store: TokenStore) -> None:
        """A closed store works or raises StoreError; what it refused has not happened."""
        for name in _calls(store):
            await store.put("kept", b"value")
            await store.close()
            worked = await _works_or_says_so(store, name, "after close()")
            await store.open()
            present = await store.get("key") is not None
            assert present == (worked and name == "put()"), (
                f"after close() {name} {'returned' if worked else 'raised StoreError'}, "
                f"yet the key that it wrote is {'there' if present else 'absent'}"
            )
            await store.delete("key")
            assert (await held(store, "kept")).value == b"value", f"lost by {name} after close()"

    @rule()
    async def test_close_with_work_under_way(self, store: TokenStore) -> None:
        """Closing ends in time; a put under way is done when it returns, or raises StoreError."""
        puts = [asyncio.create_task(store.put(f"key:{i}", b"value")) for i in range(BUSY)]
        await asyncio.sleep(0)
        async with within(PROMPT, "close() returns while writes are under way"):
            await store.close()
        async with within(PROMPT, "writes that close() interrupted return or raise"):
            results = await asyncio.gather(*puts, return_exceptions=True)
        await store.open()
        for number, result in enumerate(results):
            if isinstance(result, int):
                entry = await held(store, f"key:{number}")
                assert entry.version == result, "a put that returned before close() was lost"
            else:
                assert isinstance(result, StoreError), f"close() made a put raise {result!r}"

    @rule("handles")
    async def test_data_outlive_all_stores(self, opener: MakeStore) -> None:
        """When every store is closed, a new one finds the data, and versions go on."""
        async with opened(opener) as first:
            kept = await first.put("kept", b"value")
            newest = await first.put("newest", b"value")
            await first.delete("newest")
        async with opened(opener) as second:
            assert await held(second, "kept") == ("kept", kept, b"value"), (
                "lost with the last store"
            )
            assert (await content(second)).keys() == {"kept"}, "a deleted key came back"
            again = await second.put("newest", b"value")
            assert again > newest, f"version {again} came after {newest} in a new store: reused"

    @rule("handles")
    async def test_closing_one_store_leaves_the_other(
        self, store: TokenStore, opener: MakeStore
    ) -> None:
        """Two stores on the same data are closed each for itself."""
        async with opened(opener) as other:
            version = await other.put("key", b"value")
        assert await held(store, "key") == ("key", version, b"value"), "lost with another store"
        assert await store.put("key", b"again", expect=version) > version, "put() after that"

    @rule("watch")
    async def test_close_with_a_feed_open(self, store: TokenStore) -> None:
        """Closing ends in time although somebody watches; the feed's context can still be left."""
        watch = need_watch(store).watch
        expected = "leave the context of a feed whose store was closed"
        async with within(PROMPT, expected), watch() as feed:
            waiting = asyncio.create_task(feed.wait())
            await asyncio.sleep(0)
            async with within(PROMPT, "close() returns while a feed waits"):
                await store.close()
            waiting.cancel()
            (result,) = await asyncio.gather(waiting, return_exceptions=True)
            assert isinstance(result, StoreError | asyncio.CancelledError), (
                f"wait() of a closed store must wait or raise StoreError, it gave {result!r}"
            )
        await store.open()
        assert await store.put("key", b"value"), "put() after close() with a feed, and open()"


def _calls(store: TokenStore) -> Mapping[str, Callable[[], Awaitable[object]]]:
    """Everything that needs an open store."""
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "get()": lambda: store.get("key"),
        "put()": lambda: store.put("key", b"value"),
        "delete()": lambda: store.delete("key"),
        "scan()": lambda: content(store),
    }
    if isinstance(store, Watchable):
        calls["watch()"] = lambda: _look(store)
    return calls


async def _look(store: Watchable) -> None:
    """Enter and leave a feed."""
    async with store.watch():
        pass


async def _works_or_says_so(store: TokenStore, name: str, when: str) -> bool:
    """Whether the call worked; fail if it raises anything but a StoreError."""
    try:
        async with within(PROMPT, f"{name} {when} works or raises StoreError"):
            await _calls(store)[name]()
    except StoreError:
        return False
    except AssertionError:
        raise
    except Exception as error:
        msg = f"{name} {when} must work or raise StoreError, it raised {error!r}"
        raise AssertionError(msg) from error
    return True
