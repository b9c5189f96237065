"""`add_user`, `remove_token`, `get_token`, `get_user_by_id`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.world import said, within
from twitchvault import (
    AuthFailure,
    Forbidden,
    NoAnswer,
    RateLimited,
    TokenError,
    TwitchServerError,
    UserAPI,
)

if TYPE_CHECKING:
    from tests.world import World

WEATHER: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"status": 429}, RateLimited),
    ({"status": 500}, TwitchServerError),
    ({"status": 503, "body": "<html>Guru</html>"}, TwitchServerError),
    ({"drop": True}, NoAnswer),
]


async def test_add_user_validates(world: World) -> None:
    """A live pair is validated, stored durably when it returns, and not refreshed."""
    async with world.device() as flow:
        pair = world.pair(scopes=["chat:read"])
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        assert await world.place.read(world.key(world.alice)) is not None
        assert isinstance(user, UserAPI)
        assert (user.user_id, user.login) == (world.alice.user_id, "alice")
        assert (user.token, user.scopes) == (pair.access_token, ("chat:read",))
        assert user.user_id in flow.tokens_validity
    assert world.twitch.counts.exchanges == 0


async def test_add_user_without_a_refresh_token(world: World) -> None:
    """None and an empty string both mean that there is no refresh token."""
    async with world.device() as flow:
        for nothing in (None, ""):
            pair = world.pair()
            user = await flow.add_user(pair.access_token, nothing)
            assert flow.get_token(user.user_id) == (pair.access_token, None)
        with pytest.raises(AuthFailure, match="no refresh token"):
            await flow.add_user("dead", None)


@pytest.mark.parametrize("mode", ["rotate", "rotate-keep", "same", "public"])
async def test_add_user_refreshes_after_a_401(world: World, mode: str) -> None:
    """An expired pair is exchanged once, for every kind of client, also when it comes again."""
    client = world.public if mode == "public" else world.client
    if mode != "public":
        world.twitch.switch(client, confidential_refresh=mode)
    pair = world.pair(client, expired=True)
    async with world.device(client) as flow:
        for _ in range(3):
            user = await flow.add_user(pair.access_token, pair.refresh_token)
            assert world.twitch.is_live(user.token)
            assert (await user.get_user()).login == "alice"
    assert world.twitch.counts.exchanges == 1
    async with world.device(client) as flow:
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        assert world.twitch.is_live(user.token)
        assert flow.users_scopes[user.user_id] == ("chat:read",)
        world.twitch.expire_access(user.token)
        await user.get_user()
    assert world.twitch.counts.exchanges == 2
    assert world.twitch.counts.replays == 0
    parked = [key for key in await world.place.keys() if "/seed/" in key]
    assert parked == []


async def test_the_same_pair_added_at_once(world: World) -> None:
    """Twenty tasks of two flows add one expired pair: one exchange, and all get the user."""
    pair = world.pair(world.public, expired=True)
    async with world.device(world.public) as one, world.device(world.public) as two:
        users = await within(
            asyncio.gather(
                *(flow.add_user(pair.access_token, pair.refresh_token) for flow in (one, two) * 10)
            ),
            10,
        )
        assert {user.user_id for user in users} == {world.alice.user_id}
        assert len({user.token for user in users}) == 1
        assert world.twitch.is_live(users[0].token)
    assert (world.twitch.counts.exchanges, world.twitch.counts.replays) == (1, 0)


@pytest.mark.parametrize(("fault", "error"), WEATHER)
async def test_add_user_in_bad_weather(
    world: World, fault: dict[str, Any], error: type[Exception]
) -> None:
    """A 429 or 5xx from validate raises as itself; no refresh is tried, nothing is stored."""
    pair = world.pair(world.public)
    async with world.device(world.public) as flow:
        world.twitch.fail("validate", times=None, **fault)
        with pytest.raises(error) as caught:
            await flow.add_user(pair.access_token, pair.refresh_token)
        assert not any(secret in said(caught.value) for secret in world.twitch.secrets)
        assert dict(flow.tokens) == {}
        assert await world.place.keys() == []
        assert world.twitch.counts.exchanges == 0
        world.twitch.clear_faults()
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        assert user.token == pair.access_token


@pytest.mark.parametrize(("fault", "error"), WEATHER)
async def test_add_user_in_bad_weather_at_the_refresh(
    small: World, fault: dict[str, Any], error: type[Exception]
) -> None:
    """Weather at the exchange raises as itself, no user is stored, another process succeeds."""
    pair = small.pair(small.public, expired=True)
    async with (
        small.device(small.public, lease_ttl=1) as flow,
        small.device(small.public, lease_ttl=1) as other,
    ):
        small.twitch.fail("token:refresh_token", times=None, **fault)
        with pytest.raises(error) as caught:
            await within(flow.add_user(pair.access_token, pair.refresh_token))
        assert not any(secret in said(caught.value) for secret in small.twitch.secrets)
        assert dict(flow.tokens) == {}
        small.twitch.clear_faults()
        user = await within(other.add_user(pair.access_token, pair.refresh_token))
        assert small.twitch.is_live(user.token)
    assert (small.twitch.counts.exchanges, small.twitch.counts.replays) == (1, 0)


async def test_add_user_of_another_client(world: World) -> None:
    """A token of another client is an AuthFailure; it is neither stored nor refreshed."""
    pair = world.pair(world.public)
    async with world.device() as flow:
        with pytest.raises(AuthFailure, match="another client"):
            await flow.add_user(pair.access_token, pair.refresh_token)
        assert set(flow.tokens) == {world.client.client_id}
    assert world.twitch.counts.exchanges == 0
    assert world.twitch.is_live(pair.access_token)


async def test_add_user_of_an_app_token(world: World) -> None:
    """An app token is no user token."""
    async with world.device() as flow:
        token = (await flow.credentials_grant_flow()).access_token
        with pytest.raises(AuthFailure, match="app access token"):
            await flow.add_user(token, None)
        assert set(flow.tokens) == {world.client.client_id}


async def test_add_user_when_neither_works(world: World) -> None:
    """Dead and dead is an AuthFailure, and nothing is stored."""
    pair = world.pair(world.public)
    world.twitch.disconnect(world.public, world.alice)
    async with world.device(world.public) as flow:
        for _ in range(2):
            with pytest.raises(AuthFailure, match="sign in again") as caught:
                await flow.add_user(pair.access_token, pair.refresh_token)
            assert not any(secret in said(caught.value) for secret in world.twitch.secrets)
        assert dict(flow.tokens) == {}
        await flow.flush()
    async with world.device(world.public) as flow:
        assert dict(flow.tokens) == {}


async def test_add_user_with_a_wrong_secret(world: World) -> None:
    """A wrong secret is configuration: Forbidden, and with the right one the same pair works."""
    pair = world.pair(expired=True)
    flow = world.device(client_secret="wrong", store=world.place.store())
    with pytest.raises(Forbidden):
        await flow.authorize()
    with pytest.raises(Forbidden):
        await flow.add_user(pair.access_token, pair.refresh_token)
    await flow.close()
    async with world.device() as flow:
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        assert world.twitch.is_live(user.token)


async def test_add_user_after_a_new_consent(world: World) -> None:
    """A second login of the same user replaces the first pair."""
    async with world.device() as flow:
        for _ in range(2):
            pair = world.pair()
            user = await flow.add_user(pair.access_token, pair.refresh_token)
            assert flow.get_token(user.user_id) == (pair.access_token, pair.refresh_token)


async def test_a_rename_shows_after_a_validation(world: World) -> None:
    """The id stays, the login follows the next validation."""
    async with world.device() as flow:
        pair = world.pair()
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        world.twitch.rename(world.alice, "alicia")
        await user.validate()
        assert (user.user_id, user.login) == (world.alice.user_id, "alicia")


async def test_get_token_and_get_user_by_id(world: World) -> None:
    """None for nobody; TokenError for nobody; ValueError for the client id."""
    async with world.device() as flow:
        assert flow.get_token("nobody") is None
        with pytest.raises(TokenError, match="'nobody'"):
            flow.get_user_by_id("nobody")
        with pytest.raises(ValueError, match="application"):
            flow.get_user_by_id(world.client.client_id)
        app_token = flow.get_token(world.client.client_id)
        assert app_token is not None
        assert app_token[1] is None


async def test_remove_token(world: World) -> None:
    """It leaves the views at once and the store soon, and revokes nothing at Twitch."""
    async with world.device() as flow, world.device() as other:
        pair = world.pair()
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        flow.remove_token(user.user_id)
        assert flow.get_token(user.user_id) is None
        for view in (flow.tokens, flow.tokens_validity, flow.users_scopes):
            assert user.user_id not in view
        with pytest.raises(TokenError):
            flow.get_user_by_id(user.user_id)
        with pytest.raises(TokenError):
            _ = user.token
        with pytest.raises(TokenError):
            await user.get_user()
        await flow.flush()
        assert not await world.place.holds(pair.access_token)
        assert user.user_id not in other.tokens
        flow.remove_token(user.user_id)
        flow.remove_token("never there")
        await flow.flush()
    assert world.twitch.is_live(pair.access_token)
    assert world.twitch.counts.revocations == 0


async def test_a_spent_pair_of_a_removed_user(world: World) -> None:
    """A spent seed that comes back after `remove_token` is not sent; a new login works."""
    seed = world.pair(world.public)
    async with world.device(world.public) as flow:
        user = await flow.add_user(seed.access_token, seed.refresh_token)
        await user.refresh()
        flow.remove_token(user.user_id)
        await flow.flush()
        new = world.pair(world.public)
        with pytest.raises(AuthFailure):
            await flow.add_user(seed.access_token, seed.refresh_token)
        assert user.user_id not in flow.tokens
    async with world.device(world.public) as flow:
        assert dict(flow.tokens) == {}
        user = await flow.add_user(new.access_token, new.refresh_token)
        again = await flow.add_user(seed.access_token, seed.refresh_token)
        assert again == user
        assert (await again.get_user()).login == "alice"
    assert (world.twitch.counts.exchanges, world.twitch.counts.replays) == (1, 0)


async def test_remove_and_add_in_a_row(world: World) -> None:
    """The last word counts, in the views at every step and in the store at the end."""
    async with world.device() as flow:
        flow.add_token("1", "a", "ra")
        flow.remove_token("1")
        assert "1" not in flow.tokens
        flow.add_token("1", "b", "rb")
        assert flow.tokens["1"] == ("b", "rb")
        await flow.flush()
        assert flow.tokens["1"] == ("b", "rb")
        flow.remove_token("1")
        flow.add_token("1", "c", None)
        flow.remove_token("1")
        await flow.flush()
        assert "1" not in flow.tokens
    async with world.device() as flow:
        assert "1" not in flow.tokens


async def test_a_cancelled_add_user_loses_no_pair(world: World) -> None:
    """Cancelled after the token was spent, the successor still reaches the store."""
    pair = world.pair(world.public, expired=True)
    async with world.device(world.public) as flow:
        with world.twitch.hold("token:refresh_token", when="after") as gate:
            task = asyncio.create_task(flow.add_user(pair.access_token, pair.refresh_token))
            await gate.reached()
            task.cancel()
            await asyncio.wait((task,))
    async with world.device(world.public) as flow:
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        assert world.twitch.is_live(user.token)
    assert (world.twitch.counts.exchanges, world.twitch.counts.replays) == (1, 0)
