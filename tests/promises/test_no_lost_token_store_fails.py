"""No rotated token is lost when the store fails at the worst moment."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from typing import TYPE_CHECKING

import pytest

from tests.own_stores import Broken, Held, OwnStore, WatchedStore
from tests.world import GARBAGE, INVALID, REFRESH, World, said, until, within
from twitchvault import AuthFailure, CorruptRecord, SQLiteStore, StoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("public")


@pytest.fixture(params=[OwnStore, WatchedStore], ids=["scanned", "watched"])
def store(request: pytest.FixtureRequest, small: World) -> OwnStore:
    """A store of a user's own, which can be watched or not, over the world's place."""
    made = request.param(small.place.store())
    assert isinstance(made, OwnStore)
    return made


async def is_home(world: World) -> bool:
    """Whether the store holds the pair that is good at Twitch."""
    return await world.stored() == world.live()


@pytest.mark.parametrize("operations", [("put",), ("get",), ("get", "put", "delete", "scan")])
async def test_between_exchange_and_write(
    small: World, store: OwnStore, operations: tuple[str, ...]
) -> None:
    """All callers get the new pair at once; `flush()` says what is wrong, until it is in."""
    app = small.app(store=store)
    await app.authorize()
    user = await small.own_pair(app)
    gate = small.twitch.hold(REFRESH, when="after")
    calls = [asyncio.create_task(user.refresh()) for _ in range(20)]
    await gate.reached()
    store.before = broken = Broken(*operations)
    gate.release()
    tokens = await within(asyncio.gather(*calls), 5)
    live = small.live()
    assert {(token.access_token, token.refresh_token) for token in tokens} == {live}
    assert app.get_token(user.user_id) == app.tokens[user.user_id] == live
    assert (await user.get_user()).id == user.user_id
    if "put" in operations:
        for _ in range(2):
            with pytest.raises(StoreUnavailable) as caught:
                await app.flush()
            assert "hunter2" not in said(caught.value)
    broken.down = False
    await app.flush()
    await small.check(exchanges=2)
    await app.close()


async def test_by_itself(small: World, store: OwnStore) -> None:
    """When the store is back, the pair gets in without anybody asking."""
    app = small.app(store=store)
    await app.authorize()
    gate, call = await small.committed(await small.own_pair(app))
    store.before = broken = Broken("put")
    gate.release()
    await call
    broken.down = False
    await until(lambda: is_home(small))
    await app.close()


@pytest.mark.parametrize("how", ["close", "clear"])
async def test_closed_or_cleared_while_the_store_is_down(
    small: World, store: OwnStore, how: str
) -> None:
    """`close()` raises while the pair is not in; `authorize()` after it or `clear()` tries on."""
    app = small.app(store=store)
    await app.authorize()
    user = await small.own_pair(app)
    gate, call = await small.committed(user)
    store.before = broken = Broken("put")
    gate.release()
    await call
    if how == "clear":
        app.clear()
    else:
        with pytest.raises(StoreError):
            await within(app.close(), 6)
    broken.down = False
    await app.authorize()
    await within(app.flush())
    assert app.get_token(user.user_id) == small.live()
    await small.check(exchanges=2)
    await app.close()


async def test_down_before_the_exchange(small: World, store: OwnStore) -> None:
    """A store that cannot be written spends no grant: the lease comes first."""
    async with small.app(store=store) as app:
        user = await small.own_pair(app)
        store.before = broken = Broken("put")
        with pytest.raises(StoreUnavailable):
            await user.refresh()
        assert small.sent() == 1
        broken.down = False
        await within(user.refresh())
    await small.check(exchanges=2)


async def test_right_after_the_write(small: World) -> None:
    """The new pair is in, and then the store fails: its callers get it all the same."""
    store = WatchedStore(small.place.store())
    async with small.app(store=store) as app:
        gate, call = await small.committed(await small.own_pair(app))
        broken = Broken("get")
        broken.down = False

        async def fail_after_the_write(operation: str, key: str) -> None:
            await broken(operation, key)
            broken.down = broken.down or operation == "put"

        store.before = fail_after_the_write
        gate.release()
        token = await call
        assert (token.access_token, token.refresh_token) == small.live()
        broken.down, store.before = False, broken
    await small.check(exchanges=2)


class Lying(WatchedStore):
    """Every other write takes place, and fails all the same."""

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write, and perhaps fail."""
        version = await super().put(key, value, expect=expect)
        if self.calls["put"] % 2:
            raise StoreUnavailable("the connection broke; it may have taken place")
        return version


