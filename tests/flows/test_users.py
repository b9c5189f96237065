"""`add_user`, `add_token`, `remove_token`, `get_token`, `get_user_by_id`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.environment import on_each_store, within
from twitchvault import (
    AuthFailure,
    NoAnswer,
    NotAuthorized,
    RateLimited,
    TokenError,
    TwitchServerError,
    UserAPI,
)

if TYPE_CHECKING:
    from tests.environment import Environment

FAILURES: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"status": 429}, RateLimited),
    ({"status": 500}, TwitchServerError),
    ({"status": 503, "body": "<html>Guru</html>"}, TwitchServerError),
    ({"drop": True}, NoAnswer),
]


@on_each_store
async def test_add_user_validates(env: Environment) -> None:
    """A live pair is validated, stored durably when it returns, and not refreshed."""
    async with env.device() as flow:
        user = await env.login(flow)
        assert await env.is_stored()
        assert isinstance(user, UserAPI)
        assert (user.user_id, user.login) == (env.alice.user_id, "alice")
        assert (user.token, user.scopes) == (env.live()[0], ("chat:read",))
        assert user.user_id in flow.tokens_validity
    assert env.refreshes_sent() == 0


async def test_without_a_refresh_token(env: Environment) -> None:
    """None and a blank text both mean that there is no refresh token."""
    async with env.device() as flow:
        for nothing in (None, "", " \n"):
            pair = env.pair()
            user = await flow.add_user(pair.access_token, nothing)
            assert flow.get_token(user.user_id) == (pair.access_token, None)
            flow.add_token("1", "access", nothing)
            assert flow.get_token("1") == ("access", None)
        with pytest.raises(AuthFailure, match="no refresh token"):
            await flow.add_user("dead", None)


@on_each_store
@pytest.mark.parametrize("mode", ["rotate", "rotate-keep", "same", "public"])
async def test_add_user_refreshes_after_a_401(env: Environment, mode: str) -> None:
    """An expired pair is exchanged once, for every kind of client, also when it comes again."""
    if mode != "public":
        env.client = env.confidential
        env.twitch.switch(env.client, confidential_refresh=mode)
    pair = env.pair(expired=True)
    async with env.device() as flow:
        for _ in range(3):
            user = await flow.add_user(pair.access_token, pair.refresh_token)
            assert (await user.get_user()).login == "alice"
    assert env.twitch.counts.exchanges == 1
    async with env.device() as flow:
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        assert env.twitch.is_live(user.token)
        assert flow.users_scopes[user.user_id] == ("chat:read",)
        env.twitch.expire_access(user.token)
        await user.get_user()
    await env.expect(exchanges=2)


@pytest.mark.parametrize(("fault", "error"), FAILURES)
@pytest.mark.parametrize("endpoint", ["validate", "token:refresh_token"])
async def test_add_user_when_twitch_fails(
    env: Environment, endpoint: str, fault: dict[str, Any], error: type[Exception]
) -> None:
    """It raises as itself and stores no user; a 401 alone leads to a refresh; later all is well."""
    pair = env.pair(expired=endpoint != "validate")
    async with env.device(lease_ttl=1) as flow, env.device(lease_ttl=1) as other:
        env.twitch.fail(endpoint, times=None, **fault)
        with pytest.raises(error) as caught:
            await within(flow.add_user(pair.access_token, pair.refresh_token))
        assert not env.shows_secret(caught.value)
        assert dict(flow.tokens) == {}
        if endpoint == "validate":
            assert await env.storage.values() == {}
            assert env.refreshes_sent() == 0
        env.twitch.clear_faults()
        await within(other.add_user(pair.access_token, pair.refresh_token))
    await env.expect(exchanges=int(endpoint != "validate"))


async def test_add_user_of_what_is_no_users(env: Environment) -> None:
    """Another client's token or an app token is an AuthFailure, neither stored nor refreshed."""
    pair = env.pair()
    async with env.device(env.confidential) as flow:
        with pytest.raises(AuthFailure, match="another client"):
            await flow.add_user(pair.access_token, pair.refresh_token)
        token = (await flow.credentials_grant_flow()).access_token
        with pytest.raises(AuthFailure, match="app access token"):
            await flow.add_user(token, None)
        assert set(flow.tokens) == {env.confidential.client_id}
    assert env.refreshes_sent() == 0
    assert env.twitch.is_live(pair.access_token)


async def test_a_user_before_authorize(env: Environment) -> None:
    """Whoever forgot `authorize()` is told so, and not to sign the user in; `add_token` works."""
    async with env.device() as flow:
        await env.login(flow)
    forgotten = env.device()
    with pytest.raises(NotAuthorized, match=r"authorize\(\)"):
        forgotten.get_user_by_id(env.alice.user_id)
    added = forgotten.add_token("7", "access", None)
    assert forgotten.get_user_by_id("7") == added
    async with forgotten:
        assert forgotten.get_user_by_id(env.alice.user_id).login == "alice"
        with pytest.raises(TokenError, match="sign the user in"):
            forgotten.get_user_by_id("8")


@on_each_store
async def test_remove_token(env: Environment) -> None:
    """It leaves the views at once and the store soon, and revokes nothing at Twitch."""
    async with env.device() as flow, env.device() as other:
        user = await env.login(flow)
        access_token = user.token
        flow.remove_token(user.user_id)
        assert flow.get_token(user.user_id) is None
        for view in (flow.tokens, flow.tokens_validity, flow.users_scopes):
            assert user.user_id not in view
        for read in (lambda: flow.get_user_by_id(user.user_id), lambda: user.token):
            with pytest.raises(TokenError, match=repr(user.user_id)):
                read()
        for call in (user.get_user, user.refresh, user.validate, user.revoke):
            with pytest.raises(TokenError, match=repr(user.user_id)):
                await call()
        await flow.flush()
        assert not await env.storage.holds(access_token)
        assert user.user_id not in other.tokens
        flow.remove_token(user.user_id)
        flow.remove_token("never there")
        await flow.flush()
    assert env.twitch.is_live(access_token)
    assert env.twitch.counts.revocations == 0


@on_each_store
@pytest.mark.parametrize(
    "user_id",
    ["a:b", "x/seed/y", "ä ö\n", "%00", "\x00", "{}*?[a]", "../x", "0", "a" * 400, "🦊" * 100],
)
async def test_unusual_ids_and_tokens(env: Environment, user_id: str) -> None:
    """Whatever a user id and a token look like, both survive a restart."""
    access, refresh = "%2F=&+\\🦊", "ü/=%" + "x" * 2000
    async with env.device() as flow:
        flow.add_token(user_id, access, refresh)
        flow.add_token(user_id + "1", "neighbour", None)
    async with env.device() as flow:
        assert flow.get_token(user_id) == (access, refresh)
        flow.remove_token(user_id)
        await flow.flush()
        assert flow.get_token(user_id + "1") == ("neighbour", None)
    assert await env.stored(user_id) is None


@on_each_store
async def test_the_last_change_counts(env: Environment) -> None:
    """Removed and added in a row: in the views at every step, and in the store at the end."""
    async with env.device() as flow:
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
    assert await env.stored("1") is None
