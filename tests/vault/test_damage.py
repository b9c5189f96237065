"""Records that cannot be read: named, left out, replaceable, and no harm to anybody else."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from twitchvault import CorruptRecord, StoreError, TwitchVaultError
from twitchvault.vault.record import Record, encode

from .world import WatchedStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from twitchvault import App, MemoryStore
    from twitchvault.stores.base import Entry, TokenStore
    from twitchvault.testing.fake import Pair

    from .world import World

TOKEN = "token:refresh_token"
NEWER = b'{"schema":2,"tokens":["canary-5ecret"]}'
DAMAGED = [b"", b"canary-5ecret", b'{"schema":1,"access_token":"canary-5ecret"', NEWER]


async def vaulted(world: World, app: App) -> Pair:
    """A live pair that the store holds."""
    pair = world.issue()
    app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    await app.flush()
    return pair


@pytest.mark.parametrize("value", DAMAGED)
async def test_a_damaged_user(world: World, store: TokenStore, value: bytes) -> None:
    """It is in `damaged` and nowhere else, its calls raise, and the others work."""
    await store.put(world.key("7"), value)
    async with world.app(store) as app:
        good = await vaulted(world, app)
        assert set(app.damaged) == {"7"}
        assert set(app.tokens) == {good.user_id}
        for use in (app.get_token, app.get_user_by_id):
            with pytest.raises(CorruptRecord, match="'7'") as caught:
                use("7")
            assert "canary" not in str(caught.value)
        assert (await app.get_user_by_id(good.user_id).get_user()).id == good.user_id
        await app.get_user_by_id(good.user_id).refresh()
    assert await world.stored(store, good.user_id) == world.live(good.user_id)


async def test_a_newer_schema_says_so(world: World, memory: MemoryStore) -> None:
    """The message names the schema and the remedy."""
    await memory.put(world.key("7"), NEWER)
    async with world.app(memory) as app:
        with pytest.raises(CorruptRecord, match=r"newer twitchvault \(schema 2.*upgrade"):
            app.get_token("7")


@pytest.mark.parametrize("value", DAMAGED)
async def test_a_new_login_replaces_it(world: World, store: TokenStore, value: bytes) -> None:
    """A login over a damaged record stands, here and in another flow."""
    pair = world.issue()
    await store.put(world.key(pair.user_id), value)
    async with world.app(store) as app, world.app(store) as other:
        await app.add_user(pair.access_token, pair.refresh_token)
        await other.sync()
        for each in (app, other):
            assert dict(each.damaged) == {}
            assert each.get_token(pair.user_id) == (pair.access_token, pair.refresh_token)
        await other.get_user_by_id(pair.user_id).refresh()
    assert await world.stored(store, pair.user_id) == world.live(pair.user_id)
    assert world.twitch.counts.replays == 0


@pytest.mark.parametrize("value", DAMAGED)
async def test_a_removal_removes_it(world: World, memory: MemoryStore, value: bytes) -> None:
    """A damaged record can be removed."""
    await memory.put(world.key("7"), value)
    async with world.app(memory) as app:
        app.remove_token("7")
        await app.flush()
        assert dict(app.damaged) == {}
        assert app.get_token("7") is None
    assert await memory.get(world.key("7")) is None


@pytest.mark.parametrize("kind", ["public", "confidential"])
async def test_a_damaged_app_token(
    worlds: Callable[..., World], memory: MemoryStore, kind: str
) -> None:
    """A damaged record of the app token does not keep the flow from opening: it is fetched anew."""
    world = worlds(public=kind == "public")
    await memory.put(world.key(world.client.client_id), b"garbage")
    async with world.app(memory) as app:
        pair = await vaulted(world, app)
        assert (await app.get_user_by_id(pair.user_id).get_user()).id == pair.user_id
        if app.application is not None:
            assert (await app.application.get_user(user_id=pair.user_id)).id == pair.user_id


async def test_a_login_while_another_change_is_stuck(world: World, memory: MemoryStore) -> None:
    """A rotated pair that cannot be written over damage must not stand in a new login's way."""
    app = world.app(memory)
    await app.authorize()
    pair = await vaulted(world, app)
    user = app.get_user_by_id(pair.user_id)
    await user.refresh()
    gate, call = await world.committed(user)
    await memory.put(world.key(pair.user_id), b"garbage")
    gate.release()
    with suppress(TwitchVaultError):
        await call
    login = world.twitch.issue(world.client, pair.user_id)
    async with asyncio.timeout(5):
        await app.add_user(login.access_token, login.refresh_token)
        await app.flush()
    assert await world.stored(memory, pair.user_id) == (login.access_token, login.refresh_token)
    await app.close()


async def test_damage_under_a_rotated_pair(world: World, memory: MemoryStore) -> None:
    """The record is damaged while its pair is being exchanged: the new pair is not dropped."""
    app = world.app(memory)
    await app.authorize()
    pair = await vaulted(world, app)
    user = app.get_user_by_id(pair.user_id)
    await user.refresh()
    gate, call = await world.committed(user)
    good = await memory.get(world.key(pair.user_id))
    assert good is not None
    await memory.put(world.key(pair.user_id), b"garbage")
    gate.release()
    token = await call
    assert (token.access_token, token.refresh_token) == world.live(pair.user_id)
    with pytest.raises(CorruptRecord):
        await app.flush()
    # The backup is restored.
    await memory.put(world.key(pair.user_id), good.value)
    await app.flush()
    assert await world.stored(memory, pair.user_id) == world.live(pair.user_id)
    await app.close()


