"""A refresh that Twitch refuses, and failures that are none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.world import INVALID, REFRESH, said, within
from twitchvault import (
    AuthFailure,
    Forbidden,
    TokenError,
    Unauthorized,
)

if TYPE_CHECKING:
    from tests.world import World
    from twitchvault import UserAPI
    from twitchvault.oauth import DeviceCodeFlow
    from twitchvault.testing.fake import Client


async def _alice(world: World, flow: DeviceCodeFlow, client: Client) -> UserAPI:
    pair = world.pair(client)
    return await flow.add_user(pair.access_token, pair.refresh_token)


@pytest.mark.parametrize("status", [400, 401])
async def test_a_refused_refresh(world: World, status: int) -> None:
    """Everybody who asks gets AuthFailure, in every process; the user stays in the vault."""
    world.twitch.switch(world.public, dead_refresh_status=status)
    async with world.device(world.public) as one, world.device(world.public) as two:
        user = await _alice(world, one, world.public)
        await two.sync()
        same = two.get_user_by_id(user.user_id)
        world.twitch.disconnect(world.public, world.alice)
        results = await within(
            asyncio.gather(
                *(each.get("users") for each in (user, same) * 5), return_exceptions=True
            ),
            10,
        )
        assert {type(result) for result in results} == {AuthFailure}
        assert not any(secret in said(results[0]) for secret in world.twitch.secrets)  # type: ignore[arg-type]
        assert world.twitch.counts.refused_refreshes == 1
        assert one.get_token(user.user_id) is not None
        for flow, handle in ((one, user), (two, same)):
            with pytest.raises(AuthFailure, match="sign in again"):
                await handle.refresh()
            assert handle.needs_login
            assert dict(flow.needs_login) == {user.user_id: handle.needs_login}
    assert world.twitch.counts.refused_refreshes == 1
    assert world.twitch.counts.replays == 0


@pytest.mark.parametrize("status", [400, 401])
async def test_a_refusal_in_the_words_of_the_rfc(small: World, status: int) -> None:
    """`invalid_grant` is a refusal as well: the dead token is not sent again."""
    async with small.device(small.public) as flow:
        user = await _alice(small, flow, small.public)
        body = {"error": "invalid_grant", "error_description": "revoked"}
        small.twitch.fail("token:refresh_token", status=status, body=body, times=None)
        for _ in range(3):
            with pytest.raises(AuthFailure, match="sign in again"):
                await user.refresh()
        assert user.needs_login
        sent = [each for each in small.twitch.requests if each.endpoint == "token:refresh_token"]
        assert len(sent) == 1


async def test_the_second_call_asks_twitch_nothing(world: World) -> None:
    """Once the access token was refused too, every process fails at once, without a request."""
    async with world.device(world.public) as one, world.device(world.public) as two:
        user = await _alice(world, one, world.public)
        await two.sync()
        world.twitch.disconnect(world.public, world.alice)
        with pytest.raises(AuthFailure):
            await user.get("users")
        await two.sync()
        asked = len(world.twitch.requests)
        for handle in (user, two.get_user_by_id(user.user_id)):
            with pytest.raises(AuthFailure):
                await handle.get("users")
        assert len(world.twitch.requests) == asked


async def test_a_living_access_token_goes_on_being_used(world: World) -> None:
    """Only the refresh token is dead: calls succeed until the access token is refused, too."""
    async with world.device(world.public) as flow:
        user = await _alice(world, flow, world.public)
        world.twitch.switch(world.public, false_invalid_refresh=1)
        with pytest.raises(AuthFailure):
            await user.refresh()
        assert (await user.get_user()).login == "alice"
        assert (await user.get_user()).login == "alice"


async def test_a_token_that_twitch_confirms_is_used_again(world: World) -> None:
    """Refused by a fault of the service, then validated by `add_user`: calls go out again."""
    async with world.device(world.public) as flow:
        pair = world.pair(world.public)
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        world.twitch.switch(world.public, false_invalid_refresh=1)
        body = {"error": "Unauthorized", "status": 401, "message": "Invalid OAuth token"}
        world.twitch.fail("helix:users", status=401, body=body)
        with pytest.raises(AuthFailure):
            await user.get("users")
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        assert (await user.get_user()).login == "alice"


@pytest.mark.parametrize("how", ["add_user", "add_token", "expired pair"])
async def test_a_new_login_heals(world: World, how: str) -> None:
    """After a new login all goes on, in the other process as well and after a restart."""
    async with world.device(world.public) as one, world.device(world.public) as two:
        user = await _alice(world, one, world.public)
        world.twitch.disconnect(world.public, world.alice)
        with pytest.raises(AuthFailure):
            await user.get("users")
        pair = world.pair(world.public, expired=how == "expired pair")
        if how == "add_token":
            one.add_token(user.user_id, pair.access_token, pair.refresh_token)
            await one.flush()
        else:
            await one.add_user(pair.access_token, pair.refresh_token)
        await two.sync()
        for flow in (one, two):
            handle = flow.get_user_by_id(user.user_id)
            assert (await handle.get_user()).login == "alice"
            assert handle.needs_login is None
            assert dict(flow.needs_login) == {}
        world.twitch.expire_access(user.token)
        assert (await user.get_user()).login == "alice"
    async with world.device(world.public) as flow:
        assert (await flow.get_user_by_id(user.user_id).get_user()).login == "alice"
    assert world.twitch.counts.replays == 0


async def test_needs_login_survives_a_restart(world: World) -> None:
    """A new process does not ask Twitch about a refresh token that was refused."""
    async with world.device(world.public) as flow:
        user = await _alice(world, flow, world.public)
        world.twitch.disconnect(world.public, world.alice)
        with pytest.raises(AuthFailure):
            await user.refresh()
    async with world.device(world.public) as flow:
        with pytest.raises(AuthFailure, match="refused"):
            await flow.get_user_by_id(user.user_id).refresh()
    assert world.twitch.counts.refused_refreshes == 1


async def test_the_old_pair_does_not_heal(world: World) -> None:
    """Adding the refused pair again is no new login."""
    pair = world.pair(world.public)
    async with world.device(world.public) as flow:
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        world.twitch.disconnect(world.public, world.alice)
        with pytest.raises(AuthFailure):
            await user.refresh()
        with pytest.raises(AuthFailure):
            await flow.add_user(pair.access_token, pair.refresh_token)
        flow.add_token(user.user_id, pair.access_token, pair.refresh_token)
        with pytest.raises(AuthFailure):
            await user.refresh()
    assert world.twitch.counts.refused_refreshes == 1


async def test_a_rotated_secret(world: World) -> None:
    """A secret that was changed in the console: 403, nobody is logged out, the new one works."""
    async with world.device() as flow:
        user = await _alice(world, flow, world.client)
        world.twitch.rotate_secret(world.client)
        world.twitch.expire_access(user.token)
        with pytest.raises(Forbidden, match="invalid client secret"):
            await within(user.get("users"))
    async with world.device() as flow:
        assert (await flow.get_user_by_id(user.user_id).get_user()).login == "alice"


async def test_without_a_refresh_token(world: World) -> None:
    """A dead access token without a refresh token needs a login; a living one does not."""
    async with world.device(world.public) as flow:
        pair = world.pair(world.public)
        user = flow.add_token(world.alice.user_id, pair.access_token, None)
        with pytest.raises(TokenError, match="no refresh token"):
            await user.refresh()
        assert user.needs_login is None, "nobody has refused this access token"
        world.twitch.expire_access(world.alice)
        with pytest.raises(AuthFailure):
            await user.get_user()
        assert user.needs_login
    assert world.sent() == 0


async def test_a_refusal_of_a_former_refresh_token(small: World) -> None:
    """A refused refresh token says nothing of another that came with the same access token."""
    async with small.device(small.public) as flow:
        pair = small.pair(small.public)
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        gate = small.twitch.hold(REFRESH)
        small.twitch.fail(REFRESH, status=400, body=INVALID)
        call = asyncio.create_task(user.refresh())
        await gate.reached()
        login = small.pair(small.public)
        flow.add_token(user.user_id, pair.access_token, login.refresh_token)
        await flow.flush()
        gate.release()
        await asyncio.gather(call, return_exceptions=True)
        assert user.needs_login is None
        await user.refresh()
    assert await small.stored(client=small.public) == small.live(client=small.public)


async def test_without_the_secret(small: World) -> None:
    """A process that lacks the client secret does not stop one that has it from renewing."""
    async with small.device() as flow:
        token = flow.tokens[small.client.client_id][0]
        small.twitch.kill_app_tokens(small.client)
        bare = small.device(client_secret=None)
        await bare.authorize()
        with pytest.raises(Unauthorized):
            await bare.authorize(token=token)
        await bare.close()
        assert flow.application is not None
        assert (await flow.application.get_user(login="alice")).login == "alice"