async def test_written_but_told_that_it_failed(small: World) -> None:
    """A lease or a pair whose write raised is recognised as our own: nothing is sent twice."""

    async def at_last(act: Callable[[], Awaitable[object]]) -> None:
        for _ in range(9):
            try:
                await within(act(), 10)
            except StoreUnavailable:
                continue
            return
        pytest.fail("it never succeeded")

    pair = small.pair(expired=True)
    async with small.app(store=Lying(small.place.store()), lease_ttl=30) as app:
        await at_last(lambda: app.add_user(pair.access_token, pair.refresh_token))
        for _ in range(3):
            await at_last(app.get_user_by_id(pair.user_id).refresh)
        await at_last(app.flush)
    await small.check()


async def test_a_login_is_durable_or_an_error(small: World) -> None:
    """`add_user` raises while the user's own record is not in; the pair is not lost."""
    store = WatchedStore(small.place.store())
    async with small.app(store=store) as app:
        pair = small.pair(expired=True)
        gate = small.twitch.hold(REFRESH, when="after")
        login = asyncio.create_task(app.add_user(pair.access_token, pair.refresh_token))
        await gate.reached()
        store.before = broken = Broken("put")
        gate.release()
        with pytest.raises(StoreError):
            await within(login, 10)
        broken.down = False
        await within(app.add_user(pair.access_token, pair.refresh_token))
    await small.check(exchanges=1)


async def test_sqlite_locked_by_another_program(small: World, tmp_path: Path) -> None:
    """A file that somebody keeps locked: the same, and nothing waits longer than it has to."""
    path = tmp_path / "locked.db"
    store = SQLiteStore(path, busy_timeout=0.2)
    app = small.app(store=store)
    await app.authorize()
    user = await small.own_pair(app)
    gate, call = await small.committed(user)
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    gate.release()
    token = await within(call)
    assert small.live() == (token.access_token, token.refresh_token)
    assert app.get_token(user.user_id) == small.live()
    with pytest.raises(StoreUnavailable, match="locked"):
        await app.flush()
    lock.execute("ROLLBACK")
    lock.close()
    await app.close()
    async with small.app(store=store) as app:
        assert app.get_token(user.user_id) == small.live()
    await store.close()


async def test_an_outage_longer_than_a_lease(small: World) -> None:
    """The store is away for all for longer than the ttl: nobody could see the lease stand still.

    So nobody may take it over the moment the store is back: its owner lives and holds the new pair.
    """
    ttl = 1.0
    stores = [WatchedStore(small.place.store()) for _ in range(2)]
    owner, other = (small.app(store=store, lease_ttl=ttl) for store in stores)
    await owner.authorize()
    await other.authorize()
    user = await small.own_pair(owner)
    await other.sync()
    gate, call = await small.committed(user)
    broken = Broken("get", "put", "delete", "scan")
    for store in stores:
        store.before = broken
    gate.release()
    await call
    waiting = asyncio.create_task(other.get_user_by_id(user.user_id).get_user())
    await asyncio.sleep(1.6 * ttl)
    broken.down = False
    await asyncio.gather(waiting, return_exceptions=True)
    assert (await within(other.get_user_by_id(user.user_id).get_user())).id == user.user_id
    await owner.flush()
    await small.check(exchanges=2)
    await owner.close()
    await other.close()


async def test_a_slow_write_and_a_loser(small: World) -> None:
    """The owner's write takes longer than the ttl and another gives up: the late pair heals it."""
    confidential = small.confidential
    slow = WatchedStore(small.place.store())
    owner = small.app(confidential, store=slow, lease_ttl=1)
    loser = small.app(confidential, store=WatchedStore(small.place.store()), lease_ttl=1)
    await owner.authorize()
    await loser.authorize()
    pair = small.pair(confidential, expired=True)
    user = await owner.add_user(pair.access_token, pair.refresh_token)
    await loser.sync()
    stale = loser.get_user_by_id(user.user_id)
    gate, call = await small.committed(user)
    slow.before = held = Held("put")
    gate.release()
    await held.reached.wait()
    with pytest.raises(AuthFailure):
        await within(stale.get_user(), 5)
    assert user.user_id in loser.needs_login
    held.released.set()
    await asyncio.wait({call})  # it may have had an error by now: the ttl is over
    call.exception()
    await within(owner.flush())
    await loser.sync()
    for app in (owner, loser):
        assert app.get_token(user.user_id) == small.live(client=confidential)
        assert dict(app.needs_login) == {}
    assert (await within(stale.get_user())).id == user.user_id
    assert await small.stored(client=confidential) == small.live(client=confidential)
    await owner.close()
    await loser.close()


