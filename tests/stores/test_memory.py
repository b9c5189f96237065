"""What `MemoryStore` promises beyond the contract of every store."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from twitchvault.errors import StoreError
from twitchvault.stores.base import Change, Entry, PushingFeed, TokenStore, Watchable
from twitchvault.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECRET = "canary-value"


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    """An open store."""
    store = MemoryStore()
    await store.open()
    yield store
    await store.close()


def test_it_is_a_watchable_store_with_pushing_feeds(store: MemoryStore) -> None:
    """The extra abilities can be asked for with isinstance."""

    async def look() -> bool:
        async with store.watch() as feed:
            return isinstance(feed, PushingFeed)

    assert isinstance(store, TokenStore)
    assert isinstance(store, Watchable)
    assert asyncio.run(look())


async def test_before_open_and_after_close_have_their_own_messages() -> None:
    """Each says what the state is and what to do."""
    store = MemoryStore()
    with pytest.raises(StoreError) as unopened:
        await store.get("a")
    await store.open()
    await store.close()
    with pytest.raises(StoreError) as closed:
        await store.put("a", b"1")
    assert str(unopened.value) == (
        "this MemoryStore is not open yet: call 'await store.open()' first"
    )
    assert (
        str(closed.value) == "this MemoryStore is closed: call 'await store.open()' to use it again"
    )


async def test_closing_before_opening_keeps_the_message() -> None:
    """A store that never was open is not called closed."""
    store = MemoryStore()
    await store.close()
    with pytest.raises(StoreError, match="not open yet"):
        await store.get("a")


def test_one_store_serves_successive_loops() -> None:
    """Entries, versions and an unclosed store outlive the event loop."""
    store = MemoryStore()

    async def first() -> int:
        await store.open()
        return await store.put("a", b"1")

    async def second() -> Entry | None:
        async with store.watch() as feed:
            waiting = asyncio.create_task(feed.wait())
            await asyncio.sleep(0)
            await store.put("a", b"2", expect=version)
            assert await waiting == [Change("a", version + 1, b"2")]
        return await store.get("a")

    version = asyncio.run(first())
    assert asyncio.run(second()) == Entry("a", version + 1, b"2")


def test_a_reader_whose_loop_is_gone_does_not_stop_a_write() -> None:
    """A feed left waiting in a closed loop is passed over."""
    store = MemoryStore()
    loop = asyncio.new_event_loop()
    watching = store.watch()

    async def wait_forever() -> None:
        await store.open()
        feed = await watching.__aenter__()
        waiters.append(asyncio.ensure_future(feed.wait()))
        await asyncio.sleep(0)

    waiters: list[asyncio.Future[list[Change]]] = []
    loop.run_until_complete(wait_forever())
    loop.close()
    assert asyncio.run(store.put("a", b"1")) == 1


async def test_a_sink_is_called_inside_the_write(store: MemoryStore) -> None:
    """When `put` and `delete` return, the sink knows; the feed itself stays silent."""
    seen: list[Change] = []
    async with store.watch("a") as feed:
        assert isinstance(feed, PushingFeed)
        await store.put("a", b"0")
        feed.push_to(seen.extend)
        assert seen == [Change("a", 1, b"0")], "what waited is handed over at once"
        for step in (store.put("a", b"1"), store.put("b", b"1"), store.delete("a")):
            with pytest.raises(StopIteration):
                step.send(None)  # not one turn of the loop goes by
        assert seen[1:] == [Change("a", 2, b"1"), Change("a", 4, None)]
        assert feed.drain() == []
        assert await feed.catch_up() == []


async def test_a_failing_sink_stops_nothing(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The write stands, other feeds hear of it, and the log names the place but no value."""

    def fail(changes: list[Change]) -> None:
        raise ValueError(changes[0].value)

    seen: list[Change] = []
    async with store.watch() as bad, store.watch() as good:
        assert isinstance(bad, PushingFeed)
        assert isinstance(good, PushingFeed)
        bad.push_to(fail)
        good.push_to(seen.extend)
        with caplog.at_level(logging.DEBUG):
            assert await store.put("a", SECRET.encode()) == 1
    assert await store.get("a") == Entry("a", 1, SECRET.encode())
    assert seen == [Change("a", 1, SECRET.encode())]
    assert "a feed's reader failed: ValueError at " in caplog.text
    assert __file__ in caplog.text
    assert SECRET not in caplog.text


async def test_feeds_are_dropped_when_their_context_ends(store: MemoryStore) -> None:
    """No sink is called afterwards, nothing is kept for it, and its methods say so."""
    seen: list[Change] = []
    async with store.watch() as feed:
        assert isinstance(feed, PushingFeed)
        feed.push_to(seen.extend)
    await store.put("a", b"1")
    assert seen == []
    with pytest.raises(StoreError) as ended:
        feed.drain()
    assert str(ended.value) == "this feed has ended with its context: enter 'store.watch()' again"
    with pytest.raises(StoreError, match="has ended"):
        await feed.wait()


async def test_a_sink_may_leave_while_it_is_told(store: MemoryStore) -> None:
    """A context that ends inside a write disturbs neither the write nor other feeds."""
    watching = store.watch()
    feed = await watching.__aenter__()
    assert isinstance(feed, PushingFeed)

    def leave(_: list[Change]) -> None:
        with pytest.raises(StopIteration):
            watching.__aexit__(None, None, None).send(None)

    feed.push_to(leave)
    async with store.watch() as other:
        await store.put("a", b"1")
        assert other.drain() == [Change("a", 1, b"1")]


async def test_only_the_last_change_of_a_key_is_kept(store: MemoryStore) -> None:
    """A feed nobody reads grows with the number of keys, not of writes; order is by version."""
    async with store.watch() as feed:
        for number in range(100):
            await store.put("a", b"%d" % number)
            await store.put("b", b"%d" % number)
        await store.put("a", b"last")
        assert feed.drain() == [Change("b", 200, b"99"), Change("a", 201, b"last")]


async def test_closing_ends_a_wait(store: MemoryStore) -> None:
    """Who waits for a change of a closed store is told, and does not hang."""
    async with store.watch() as feed:
        waiting = asyncio.create_task(feed.wait())
        await asyncio.sleep(0)
        await store.close()
        with pytest.raises(StoreError, match="is closed"):
            await waiting
        await store.open()
        await store.put("a", b"1")
        assert feed.drain() == [Change("a", 1, b"1")], "an open feed outlives close and open"


def test_repr_shows_no_value() -> None:
    """Only how much there is."""
    store = MemoryStore()

    async def fill() -> None:
        await store.open()
        await store.put("a", SECRET.encode())

    asyncio.run(fill())
    assert repr(store) == "<MemoryStore: 1 entries>"
