"""A store that comes back without its newest data: what a process still holds is not lost."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, cast

import pytest

from twitchvault import MemoryStore, TwitchVaultError
from twitchvault.stores.base import Change, PushingFeed, Watchable

from .world import OwnStore, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from twitchvault import App
    from twitchvault.stores.base import Entry, Feed
    from twitchvault.testing.fake import Pair

    from .world import World

TOKEN = "token:refresh_token"


class LossyStore(OwnStore, Watchable):
    """A store that forgets when it is told to, and tells so when it is told to, as Redis does."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.listeners: list[Callable[[], None]] = []

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[Feed]:
        """The inner store's feed, which can tell of a loss."""
        assert isinstance(self.inner, MemoryStore)
        async with self.inner.watch(prefix) as feed:
            yield LossyFeed(self, feed)

    async def held(self, key: str) -> Entry | None:
        """What stands under a key now, to be brought back later."""
        return await self.inner.get(key)

    def go_back(self, key: str, entry: Entry | None) -> None:
        """The entry is as it was; nobody is told."""
        entries = cast("MemoryStore", self.inner)._entries
        entries.pop(key, None)
        if entry is not None:
            entries[key] = entry

    def tell(self) -> None:
        """All feeds learn that something was lost."""
        for listener in self.listeners:
            listener()


class LossyFeed:
    """A pushing feed that can tell of a loss."""

    def __init__(self, store: LossyStore, inner: PushingFeed) -> None:
        self._store = store
        self._inner = inner
        self.wait = inner.wait
        self.drain = inner.drain
        self.catch_up = inner.catch_up

    def push_to(self, sink: Callable[[list[Change]], None]) -> None:
        """As the inner feed."""
        self._inner.push_to(sink)

    def on_loss(self, listener: Callable[[], None]) -> None:
        """Note who wants to know."""
        self._store.listeners.append(listener)


async def twice_renewed(world: World, app: App) -> Pair:
    """A pair that the vault has got by itself."""
    pair = world.issue()
    user = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    await user.refresh()
    await user.refresh()
    return pair


@pytest.mark.parametrize("lost", ["all", "the newest"])
async def test_what_was_lost_is_written_back(world: World, memory: MemoryStore, lost: str) -> None:
    """Who still holds the newest pair brings it back; the others do no harm to it."""
    store = LossyStore(memory)
    async with world.app(store) as app, world.app(store) as other:
        pair = await twice_renewed(world, app)
        key = world.key(pair.user_id)
        before = await store.held(key)
        await other.get_user_by_id(pair.user_id).refresh()
        store.go_back(key, None if lost == "all" else before)
        store.tell()
        await until(lambda: _home(world, memory, pair.user_id))
        for each in (app, other):
            assert each.tokens[pair.user_id] == world.live(pair.user_id)
            await each.get_user_by_id(pair.user_id).refresh()
    assert await world.stored(memory, pair.user_id) == world.live(pair.user_id)
    assert world.twitch.counts.replays == 0


async def _home(world: World, memory: MemoryStore, user_id: str) -> bool:
    return await world.stored(memory, user_id) == world.live(user_id)


@pytest.mark.parametrize("lost", ["all", "the newest", "the lease"])
@pytest.mark.parametrize("told", ["before", "after"])
async def test_lost_during_an_exchange(
    world: World, memory: MemoryStore, lost: str, told: str
) -> None:
    """The record is lost while its pair is being exchanged: the new pair gets in all the same."""
    store = LossyStore(memory)
    async with world.app(store) as app:
        pair = world.issue()
        key = world.key(pair.user_id)
        user = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await user.refresh()
        older = await store.held(key)
        await user.refresh()
        unleased = await store.held(key)
        gate, call = await world.committed(user)
        store.go_back(key, {"all": None, "the newest": older, "the lease": unleased}[lost])
        if told == "before":
            store.tell()
            await asyncio.sleep(0.01)
        gate.release()
        with suppress(TwitchVaultError):
            await call
        store.tell()
        await until(lambda: _home(world, memory, pair.user_id))
        assert app.tokens[pair.user_id] == world.live(pair.user_id)
        await user.refresh()
    assert await world.stored(memory, pair.user_id) == world.live(pair.user_id)
    assert world.twitch.counts.replays == 0


async def test_a_spent_seed_is_still_known(world: World, memory: MemoryStore) -> None:
    """What is remembered of a user who was removed comes back as well."""
    store = LossyStore(memory)
    async with world.app(store) as app:
        pair = world.issue_expired()
        await app.add_user(pair.access_token, pair.refresh_token)
        app.remove_token(pair.user_id)
        await app.flush()
        store.go_back(world.key(pair.user_id), None)
        store.tell()
        await asyncio.sleep(0.02)
    async with world.app(memory) as app:
        with suppress(TwitchVaultError):
            await app.add_user(pair.access_token, pair.refresh_token)
    assert world.twitch.counts.replays == 0


async def test_a_removal_is_no_loss(world: World, memory: MemoryStore) -> None:
    """Who was removed before does not come back with what is written back."""
    store = LossyStore(memory)
    async with world.app(store) as app, world.app(store) as other:
        stays, goes = await twice_renewed(world, app), world.issue()
        await app.add_user(goes.access_token, goes.refresh_token)
        other.remove_token(goes.user_id)
        await other.flush()
        store.go_back(world.key(stays.user_id), None)
        store.tell()
        await until(lambda: _home(world, memory, stays.user_id))
        for each in (app, other):
            assert set(each.tokens) == {stays.user_id}
    assert await world.stored(memory, goes.user_id) is None
