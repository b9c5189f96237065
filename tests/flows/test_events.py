"""`events()`: what happened, whose, who did it, and why."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.world import GARBAGE, Listener
from twitchvault import AuthFailure, VaultEvent

if TYPE_CHECKING:
    from tests.world import World


async def test_the_life_of_a_user(world: World) -> None:
    """added, validated, refreshed, needs_login, added, removed; local here and remote there."""
    async with world.device(world.public) as one, world.device(world.public) as two:
        here, there = Listener(one), Listener(two)
        alice = world.alice.user_id

        async def both(kind: str) -> VaultEvent:
            mine, others = await here.next(), await there.next()
            assert mine == (kind, alice, "local", mine.reason)
            assert others == (kind, alice, "remote", mine.reason)
            return mine

        pair = world.pair(world.public)
        user = await one.add_user(pair.access_token, pair.refresh_token)
        assert (await both("added")).reason == ""
        await user.validate()
        assert (await both("validated")).reason == ""
        await user.refresh()
        assert (await both("refreshed")).reason == ""
        await user.refresh()
        assert (await both("refreshed")).reason == ""
        world.twitch.disconnect(world.public, world.alice)
        with pytest.raises(AuthFailure):
            await user.refresh()
        reason = (await both("needs_login")).reason
        assert "refused" in reason
        assert not any(secret in reason for secret in world.twitch.secrets)
        pair = world.pair(world.public)
        await one.add_user(pair.access_token, pair.refresh_token)
        await both("added")
        one.remove_token(alice)
        await one.flush()
        await both("removed")
        await one.flush()
        await two.sync()
        assert (here.heard, there.heard) == ([], [])


async def test_the_other_way_round(world: World) -> None:
    """What the second flow does is remote for the first."""
    async with world.device(world.public) as one, world.device(world.public) as two:
        pair = world.pair(world.public)
        await one.add_user(pair.access_token, pair.refresh_token)
        await two.sync()
        here, there = Listener(one), Listener(two)
        await asyncio.sleep(0)
        await two.get_user_by_id(world.alice.user_id).refresh()
        assert await here.next() == ("refreshed", world.alice.user_id, "remote", "")
        assert await there.next() == ("refreshed", world.alice.user_id, "local", "")


async def test_the_app_token_stands_under_the_client_id(world: World) -> None:
    """It is added, and refreshed when it died."""
    flow = world.device()
    here = Listener(flow)
    await asyncio.sleep(0)
    await flow.authorize()
    assert await here.next() == ("added", world.client.client_id, "local", "")
    world.twitch.kill_app_tokens(world.client)
    assert flow.application is not None
    await flow.application.get_user(login="alice")
    assert await here.next() == ("refreshed", world.client.client_id, "local", "")


async def test_an_expired_pair_is_added(world: World) -> None:
    """`add_user` with an expired pair is one "added": nobody had it before."""
    async with world.device(world.public) as flow:
        here = Listener(flow)
        await asyncio.sleep(0)
        pair = world.pair(world.public, expired=True)
        await flow.add_user(pair.access_token, pair.refresh_token)
        await flow.flush()
        assert await here.next() == ("added", world.alice.user_id, "local", "")
        await asyncio.sleep(0)
        assert here.heard == []


async def test_what_was_added_before_opening(world: World) -> None:
    """A pair that `add_token` took before `authorize()` is an "added" of this process."""
    flow = world.device(world.public)
    here = Listener(flow)
    await asyncio.sleep(0)
    for number in range(20):
        flow.add_token(str(number), "a", "r")
    await flow.authorize()
    await flow.flush()
    heard = sorted([await here.next() for _ in range(20)], key=lambda event: int(event.user_id))
    assert heard == [("added", str(number), "local", "") for number in range(20)]


async def test_what_was_there_before_is_no_event(world: World) -> None:
    """Opening a store with users in it tells nothing, except who is damaged."""
    async with world.device(world.public) as flow:
        flow.add_token("1", "a", "r")
    await world.place.write(world.key("2", world.public), GARBAGE)
    flow = world.device(world.public)
    here = Listener(flow)
    await asyncio.sleep(0)
    await flow.authorize()
    event = await here.next()
    assert (event.kind, event.user_id) == ("damaged", "2")
    assert "'2'" in event.reason
    await flow.sync()
    assert here.heard == []


async def test_a_stream_ends_with_the_flow(world: World) -> None:
    """`close()` and `clear()` end all streams, after what was queued; a new one starts empty."""
    flow = world.device(world.public)
    await flow.authorize()
    listeners = [Listener(flow), Listener(flow)]
    await asyncio.sleep(0)
    flow.add_token("1", "a", "r")
    await flow.close()
    for listener in listeners:
        assert await listener.ended() == [("added", "1", "local", "")]
    await flow.authorize()
    here = Listener(flow)
    await asyncio.sleep(0)
    flow.clear()
    assert await here.ended() == []


async def test_events_of_a_flow_made_from_an_app(world: World) -> None:
    """It hears what the app does."""
    app = world.app()
    await app.authorize()
    from twitchvault.oauth import DeviceCodeFlow  # noqa: PLC0415

    here = Listener(DeviceCodeFlow.from_app(app))
    await asyncio.sleep(0)
    app.add_token("1", "a", "r")
    assert await here.next() == ("added", "1", "local", "")


async def test_a_background_login_loss_is_told(world: World) -> None:
    """Upkeep finds a dead token without a refresh token: needs_login, with a reason."""
    async with world.device(world.public, maintain=True) as flow:
        here = Listener(flow)
        await asyncio.sleep(0)
        flow.add_token(world.alice.user_id, "dead", None)
        kinds = [await here.next(), await here.next()]
        assert [event.kind for event in kinds] == ["added", "needs_login"]
        assert "no refresh token" in kinds[1].reason


def test_an_event_is_a_tuple_of_four() -> None:
    """`VaultEvent(kind, user_id, origin, reason)`."""
    assert VaultEvent._fields == ("kind", "user_id", "origin", "reason")
