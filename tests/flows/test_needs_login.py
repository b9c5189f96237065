"""A refresh that Twitch refuses, and failures that are none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from twitchvault import (
    AuthFailure,
    BadRequest,
    Forbidden,
    HTTPException,
    NoAnswer,
    NotFound,
    RateLimited,
    TwitchServerError,
    Unauthorized,
)
from twitchvault.testing.fake import HTML_PAGE

from .world import said, until, within

if TYPE_CHECKING:
    from twitchvault import UserAPI
    from twitchvault.oauth import DeviceCodeFlow
    from twitchvault.testing.fake import Client

    from .world import World


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


NO_REFUSAL: list[tuple[dict[str, Any], type[HTTPException]]] = [
    ({"status": 403, "body": {"status": 403, "message": "invalid client secret"}}, Forbidden),
    ({"status": 400, "body": {"status": 400, "message": "invalid client"}}, BadRequest),
    ({"status": 400, "body": {"status": 400, "message": "missing client secret"}}, BadRequest),
    ({"status": 404}, NotFound),
    ({"status": 429}, RateLimited),
    ({"status": 500}, TwitchServerError),
    ({"status": 502, "body": HTML_PAGE}, TwitchServerError),
    ({"status": 503, "body": HTML_PAGE}, TwitchServerError),
    ({"status": 200, "body": HTML_PAGE}, HTTPException),
    ({"status": 401, "body": HTML_PAGE}, Unauthorized),
    ({"status": 401, "body": "Invalid refresh token"}, Unauthorized),
    ({"status": 401, "body": {"error": "invalid_client"}}, Unauthorized),
    ({"status": 401, "body": {"status": 401, "message": "not you"}}, Unauthorized),
    ({"status": 400, "body": {"error": "invalid_client"}}, BadRequest),
    ({"drop": True}, NoAnswer),
]


@pytest.mark.parametrize(("fault", "error"), NO_REFUSAL)
async def test_weather_and_configuration(
    small: World, fault: dict[str, Any], error: type[HTTPException]
) -> None:
    """Any other answer is raised as it is and touches nothing; elsewhere the same pair works."""
    async with small.device(lease_ttl=1) as flow, small.device() as other:
        user = await _alice(small, flow, small.client)
        before = flow.get_token(user.user_id)
        small.twitch.expire_access(user.token)
        small.twitch.fail("token:refresh_token", times=None, **fault)
        with pytest.raises(error, match="refresh") as caught:
            await within(user.get("users"))
        assert type(caught.value) is error
        assert not any(secret in said(caught.value) for secret in small.twitch.secrets)
        assert flow.get_token(user.user_id) == before
        assert dict(flow.needs_login) == {}
        small.twitch.clear_faults()
        asked = len(small.twitch.requests)
        with pytest.raises(error):
            await user.refresh()
        assert len(small.twitch.requests) == asked, "not again in the next seconds"
        assert (await within(other.get_user_by_id(user.user_id).get_user())).login == "alice"
        assert (await user.get_user()).login == "alice"
    assert (small.twitch.counts.exchanges, small.twitch.counts.replays) == (1, 0)


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


async def test_a_lost_answer_of_a_public_client(small: World) -> None:
    """Committed, and the answer is lost: no second exchange is tried behind the user's back."""
    async with small.device(small.public, lease_ttl=1) as flow:
        user = await _alice(small, flow, small.public)
        small.twitch.fail("token:refresh_token", when="after", drop=True, times=None)
        with pytest.raises((NoAnswer, AuthFailure)):
            await within(user.refresh())
    assert small.twitch.counts.exchanges == 1
    assert small.twitch.counts.replays <= 1


async def test_upkeep_heals_nothing_and_asks_rarely(world: World) -> None:
    """Background work leaves a user who needs a login alone."""
    async with world.device(world.public, maintain=True) as flow:
        user = await _alice(world, flow, world.public)
        world.twitch.disconnect(world.public, world.alice)
        with pytest.raises(AuthFailure):
            await user.refresh()
        await flow.flush()
        await asyncio.sleep(0.3)
    assert world.twitch.counts.refused_refreshes == 1


async def test_maintain_validates_at_start(world: World) -> None:
    """`maintain=True`: each token is validated at start, and a dead one is renewed."""
    pair = world.pair(world.public)
    dead = world.pair(world.public, world.bob, expired=True)
    async with world.device(world.public) as flow:
        flow.add_token(world.alice.user_id, pair.access_token, pair.refresh_token)
        flow.add_token(world.bob.user_id, dead.access_token, dead.refresh_token)
    async with world.device(world.public, maintain=True) as flow:
        await until(lambda: world.alice.user_id in flow.users_scopes)
        await until(lambda: flow.tokens[world.bob.user_id][0] != dead.access_token)
    assert world.twitch.counts.exchanges == 1


async def test_maintain_false_does_nothing_by_itself(world: World) -> None:
    """`maintain=False`: no validation, no refresh, unless somebody asks."""
    pair = world.pair(world.public, expired=True)
    async with world.device(world.public) as flow:
        user = flow.add_token(world.alice.user_id, pair.access_token, pair.refresh_token)
        await flow.flush()
        await asyncio.sleep(0.2)
        assert world.twitch.requests == ()
        assert (await user.get_user()).login == "alice"
