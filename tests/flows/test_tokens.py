"""`refresh_token`, `revoke_token`, `validate_token`, `get_token_quota`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.environment import on_each_store
from tests.http_servers import web_server
from twitchvault import AuthFailure, BadRequest, HTTPException, NotFound, TokenError, Unauthorized

if TYPE_CHECKING:
    from tests.environment import Environment
    from twitchvault import DeviceCodeFlow, UserAPI


@pytest.mark.parametrize(
    "beside",
    [
        pytest.param(b'"expires_in": ' + b"9" * 5000, id="more digits than Python reads"),
        b'"expires_in": NaN, "scope": [Infinity]',
        b'"expires_in": 1e999, "scope": {"a": ["b"]}, "token_type": {"a": 5}',
        b'"expires_in": {}, "scope": 5, "token_type": null, "raw": 5, "status": 500',
        b'"expires_in": "soon", "scope": "\\ud800", "token_type": "\\udfff"',
        b'"scope": ["caf\xe9"], "expires_in": 5',
        pytest.param(b'"more": ' + b"[" * 9000 + b'"]"' + b"]" * 9000, id="deep lists"),
        pytest.param(b'"more": "' + b"x" * 3_000_000 + b'"', id="3 MB"),
        b'"access_token": null, "refresh_token": ""',
        b'"access_token": 5, "refresh_token": {}, "access_token": []',
    ],
)
async def test_nothing_beside_a_pair_costs_the_pair(env: Environment, beside: bytes) -> None:
    """Whatever else stands in the answer, its two tokens are stored for every process."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/validate":
            return web.json_response({"client_id": env.client.client_id, "user_id": "1"})
        body = b'{"access_token": "new", "refresh_token": "newer", ' + beside + b"}"
        return web.Response(body=body, content_type="application/json")

    async with web_server(answer) as url, env.device(id_url=url) as flow, env.device() as other:
        user = flow.add_token("1", "old", "older")
        token = await user.refresh()
        assert (token.access_token, token.refresh_token) == ("new", "newer")
        assert 0 <= token.expires_in < 2**31
        await other.sync()
        assert other.get_token("1") == ("new", "newer")


@on_each_store
async def test_a_token_that_another_process_has_just_stored(env: Environment) -> None:
    """What another process has committed is vaulted, for `refresh_token` and `revoke_token`."""
    async with env.device() as flow, env.device() as other:
        for _ in range(8):
            pair = env.pair(user=env.new_user())
            user = flow.add_token(pair.user_id, pair.access_token, pair.refresh_token)
            await flow.flush()
            token = await other.refresh_token(pair.refresh_token)
            assert other.get_token(user.user_id) == (token.access_token, token.refresh_token)
            assert (await user.get_user()).id == user.user_id
            await user.refresh()
            await other.revoke_token(user.token)
            assert user.user_id not in flow.tokens
    assert (env.twitch.counts.exchanges, env.twitch.counts.replays) == (16, 0)


@on_each_store
async def test_revoke_token_of_a_vaulted_one(
    env: Environment, flow: DeviceCodeFlow, user: UserAPI
) -> None:
    """Revoked at Twitch, and gone from the vault when it returns."""
    access_token = user.token
    await flow.revoke_token(access_token)
    assert not env.twitch.is_live(access_token)
    assert user.user_id not in flow.tokens
    assert not await env.storage.holds(access_token)
    with pytest.raises(TokenError):
        await user.get("users")
    with pytest.raises(BadRequest, match="Invalid token") as caught:
        await flow.revoke_token(access_token)
    assert not env.shows_secret(caught.value)


async def test_revoke_token_of_what_is_not_vaulted(env: Environment) -> None:
    """It is revoked, and the vault stays; a refresh token is not revoked, nor an access token
    refreshed; an unknown client is Twitch's 404.
    """
    async with env.device() as flow, env.device(client_id="unknown") as unknown:
        user, other = await env.login(flow), env.pair()
        before = flow.get_token(user.user_id)
        await flow.revoke_token(other.access_token)
        assert not env.twitch.is_live(other.access_token)
        with pytest.raises(BadRequest):
            await flow.revoke_token(env.live()[1])
        with pytest.raises(AuthFailure, match="does not work"):
            await flow.refresh_token(user.token)
        with pytest.raises(NotFound, match="client does not exist"):
            await unknown.revoke_token("token")
        assert flow.get_token(user.user_id) == before
        assert env.twitch.is_live(user.token)
        env.twitch.disconnect(env.client, env.alice)
        await user.revoke()
        assert user.user_id not in flow.tokens, "the goal was reached: the user had disconnected"


