"""A user is removed right after a refresh that failed; another process knows the lease alone."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.environment import REFRESH, on_each_store
from tests.own_stores import OwnStore
from twitchvault import HTTPException

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


async def test_a_pair_whose_exchange_died_comes_back(env: Environment) -> None:
    """A pair that was removed under a dead process' lease can be added again, and is renewed."""
    pair, key = env.pair(expired=True), env.key(env.alice)
    async with env.app() as app:
        app.add_token(env.alice.user_id, pair.access_token, pair.refresh_token)
        await app.flush()
        record = json.loads(await env.storage.read(key) or b"")
        leased = record | {"lease": "of a dead process", "lease_ttl": 1.0}
        await env.storage.write(key, json.dumps(leased).encode())
        await app.sync()
        app.remove_token(env.alice.user_id)
        await app.flush()
        app.add_token(env.alice.user_id, pair.access_token, pair.refresh_token)
        await app.get_user_by_id(env.alice.user_id).get_user()
        await env.expect(exchanges=1)
