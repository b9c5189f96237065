"""The views: coherent, whatever fails around them."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from twitchvault import StoreError, StoreUnavailable
from twitchvault.stores.base import Change, Entry, Feed, TokenStore, Watchable
from twitchvault.vault import pump

from .world import Broken, OwnStore, WatchedStore, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twitchvault import MemoryStore

    from .world import World


async def test_at_the_next_read(world: World, store: TokenStore) -> None:
    """What another flow has committed shows at the next read, without an await between."""
    async with world.app(store) as app, world.app(store) as other:
        for _ in range(10):
            pair = world.issue()
            other.add_token(pair.user_id, pair.access_token, pair.refresh_token)
            await other.flush()
            assert app.tokens[pair.user_id] == (pair.access_token, pair.refresh_token)
            assert app.get_token(pair.user_id) == other.get_token(pair.user_id)
            token = await other.get_user_by_id(pair.user_id).refresh()
            assert app.get_user_by_id(pair.user_id).token == token.access_token
            other.remove_token(pair.user_id)
            await other.flush()
            assert pair.user_id not in app.tokens
            assert app.get_token(pair.user_id) is None


async def test_own_changes_show_at_once(world: World, store: TokenStore) -> None:
    """Before they are written, and also before `authorize()`."""
    app = world.app(store)
    pair = world.issue()
    app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    assert app.tokens[pair.user_id] == (pair.access_token, pair.refresh_token)
    await app.authorize()
    assert app.tokens[pair.user_id] == (pair.access_token, pair.refresh_token)
    app.remove_token(pair.user_id)
    assert pair.user_id not in app.tokens
    await app.flush()
    await app.close()
    assert await store.get(world.key(pair.user_id)) is None


async def test_a_change_that_waits_does_not_hide_others(world: World, memory: MemoryStore) -> None:
    """A validation that cannot be written does not keep an old pair in the view."""
    store = WatchedStore(memory)
    async with world.app(store) as app, world.app(memory) as other:
        pair = world.issue()
        await other.add_user(pair.access_token, pair.refresh_token)
        await app.sync()
        store.before = broken = Broken("put")
        await app.validate_token(pair.access_token)
        await other.get_user_by_id(pair.user_id).refresh()
        await app.sync()
        assert app.tokens[pair.user_id] == world.live(pair.user_id)
        assert (await app.get_user_by_id(pair.user_id).get_user()).id == pair.user_id
        broken.down = False
        await app.flush()
        assert app.tokens[pair.user_id] == world.live(pair.user_id)
    assert await world.stored(memory, pair.user_id) == world.live(pair.user_id)


class ForgetfulStore(OwnStore):
    """A store whose scan leaves out what is written while it runs, as the contract allows."""

    def __init__(self, inner: TokenStore) -> None:
        super().__init__(inner)
        self.scanning: asyncio.Event | None = None
        self.go_on = asyncio.Event()

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """The entries that stand unchanged from beginning to end."""
        before = [entry async for entry in self.inner.scan(prefix)]
        if self.scanning is not None:
            self.scanning.set()
            await self.go_on.wait()
        for entry in before:
            if await self.inner.get(entry.key) == entry:
                yield entry


async def test_a_write_during_a_scan_is_no_removal(world: World, memory: MemoryStore) -> None:
    """Who is refreshed elsewhere while the store is scanned stays in the views, without events."""
    store = ForgetfulStore(memory)
    async with world.app(store) as app, world.app(memory) as other:
        pair = world.issue()
        await other.add_user(pair.access_token, pair.refresh_token)
        await app.sync()
        events = app.events()
        store.scanning = asyncio.Event()
        syncing = asyncio.create_task(app.sync())
        await store.scanning.wait()
        store.scanning = None
        await other.get_user_by_id(pair.user_id).refresh()
        store.go_on.set()
        await syncing
        assert pair.user_id in app.tokens
        assert (await app.get_user_by_id(pair.user_id).get_user()).id == pair.user_id
        await app.sync()
        assert app.tokens[pair.user_id] == world.live(pair.user_id)
    kinds = [event.kind async for event in events]
    assert "removed" not in kinds


class BreakingStore(OwnStore, Watchable):
    """A store whose feed breaks when it is told to."""

    def __init__(self, inner: TokenStore, error: Exception) -> None:
        super().__init__(inner)
        self.error = error
        self.feeds = 0
        self.breaks = asyncio.Event()
        self.drains_badly = False

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[Feed]:
        """A feed of the inner store, until it breaks."""
        assert isinstance(self.inner, Watchable)
        async with self.inner.watch(prefix) as feed:
            self.feeds += 1
            yield BreakingFeed(self, feed)


class BreakingFeed:
    """A feed that is asked for its changes, and breaks."""

    def __init__(self, store: BreakingStore, inner: Feed) -> None:
        self._store = store
        self._inner = inner

    async def wait(self) -> list[Change]:
        """Changes, until it breaks."""
        while not self._store.breaks.is_set():
            if changes := self._inner.drain():
                return changes
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await self._store.breaks.wait()
        self._store.breaks.clear()
        raise self._store.error

    def drain(self) -> list[Change]:
        """What is there, or the error."""
        if self._store.drains_badly:
            raise self._store.error
        return self._inner.drain()

    async def catch_up(self) -> list[Change]:
        """What is there."""
        return self._inner.drain()


@pytest.mark.parametrize("error", [StoreUnavailable("gone"), OSError("gone")])
async def test_a_feed_that_breaks(
    world: World, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """It is entered again, and what happened in between is seen; the tenth time as fast as ever."""
    monkeypatch.setattr(pump, "FIRST_PAUSE", 0.01)
    store = BreakingStore(memory, error)
    async with world.app(store) as app:
        for number in range(10):
            store.breaks.set()
            await until(lambda: not store.breaks.is_set())
            pair = world.issue()
            async with world.app(memory) as other:
                await other.add_user(pair.access_token, pair.refresh_token)
            feeds = number + 2
            await until(lambda feeds=feeds: store.feeds == feeds, 1)  # type: ignore[misc]
            await until(lambda user_id=pair.user_id: user_id in app.tokens)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("error", "warnings"), [(StoreUnavailable("gone"), 0), (OSError("gone"), 1)]
)
async def test_a_view_read_does_not_fail(
    world: World,
    memory: MemoryStore,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    warnings: int,
) -> None:
    """A feed that cannot be read just now is no error of a view; it shows what is known.

    What no feed may raise is told, once, by its kind alone.
    """
    store = BreakingStore(memory, error)
    async with world.app(store) as app:
        pair = world.issue()
        await app.add_user(pair.access_token, pair.refresh_token)
        store.drains_badly = True
        assert app.tokens[pair.user_id] == (pair.access_token, pair.refresh_token)
        assert app.get_token(pair.user_id) == (pair.access_token, pair.refresh_token)
        assert len(app.tokens_validity) == len(app.users_scopes) == 1
        store.drains_badly = False
    assert caplog.text.count("drain() failed with OSError: reads may lag behind") == warnings
    assert "gone" not in caplog.text


async def test_iterating_while_it_changes(world: World, store: TokenStore) -> None:
    """A loop over a view, with changes of others in between."""
    pairs = [world.issue() for _ in range(6)]
    async with world.app(store) as app, world.app(store) as other:
        for pair in pairs[:3]:
            app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await app.flush()
        seen = []
        for user_id in app.tokens:
            seen.append(user_id)
            other.remove_token(user_id)
            extra = pairs[2 + len(seen)]
            other.add_token(extra.user_id, extra.access_token, extra.refresh_token)
            await other.flush()
            assert user_id not in app.tokens
        assert sorted(seen) == sorted(pair.user_id for pair in pairs[:3])
        assert set(app.tokens) == {pair.user_id for pair in pairs[3:]}


async def test_read_from_another_thread(world: World, store: TokenStore) -> None:
    """A thread may read a view while the loop changes it."""
    async with world.app(store) as app:
        failures: list[BaseException] = []
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                try:
                    for user_id in app.tokens:
                        app.tokens.get(user_id)
                    dict(app.tokens_validity), len(app.users_scopes)
                except BaseException as error:  # reported below
                    failures.append(error)
                    return

        thread = threading.Thread(target=read)
        thread.start()
        for _ in range(30):
            pair = world.issue()
            app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
            await app.flush()
        stop.set()
        await asyncio.to_thread(thread.join)
        assert failures == []


async def test_a_store_that_fails_to_open(world: World, memory: MemoryStore) -> None:
    """What a store of a user's own raises in `open` is a StoreError as well."""

    class Closed(WatchedStore):
        async def open(self) -> None:
            raise OSError("canary-5ecret")

    app = world.app(Closed(memory))
    with pytest.raises(StoreError) as caught:
        await app.authorize()
    assert "canary" not in str(caught.value)
    await app.close()
