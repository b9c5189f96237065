"""Feeds of changes while much is written; for stores that are `Watchable`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

import pytest

from twitchvault.errors import VersionConflict
from twitchvault.stores.base import Change, Feed, PushingFeed, TokenStore
from twitchvault.testing.contract.kit import (
    POINTS,
    PROMPT,
    Kit,
    MakeStore,
    content,
    opened,
    reach,
    rule,
    within,
)
from twitchvault.testing.contract.picture import Picture, need_watch

Reader = Callable[[Feed], Awaitable[list[Change]]]

WRITERS: Final = 4
ROUNDS: Final = 40
END: Final = "the end"
"""The key that is written when everything else is."""


class BusyFeeds(Kit):
    """What a feed keeps when writers and readers are at work together."""

    @rule("watch")
    async def test_feeds_miss_nothing(self, store: TokenStore) -> None:
        """Readers that wait, drain or catch up end with what is there, while four writers write."""
        await _check_readers(store, [store])

    @rule("watch", "handles")
    async def test_feeds_miss_nothing_of_other_stores(
        self, store: TokenStore, opener: MakeStore
    ) -> None:
        """The same when the writers use other stores on the same data, too."""
        async with opened(opener) as second, opened(opener) as third:
            await _check_readers(store, [second, store, third])

    @rule("watch")
    async def test_watch_then_scan(self, store: TokenStore) -> None:
        """A feed entered amid writes, a scan after that, then changes: the whole picture."""
        watch = need_watch(store).watch
        pictures: list[tuple[Feed, Picture]] = []
        async with AsyncExitStack() as stack:
            async with under_way([_write(store, number) for number in range(WRITERS)]):
                for _ in range(3):
                    feed, picture = await stack.enter_async_context(watch()), Picture()
                    async for entry in store.scan():
                        picture.see(Change(*entry))
                    pictures.append((feed, picture))
                    await asyncio.sleep(0.003)
            there = await content(store)
            for feed, picture in pictures:
                picture.apply(await feed.catch_up())
                picture.check(there, "a reader that entered watch() and then scanned amid writes")

    @rule("watch")
    async def test_cancelled_wait_loses_nothing(self, store: TokenStore) -> None:
        """A change that comes while a wait is being cancelled is given by the next call."""
        async with need_watch(store).watch() as feed:
            for point in range(POINTS):
                waiting = asyncio.create_task(feed.wait())
                writing = asyncio.create_task(store.put("key", b"%d" % point))
                await reach(point)
                waiting.cancel()
                result = (await asyncio.gather(waiting, return_exceptions=True))[0]
                version = await writing
                picture = Picture()
                picture.apply(result if isinstance(result, list) else [])
                picture.apply(await feed.catch_up())
                assert picture.known.get("key") == ("key", version, b"%d" % point), (
                    f"a change was lost with a cancelled wait(): {picture.known}"
                )

    @rule("watch", "push")
    async def test_pushing_feed(self, store: TokenStore) -> None:
        """A feed that pushes hands over what was waiting and all that comes."""
        async with need_watch(store).watch("k") as feed:
            pushing, sink = need_push(feed), Sink()
            before = {key: await store.put(key, b"before") for key in ("k1", "k2")}
            await store.put("other", b"value")
            pushing.push_to(sink)
            await _check_silent(feed)
            sink.check({k: Change(k, v, b"before") for k, v in before.items()}, "before push_to()")
            for number in range(10):
                value = b"%d" % number
                version = await store.put("k1", value)
                await store.delete("k2")
                await _check_silent(feed)
                known = sink.check({"k1": Change("k1", version, value)}, "before catch_up()")
                assert known["k2"].value is None, "the sink was not given a delete"
                await store.put("k2", b"again")

    @rule("watch", "push")
    async def test_pushing_feed_pushes_by_itself(self, store: TokenStore) -> None:
        """A feed that pushes needs nobody to ask it, and is silent once its context is left."""
        sink = Sink()
        async with need_watch(store).watch() as feed:
            need_push(feed).push_to(sink)
            version = await store.put("key", b"value")
            async with within(PROMPT, "the sink is called after a put, by itself"):
                await sink.called.wait()
            expected = {"key": Change("key", version, b"value")}
            sink.check(expected, "while nobody asked")
        await store.put("key", b"late")
        sink.check(expected, "before the feed's context was left, and nothing later")


class Sink:
    """What a feed pushes to."""

    def __init__(self) -> None:
        self.given: list[list[Change]] = []
        self.called = asyncio.Event()
        self._own, self._threads = threading.get_ident(), set[int]()

    def __call__(self, changes: list[Change]) -> None:
        """Note what is pushed, and by which thread."""
        self.given.append(changes)
        self.called.set()
        self._threads.add(threading.get_ident())

    def check(self, expected: dict[str, Change], when: str) -> dict[str, Change]:
        """All that was pushed; fail unless the newest changes of these keys are in it."""
        picture = Picture()
        for changes in self.given:
            assert changes, "the sink was called with an empty list"
            picture.apply(changes)
        pushed = {key: picture.known.get(key) for key in expected}
        assert pushed == expected, f"the sink must know what was written {when}; it knows {pushed}"
        assert "other" not in picture.known, "the sink was given a key of another prefix"
        assert self._threads <= {self._own}, "the sink was called on another thread than the loop's"
        return picture.known


def need_push(feed: Feed) -> PushingFeed:
    """The feed as one that pushes; the test is skipped if it does not."""
    if not isinstance(feed, PushingFeed):
        pytest.skip(f"{type(feed).__name__} has no push_to(): readers ask it")
    return feed


@asynccontextmanager
async def under_way(work: list[Coroutine[None, None, None]]) -> AsyncIterator[None]:
    """Do this work during the block; it is over when the block is left."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _check_readers(store: TokenStore, writers: Sequence[TokenStore]) -> None:
    """Read by each method while the writers write; fail unless each reader knows what is there."""
    watch = need_watch(store).watch
    async with AsyncExitStack() as stack:
        feeds = [await stack.enter_async_context(watch()) for _ in READERS]
        pictures = [Picture() for _ in READERS]
        reading = [
            _read(reader, feed, picture)
            for reader, feed, picture in zip(READERS.values(), feeds, pictures, strict=True)
        ]
        async with under_way(reading):
            await asyncio.gather(*(_write(writers[i % len(writers)], i) for i in range(WRITERS)))
            await store.put(END, b"")
        there = await content(store)
        for name, feed, picture in zip(READERS, feeds, pictures, strict=True):
            picture.apply(await feed.catch_up())
            picture.check(there, f"a feed read by {name} while others wrote")


async def _read(reader: Reader, feed: Feed, picture: Picture) -> None:
    """Read until the last write has come."""
    while END not in picture.known:
        picture.apply(await reader(feed))


async def _by_wait(feed: Feed) -> list[Change]:
    return await feed.wait()


async def _by_drain(feed: Feed) -> list[Change]:
    await asyncio.sleep(0.001)
    return feed.drain()


async def _by_catch_up(feed: Feed) -> list[Change]:
    await asyncio.sleep(0)
    return await feed.catch_up()


READERS: Final[dict[str, Reader]] = {
    "wait()": _by_wait,
    "drain()": _by_drain,
    "catch_up()": _by_catch_up,
}


async def _write(store: TokenStore, number: int) -> None:
    """Put, compare and set, and delete some keys that other writers change too."""
    for step in range(ROUNDS):
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


async def _check_silent(feed: Feed) -> None:
    """Fail unless a feed that pushes leaves nothing to ask for."""
    assert await feed.catch_up() == [], "catch_up() must give an empty list once the feed pushes"
    assert feed.drain() == [], "drain() must give an empty list once the feed pushes"
