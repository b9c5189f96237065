"""`clear()` and `close()`: what they keep and what they end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.environment import on_each_store, our_tasks
from twitchvault import TokenError

if TYPE_CHECKING:
    from tests.environment import Environment


@on_each_store
async def test_clear_forgets_here_and_keeps_there(env: Environment) -> None:
    """After `clear()` the flow knows nothing; the store keeps all; `authorize()` begins anew."""
    pair = env.pair(env.confidential)
    async with env.device(env.confidential) as flow:
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        await user.get_user()
        flow.clear()
        assert flow.application is None
        for view in (flow.tokens, flow.tokens_validity, flow.users_scopes, flow.damaged):
            assert dict(view) == {}
        assert flow.get_token(user.user_id) is None
        assert flow.get_token_quota(user.user_id) is None
        with pytest.raises(TokenError):
            flow.get_user_by_id(user.user_id)
        assert await env.is_stored(client=env.confidential)
        await flow.authorize()
        assert flow.application is not None
        assert flow.get_token(user.user_id) == (pair.access_token, pair.refresh_token)
        assert flow.users_scopes[user.user_id] == ("chat:read",)
        assert (await user.get_user()).login == "alice"
    assert env.twitch.counts.app_tokens == 1


@on_each_store
async def test_close_is_idempotent(env: Environment) -> None:
    """Closing without having opened, twice, and twice at once: no error, nothing left open.

    What was changed right before is durable.
    """
    flow = env.device()
    await flow.close()
    await flow.authorize()
    for number in range(50):
        flow.add_token(str(number), "a", "r")
    await asyncio.gather(flow.close(), flow.close())
    await flow.close()
    assert our_tasks() == []
    async with flow, env.device() as other:
        assert len(flow.tokens) == len(other.tokens) == 50
