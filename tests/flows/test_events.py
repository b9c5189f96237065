"""`events()`: what happened, whose it is, who did it, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.environment import GARBAGE, Listener, listening, on_each_store
from twitchvault import AuthFailure, VaultEvent

if TYPE_CHECKING:
    from tests.environment import Environment


@on_each_store
async def test_the_life_of_a_user(env: Environment) -> None:
    """Added, validated, refreshed, needs_login, added, removed: local here and remote there."""
    async with env.device() as one, env.device() as two:
        here, there = Listener(one), Listener(two)
        alice = env.alice.user_id

        async def both(kind: str) -> VaultEvent:
            local, remote = await here.next(), await there.next()
            assert local == (kind, alice, "local", local.reason)
            assert remote == (kind, alice, "remote", local.reason)
            return local

        user = await env.login(one)
        assert (await both("added")).reason == ""
        await user.validate()
        assert (await both("validated")).reason == ""
        for _ in range(2):
            await user.refresh()
            assert (await both("refreshed")).reason == ""
        env.twitch.disconnect(env.public, env.alice)
        with pytest.raises(AuthFailure):
            await user.refresh()
        reason = (await both("needs_login")).reason
        assert "refused" in reason
        assert not any(secret in reason for secret in env.twitch.secrets)
        await env.login(one)
        await both("added")
        one.remove_token(alice)
        await one.flush()
        await both("removed")
        await one.flush()
        await two.sync()
        assert (here.events, there.events) == ([], [])


async def test_the_app_token_stands_under_the_client_id(env: Environment) -> None:
    """It is added, and refreshed when it died."""
    client = env.confidential
    flow = env.device(client)
    here = await listening(flow)
    await flow.authorize()
    assert await here.next() == ("added", client.client_id, "local", "")
    env.twitch.kill_app_tokens(client)
    assert flow.application is not None
    await flow.application.get_user(login="alice")
    assert await here.next() == ("refreshed", client.client_id, "local", "")


async def test_an_expired_pair_is_added(env: Environment) -> None:
    """`add_user` with an expired pair is one "added": nobody had it before."""
    async with env.device() as flow:
        here = await listening(flow)
        await env.own_pair(flow)
    assert await here.ended() == [("added", env.alice.user_id, "local", "")]


@on_each_store
async def test_what_was_there_before_is_no_event(env: Environment) -> None:
    """Opening a store with users in it gives no event, except for who is damaged."""
    async with env.device() as flow:
        flow.add_token("1", "a", "r")
    await env.storage.write(env.key("2"), GARBAGE)
    flow = env.device()
    here = await listening(flow)
    await flow.authorize()
    await flow.sync()
    await flow.close()
    (event,) = await here.ended()
    assert (event.kind, event.user_id) == ("damaged", "2")
    assert "'2'" in event.reason


@on_each_store
async def test_a_stream_ends_with_the_flow(env: Environment) -> None:
    """`close()` and `clear()` end all streams, after what was queued; a new one starts empty.

    A pair that `add_token` took before `authorize()` is an "added" of this process.
    """
    flow = env.device()
    listeners = [await listening(flow), await listening(flow)]
    for number in range(20):
        flow.add_token(str(number), "a", "r")
    await flow.authorize()
    await flow.close()
    for listener in listeners:
        events = sorted(await listener.ended(), key=lambda event: int(event.user_id))
        assert events == [("added", str(number), "local", "") for number in range(20)]
    await flow.authorize()
    here = await listening(flow)
    flow.clear()
    assert await here.ended() == []
