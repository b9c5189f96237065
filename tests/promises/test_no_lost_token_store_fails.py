"""No rotated token is lost when the store fails at the worst moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.environment import GARBAGE, REFRESH, Environment, text_of, until, within
from tests.own_stores import Broken, OwnStore, WatchedStore
from twitchvault import CorruptRecord, StoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@pytest.fixture(params=[OwnStore, WatchedStore], ids=["scanned", "watched"])
def store(request: pytest.FixtureRequest, env: Environment) -> OwnStore:
    """A store of a user's own, which can be watched or not, over the shared storage."""
    made = request.param(env.storage.store())
    assert isinstance(made, OwnStore)
    return made


async def retry(act: Callable[[], Awaitable[object]]) -> None:
    """Call until the store does not fail."""
    for _ in range(9):
        try:
            await within(act())
        except StoreUnavailable:
            continue
        return
    pytest.fail("it never succeeded")


# Before the exchange, and between exchange and write


async def test_down_before_the_exchange(env: Environment, store: OwnStore) -> None:
    """A store that cannot be written spends no grant: the lease comes first."""
    async with env.app(store=store) as app:
        user = await env.own_pair(app)
        store.before = broken = Broken("put")
        with pytest.raises(StoreUnavailable):
            await user.refresh()
        assert env.refreshes_sent() == 1
        broken.down = False
        await within(user.refresh())
    await env.expect(exchanges=2)


@pytest.mark.parametrize("operations", [("put",), ("get",), ("get", "put", "delete", "scan")])
async def test_between_exchange_and_write(
    env: Environment, store: OwnStore, operations: tuple[str, ...]
) -> None:
    """All callers get the new pair at once; `flush()` says what is wrong, until it is in.

    When the store is back, the pair gets in without anybody asking.
    """
    app = env.app(store=store)
    await app.authorize()
    user = await env.own_pair(app)
    gate = env.twitch.hold(REFRESH, when="after")
    calls = [asyncio.create_task(user.refresh()) for _ in range(20)]
    await gate.reached()
    store.before = broken = Broken(*operations)
    gate.release()
    tokens = await within(asyncio.gather(*calls))
    live = env.live()
    assert {(token.access_token, token.refresh_token) for token in tokens} == {live}
    assert app.get_token(user.user_id) == app.tokens[user.user_id] == live
    assert (await user.get_user()).id == user.user_id
    if "put" in operations:
        for _ in range(2):
            with pytest.raises(StoreUnavailable) as caught:
                await app.flush()
            assert "hunter2" not in text_of(caught.value)
    broken.down = False
    await until(env.is_stored)
    await env.expect(exchanges=2)
    await app.close()


@pytest.mark.parametrize("how", ["close", "clear"])
async def test_closed_or_cleared_while_the_store_is_down(
    env: Environment, store: OwnStore, how: str
) -> None:
    """`close()` raises while the pair is not in; `authorize()` after it or `clear()` tries on."""
    app = env.app(store=store)
    await app.authorize()
    user = await env.own_pair(app)
    gate, call = await env.hold_answer(user)
    store.before = broken = Broken("put")
    gate.release()
    await call
    if how == "clear":
        app.clear()
    else:
        with pytest.raises(StoreError):
            await within(app.close())
    broken.down = False
    await app.authorize()
    await within(app.flush())
    assert app.get_token(user.user_id) == env.live()
    await env.expect(exchanges=2)
    await app.close()


async def test_writes_that_take_place_and_fail(env: Environment) -> None:
    """A lease or a pair whose write raised is recognised as our own: nothing is sent twice."""
    store = WatchedStore(env.storage.store())

    async def break_the_connection(operation: str, _key: str) -> None:
        if operation == "put" and store.calls["put"] % 2:
            raise StoreUnavailable("the connection broke; it may have taken place")

    store.after = break_the_connection
    pair = env.pair(expired=True)
    async with env.app(store=store, lease_ttl=30) as app:
        await retry(lambda: app.add_user(pair.access_token, pair.refresh_token))
        for _ in range(3):
            await retry(app.get_user_by_id(pair.user_id).refresh)
        await retry(app.flush)
    await env.expect()


async def test_a_login_is_durable_or_an_error(env: Environment) -> None:
    """`add_user` raises while the user's own record is not in; the pair is not lost."""
    store = WatchedStore(env.storage.store())
    async with env.app(store=store) as app:
        pair = env.pair(expired=True)
        gate = env.twitch.hold(REFRESH, when="after")
        login = asyncio.create_task(app.add_user(pair.access_token, pair.refresh_token))
        await gate.reached()
        store.before = broken = Broken("put")
        gate.release()
        with pytest.raises(StoreError):
            await within(login)
        broken.down = False
        await within(app.add_user(pair.access_token, pair.refresh_token))
    await env.expect(exchanges=1)


# For longer than the ttl


async def test_an_outage_longer_than_a_lease(env: Environment) -> None:
    """The store is away for all for longer than the ttl: nobody could see the lease stand still.

    So nobody may take it over the moment the store is back: its owner lives and holds the new pair.
    """
    ttl = 1.0
    stores = [WatchedStore(env.storage.store()) for _ in range(2)]
    owner, other = (env.app(store=store, lease_ttl=ttl) for store in stores)
    await owner.authorize()
    await other.authorize()
    user = await env.own_pair(owner)
    await other.sync()
    gate, call = await env.hold_answer(user)
    broken = Broken("get", "put", "delete", "scan")
    for store in stores:
        store.before = broken
    gate.release()
    await call
    waiting = asyncio.create_task(other.get_user_by_id(user.user_id).get_user())
    await asyncio.sleep(1.6 * ttl)  # the outage itself
    broken.down = False
    await asyncio.gather(waiting, return_exceptions=True)
    assert (await within(other.get_user_by_id(user.user_id).get_user())).id == user.user_id
    await owner.flush()
    await env.expect(exchanges=2)


# Damage


@pytest.mark.parametrize("how", ["a backup is restored", "the user signs in"])
async def test_damage_under_a_rotated_pair(env: Environment, how: str) -> None:
    """The record is damaged while its pair is being exchanged: the new pair is kept and reported.

    It does not stand in a new login's way.
    """
    async with env.app() as app:
        user = await env.own_pair(app)
        gate, call = await env.hold_answer(user)
        good = await env.storage.read(env.key(user.user_id))
        assert good is not None
        await env.storage.write(env.key(user.user_id), GARBAGE)
        gate.release()
        token = await call
        assert (token.access_token, token.refresh_token) == env.live()
        with pytest.raises(CorruptRecord):
            await app.flush()
        if how == "a backup is restored":
            await env.storage.write(env.key(user.user_id), good)
        else:
            await within(env.login(app))
        await within(app.flush())
    await env.expect(exchanges=2)