class FlawedStore(WatchedStore):
    """A store whose `get` cannot read one key for a while, as on a bad sector."""

    bad: str | None = None

    async def get(self, key: str) -> Entry | None:
        """As the inner store, or `CorruptRecord`."""
        if key == self.bad:
            msg = f"{key!r} cannot be read just now"
            raise CorruptRecord(msg)
        return await super().get(key)


async def test_damage_that_passes(world: World, memory: MemoryStore) -> None:
    """What can be read again is in the views again."""
    store = FlawedStore(memory)
    async with world.app(store) as app:
        pair = await vaulted(world, app)
        user = app.get_user_by_id(pair.user_id)
        store.bad = world.key(pair.user_id)
        with pytest.raises(StoreError):
            await user.refresh()
        assert set(app.damaged) == {pair.user_id}
        store.bad = None
        await app.sync()
        with suppress(StoreError):
            await app.validate_token(pair.access_token)
        assert dict(app.damaged) == {}
        assert (await user.get_user()).id == pair.user_id
        await user.refresh()
    assert await world.stored(memory, pair.user_id) == world.live(pair.user_id)


class StaleStore(WatchedStore):
    """A store whose next `get` of a key brings what it read before a pause."""

    def __init__(self, inner: TokenStore) -> None:
        super().__init__(inner)
        self.stall: asyncio.Event | None = None
        self.read = asyncio.Event()

    async def get(self, key: str) -> Entry | None:
        """Read, wait, and return what was read."""
        entry = await self.inner.get(key)
        if self.stall is not None:
            stall, self.stall = self.stall, None
            self.read.set()
            await stall.wait()
        return entry


async def test_old_damage_does_not_hide_a_newer_record(world: World, memory: MemoryStore) -> None:
    """Damage that was read before a good record was written counts as old news."""
    store = StaleStore(memory)
    async with world.app(store) as app:
        pair = await vaulted(world, app)
        good = await memory.get(world.key(pair.user_id))
        assert good is not None
        store.stall = stall = asyncio.Event()
        await memory.put(world.key(pair.user_id), b"garbage")
        app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await store.read.wait()
        await memory.put(world.key(pair.user_id), good.value)
        stall.set()
        with suppress(StoreError):
            await app.flush()
        assert dict(app.damaged) == {}
        assert app.get_token(pair.user_id) == (pair.access_token, pair.refresh_token)


LONE = "token-\ud800"
BAD_TOKENS: list[tuple[Any, Any]] = [(LONE, "r"), ("a", LONE), (LONE, LONE), ("a\x00b", "r\x00")]


@pytest.mark.parametrize("tokens", BAD_TOKENS)
@pytest.mark.parametrize("known", [False, True])
async def test_tokens_that_no_store_can_hold(
    world: World, store: TokenStore, tokens: tuple[Any, Any], known: bool
) -> None:
    """A token with a lone surrogate is a ValueError at once; nothing is stuck or hidden."""
    async with world.app(store) as app, asyncio.timeout(4):
        pair = world.issue()
        if known:
            await app.add_user(pair.access_token, pair.refresh_token)
            await app.get_user_by_id(pair.user_id).refresh()
        with suppress(ValueError):
            app.add_token(pair.user_id, *tokens)
        with suppress(TwitchVaultError, ValueError):
            await app.flush()
        if not known:
            await app.add_user(pair.access_token, pair.refresh_token)
        live = world.live(pair.user_id)
        app.add_token(pair.user_id, *live)
        await app.flush()
        assert app.get_token(pair.user_id) == live
        assert dict(app.damaged) == {}
    assert await world.stored(store, pair.user_id) == live


@pytest.mark.parametrize("tokens", [(LONE, "r"), ("a", LONE)])
async def test_a_login_with_such_tokens(
    world: World, memory: MemoryStore, tokens: tuple[Any, Any]
) -> None:
    """`add_user` and `refresh_token` of such a token: a documented error that holds no token."""
    async with world.app(memory) as app:
        calls = (
            lambda: app.add_user(*tokens),
            lambda: app.refresh_token(LONE),
            lambda: app.validate_token(LONE),
        )
        for call in calls:
            with pytest.raises((TwitchVaultError, ValueError)) as caught:
                await call()
            assert not isinstance(caught.value, UnicodeError), "it carries the token it is about"


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "-5", '"inf"', "[1]", "true"]
)
@pytest.mark.parametrize("name", ["expires_in", "last_validated"])
async def test_numbers_that_are_none(
    world: World, memory: MemoryStore, name: str, number: str
) -> None:
    """A stored number that is none is damage or does no harm, never a ValueError later."""
    pair = world.issue()
    head = encode(Record(pair.access_token, pair.refresh_token))[:-1]
    await memory.put(world.key(pair.user_id), head + f',"{name}":{number}}}'.encode())
    async with world.app(memory, maintain=True) as app:
        try:
            user = app.get_user_by_id(pair.user_id)
        except CorruptRecord:
            return
        assert (await user.get_user()).id == pair.user_id
        token = await app.refresh_token(pair.refresh_token)
        assert (token.access_token, token.refresh_token) == world.live(pair.user_id)
        assert json.dumps(dict(app.tokens_validity), allow_nan=False)