async def test_revoke_token_and_a_new_login_meanwhile(env: Environment) -> None:
    """A login that comes while an older token is being revoked is not thrown away with it."""
    async with env.device() as flow:
        user, new = await env.login(flow), env.pair()
        with env.twitch.hold("revoke", when="after") as gate:
            task = asyncio.create_task(flow.revoke_token(user.token))
            await gate.reached()
            await flow.add_user(new.access_token, new.refresh_token)
        await task
        await flow.flush()
        assert flow.get_token(env.alice.user_id) == (new.access_token, new.refresh_token)


async def test_revoke_during_a_refresh(env: Environment) -> None:
    """The pair that the refresh brings is revoked as well: no token outlives its login."""
    async with env.device() as flow:
        user = await env.own_pair(flow)
        gate, refreshing = await env.hold_answer(user)
        revoking = asyncio.create_task(user.revoke())
        gate.release()
        await asyncio.gather(refreshing, revoking)
        pair = env.twitch.live_pair(env.client, env.alice)
        assert pair is None or not env.twitch.is_live(pair.access_token)
        assert user.user_id not in flow.tokens


@pytest.mark.parametrize(
    ("status", "message"), [(400, "invalid client"), (404, "no"), (429, ""), (500, "")]
)
async def test_revoke_token_that_fails(
    env: Environment, flow: DeviceCodeFlow, user: UserAPI, status: int, message: str
) -> None:
    """Any other refusal raises, and what was not revoked stays in the vault."""
    env.twitch.fail("revoke", status=status, body={"status": status, "message": message})
    with pytest.raises(HTTPException):
        await flow.revoke_token(user.token)
    assert user.user_id in flow.tokens


async def test_validate_token(env: Environment) -> None:
    """It returns what Twitch says; the vaulted token's validity, scopes and login follow.

    A token that is not vaulted changes nothing in the vault; a dead one is Unauthorized.
    """
    async with env.device() as flow, env.device() as other:
        pair = env.pair()
        flow.add_token(env.alice.user_id, pair.access_token, pair.refresh_token)
        await flow.validate_token(env.pair().access_token)
        assert env.alice.user_id not in flow.tokens_validity
        with pytest.raises(Unauthorized):
            await flow.validate_token("dead")
        answer = await flow.validate_token(pair.access_token)
        assert (answer.login, answer.user_id) == ("alice", env.alice.user_id)
        assert answer.client_id == env.client.client_id
        assert answer.scopes == ("chat:read",)
        assert answer.raw["expires_in"] == answer.expires_in
        for each in (flow, other):
            assert each.tokens_validity[env.alice.user_id][1] == answer.expires_in
            assert each.users_scopes[env.alice.user_id] == ("chat:read",)
        first = flow.tokens_validity[env.alice.user_id][0]
        env.twitch.rename(env.alice, "alicia")
        await flow.validate_token(pair.access_token)
        assert flow.tokens_validity[env.alice.user_id][0] > first
        assert flow.get_user_by_id(env.alice.user_id).login == "alicia"


async def test_get_token_quota(env: Environment) -> None:
    """The points left as Twitch last said, per user; None while nothing was said."""
    client = env.confidential
    async with env.device(client) as flow:
        user = await env.login(flow, client=client)
        assert flow.get_token_quota(user.user_id) is None
        assert flow.get_token_quota("nobody") is None
        env.twitch.helix_refill = 0.0
        for left in (799, 798):
            await user.get_user()
            assert flow.get_token_quota(user.user_id) == left
        assert flow.application is not None
        await flow.application.get_user(login="alice")
        assert flow.get_token_quota(client.client_id) == 799
        env.twitch.helix_headers = False
        await user.get_user()
        assert flow.get_token_quota(user.user_id) == 798