async def test_damage_under_a_rotated_pair(small: World) -> None:
    """The record is damaged while its pair is being exchanged: the new pair is not dropped."""
    app = small.app()
    await app.authorize()
    user = await small.own_pair(app)
    gate, call = await small.committed(user)
    good = await small.place.read(small.key(user.user_id))
    assert good is not None
    await small.place.write(small.key(user.user_id), GARBAGE)
    gate.release()
    token = await call
    assert (token.access_token, token.refresh_token) == small.live()
    with pytest.raises(CorruptRecord):
        await app.flush()
    # A backup is restored.
    await small.place.write(small.key(user.user_id), good)
    await within(app.flush())
    await small.check(exchanges=2)
    await app.close()


async def test_a_login_over_damage_that_holds_a_pair_up(small: World) -> None:
    """A rotated pair that cannot be written over damage does not stand in a new login's way."""
    app = small.app()
    await app.authorize()
    user = await small.own_pair(app)
    gate, call = await small.committed(user)
    await small.place.write(small.key(user.user_id), GARBAGE)
    gate.release()
    await call
    login = small.pair()
    await within(app.add_user(login.access_token, login.refresh_token), 5)
    await within(app.flush())
    await small.check(exchanges=2)
    await app.close()


async def test_a_newer_pair_wins_over_a_refusal(world: World) -> None:
    """Refused, but somebody has written a newer pair meanwhile: that one is used."""
    async with world.app() as app, world.app() as other:
        user = await world.own_pair(app)
        gate = world.twitch.hold(REFRESH)
        world.twitch.fail(REFRESH, status=400, body=INVALID)
        call = asyncio.create_task(user.refresh())
        await gate.reached()
        login = world.pair()
        await other.add_user(login.access_token, login.refresh_token)
        gate.release()
        token = await within(call)
        assert token.access_token == login.access_token
        assert dict(app.needs_login) == {}
    await world.check(exchanges=1)


async def test_scopes_that_no_json_holds(world: World) -> None:
    """A lone surrogate in Twitch's answer does not make a record that nobody can read."""
    pair = world.pair()
    answer = {
        "client_id": world.client.client_id,
        "login": "alice",
        "user_id": pair.user_id,
        "scopes": ["chat:read", "\ud800:read"],
        "expires_in": 14_000,
    }
    body = json.dumps(answer)
    assert r"\ud800" in body
    world.twitch.fail("validate", status=200, body=body, times=None)
    async with world.app() as app:
        user = await app.add_user(pair.access_token, pair.refresh_token)
        assert "chat:read" in user.scopes
        await user.refresh()
    async with world.app() as app:
        assert dict(app.damaged) == {}
        assert "chat:read" in app.users_scopes[user.user_id]
        assert app.get_token(user.user_id) == world.live()


async def test_a_record_of_the_former_schema(world: World) -> None:
    """What the version before this one has stored is read, and a process of it may still write."""
    pair = world.pair(expired=True)
    old = {
        "schema": 1,
        "access_token": pair.access_token,
        "refresh_token": pair.refresh_token,
        "scopes": ["chat:read"],
        "login": "alice",
        "last_validated": 1_790_000_000.5,
        "expires_in": 14_000.0,
    }
    await world.place.write(world.key(world.alice), json.dumps(old, separators=(",", ":")).encode())
    async with world.app() as app:
        assert app.get_token(pair.user_id) == (pair.access_token, pair.refresh_token)
        assert app.users_scopes[pair.user_id] == ("chat:read",)
        assert app.tokens_validity[pair.user_id] == (1_790_000_000.5, 14_000.0)
        user = app.get_user_by_id(pair.user_id)
        assert user.login == "alice"
        assert (await user.get_user()).login == "alice"
    await world.check(exchanges=1)


async def test_fields_of_a_later_version_are_passed_on(world: World) -> None:
    """A field that this version does not know survives a refresh and a validation."""
    async with world.app() as app:
        user = await world.own_pair(app)
    stored = await world.place.read(world.key(world.alice))
    assert stored is not None
    content = json.loads(stored) | {"of_tomorrow": {"level": 7}}
    await world.place.write(world.key(world.alice), json.dumps(content).encode())
    async with world.app() as app:
        user = app.get_user_by_id(user.user_id)
        await user.refresh()
        await user.validate()
    stored = await world.place.read(world.key(world.alice))
    assert stored is not None
    assert json.loads(stored)["of_tomorrow"] == {"level": 7}
    await world.check(exchanges=2)
