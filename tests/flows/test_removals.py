"""Users who are removed, or sign in, while or right after something else is done with them."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.environment import GARBAGE, REFRESH, on_each_store, until
from tests.own_stores import Held, OwnStore, WatchedStore, nothing
from twitchvault import CorruptRecord, HTTPException, StoreUnavailable

if TYPE_CHECKING:
    from tests.environment import Environment
    from twitchvault import App


async def _remove_after_failure(env: Environment, remover: App, other: App) -> tuple[str, str]:
    """`other` has seen the lease of a refresh; it fails, and the user is removed at once."""
    pair = env.pair()
    await remover.add_user(pair.access_token, pair.refresh_token)
    user = remover.get_user_by_id(env.alice.user_id)
    env.twitch.fail(REFRESH, status=403)
    with env.twitch.hold(REFRESH) as gate:
        call = asyncio.create_task(user.refresh())
        await gate.reached()
        await other.sync()
    with pytest.raises(HTTPException):
        await call
    remover.remove_token(env.alice.user_id)
    await remover.flush()
    await other.sync()
    return pair.access_token, pair.refresh_token


async def test_a_removed_user_stays_removed(env: Environment) -> None:
    """A process that scans its store does not take the removal for a loss of the store."""
    inner = env.storage.store()
    async with env.app(store=OwnStore(inner)) as remover, env.app(store=OwnStore(inner)) as other:
        await _remove_after_failure(env, remover, other)
        await remover.sync()
        assert not remover.get_token(env.alice.user_id)
        assert not other.get_token(env.alice.user_id)


@on_each_store
async def test_a_pair_that_was_never_exchanged_comes_back(env: Environment) -> None:
    """A pair that was removed unspent can be added again, whoever saw it leased."""
    async with env.app() as remover, env.app() as other:
        pair = await _remove_after_failure(env, remover, other)
        other.add_token(env.alice.user_id, *pair)
        await other.flush()
        assert other.get_token(env.alice.user_id) == pair


async def test_a_removal_whose_answer_is_lost(env: Environment) -> None:
    """It has taken place: who adds the same pair since is not removed once more."""
    store = WatchedStore(env.storage.store())
    async with env.app(store=store) as app, env.app() as other:
        user = await env.own_pair(app)
        written = Held("put")

        async def lose_the_answer(operation: str, key: str) -> None:
            store.after = written
            await written(operation, key)
            store.after = nothing
            raise StoreUnavailable("the connection broke: it may have taken place")

        pair = env.live()
        store.after = lose_the_answer
        app.remove_token(user.user_id)
        await until(lambda: user.user_id not in other.tokens)
        other.add_token(user.user_id, *pair)
        await other.flush()
        written.released.set()
        await app.flush()
        assert other.get_token(user.user_id) == pair == app.get_token(user.user_id)


async def _remove_leased(env: Environment, app: App, user_id: str) -> tuple[str, str]:
    """Alice's expired pair is removed from `user_id`, where a process died that had leased it."""
    pair = env.pair(expired=True)
    app.add_token(user_id, pair.access_token, pair.refresh_token)
    await app.flush()
    await env.lease_of_a_dead_process(user_id)
    await app.sync()
    app.remove_token(user_id)
    await app.flush()
    return pair.access_token, pair.refresh_token


@pytest.mark.parametrize("how", ["add_token", "add_user"])
@pytest.mark.parametrize("name", ["alice", "wrong"])
async def test_a_pair_whose_exchange_died_comes_back(env: Environment, name: str, how: str) -> None:
    """What was removed under a dead process' lease comes back, with its user or without."""
    async with env.app() as app:
        pair = await _remove_leased(env, app, env.alice.user_id if name == "alice" else "12345")
        if how == "add_token":
            await app.add_token(env.alice.user_id, *pair).get_user()
        else:
            assert (await app.add_user(*pair)).user_id == env.alice.user_id
        await env.expect(exchanges=1)


async def test_a_damaged_user_is_removed_though_a_validation_waits(env: Environment) -> None:
    """A validation that cannot be written into a damaged record does not keep it there."""
    async with env.app() as app:
        user = await env.login(app)
        with env.twitch.hold("validate") as gate:
            call = asyncio.create_task(user.renew(user.token))
            await gate.reached()
            await env.storage.write(env.key(env.alice), GARBAGE)
            await app.sync()
        with pytest.raises(CorruptRecord):
            await call
        app.remove_token(env.alice.user_id)
        await app.flush()
        assert await env.storage.read(env.key(env.alice)) is None


async def _down(_operation: str, _key: str) -> None:
    raise StoreUnavailable("the server is away")


async def _break_off(store: OwnStore, operation: str, _key: str) -> None:
    """The answer to a write is lost, and with it the server."""
    if operation in {"put", "delete"}:
        store.before = _down
        raise StoreUnavailable("the connection broke: it may have taken place")


@pytest.mark.parametrize("gets_in", [True, False])
@pytest.mark.parametrize("confidential", [True, False])
async def test_a_repeated_removal_spares_a_later_login(
    env: Environment, *, confidential: bool, gets_in: bool
) -> None:
    """A removal whose answer is lost takes out the login it was made for, and no later one."""
    client = env.confidential if confidential else env.public
    inner = env.storage.store()
    store = OwnStore(inner)

    async with env.app(client, store=store) as remover, env.app(client) as other:
        await env.login(remover, client=client)
        await other.sync()
        if gets_in:
            store.after = partial(_break_off, store)
        else:
            store.before = _down
        remover.remove_token(env.alice.user_id)
        with pytest.raises(StoreUnavailable):
            await remover.flush()
        if gets_in:
            await env.login(other, client=client)
        else:
            await other.get_user_by_id(env.alice.user_id).refresh()
        store.before = store.after = nothing
        await remover.flush()
        assert (await env.stored(client=client) is not None) == gets_in


async def test_a_login_right_after_a_removal_stands(env: Environment) -> None:
    """Also one by an access token alone, for a process that has seen neither of the two."""
    inner = env.storage.store()
    async with env.app(store=OwnStore(inner)) as app, env.app(store=OwnStore(inner)) as other:
        await env.login(app)
        await other.sync()
        bare = env.pair().access_token
        app.remove_token(env.alice.user_id)
        await app.flush()
        await app.add_user(bare, None)
        await other.sync()
        await until(lambda: other.get_token(env.alice.user_id) == (bare, None))
        await app.sync()
        assert app.get_token(env.alice.user_id) == (bare, None)


async def test_a_repeated_login_spares_a_later_one(env: Environment) -> None:
    """A login that was written, though the store's answer was lost, replaces no later one."""
    store = OwnStore(env.storage.store())
    async with env.app(store=store) as app, env.app() as other:
        store.after = partial(_break_off, store)
        with pytest.raises(StoreUnavailable):
            await env.login(app)
        await env.login(other)
        later = other.get_token(env.alice.user_id)
        store.before = store.after = nothing
        await app.flush()
        assert await env.stored() == later
