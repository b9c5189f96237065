"""A refresh token that Twitch refuses: its user has to sign in again, and every process knows."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.environment import INVALID, REFRESH, on_each_store, within
from twitchvault import AuthFailure, TokenError

if TYPE_CHECKING:
    from tests.environment import Environment

INVALID_GRANT = {"error": "invalid_grant", "error_description": "revoked"}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, INVALID),
        (401, INVALID),
        (400, {"error": "Bad Request", "status": 400, "message": "invalid refresh token"}),
        (400, INVALID_GRANT),
        (401, INVALID_GRANT),
    ],
)
async def test_refused(env: Environment, status: int, body: dict[str, Any]) -> None:
    """One try, then AuthFailure without a request; an access token that lives goes on being used.

    Once that is refused, too, every call fails at once. A restart changes nothing.
    """
    async with env.app() as app, env.app() as other:
        user = await env.own_pair(app)
        user_id, since = user.user_id, env.asked()
        env.twitch.fail(REFRESH, status=status, body=body)
        for each in (app, other, app):
            handle = each.get_user_by_id(user_id)
            with pytest.raises(AuthFailure, match="sign in again"):
                await handle.refresh()
            assert dict(each.needs_login) == {user_id: handle.needs_login}
            assert "refused" in each.needs_login[user_id]
        assert env.log("token", "validate", since=since) == [("token", status)]
        assert (await user.get_user()).login == "alice"
        env.twitch.expire_access(user.token)
        with pytest.raises(AuthFailure):
            await user.get_user()
        asked = env.asked()
        for handle in (user, other.get_user_by_id(user_id)):
            with pytest.raises(AuthFailure):
                await handle.get_user()
    async with env.app() as app:
        for call in (app.get_user_by_id(user_id).refresh, app.get_user_by_id(user_id).get_user):
            with pytest.raises(AuthFailure, match="refused"):
                await call()
    assert env.asked() == asked


@on_each_store
@pytest.mark.parametrize("status", [400, 401])
async def test_refused_to_many_callers(
    env: Environment, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """All calls of two processes get AuthFailure; the log says once who has to sign in, and why."""
    env.twitch.switch(env.public, dead_refresh_status=status)
    async with env.app() as one, env.app() as two:
        user = await env.login(one)
        handles = (user, two.get_user_by_id(user.user_id))
        env.twitch.disconnect(env.public, env.alice)
        calls = (handle.get("users") for handle in handles * 5)
        results = await within(asyncio.gather(*calls, return_exceptions=True))
        assert {type(result) for result in results} == {AuthFailure}
        assert not env.shows_secret(results[0])
        assert one.get_token(user.user_id) is not None
    counts = env.twitch.counts
    assert (counts.refused_refreshes, counts.replays) == (1, 0)
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.getMessage() == (
        f"user {user.user_id!r} has to sign in again: "
        f"Twitch refused the refresh token ({status}: Invalid refresh token)"
    )


async def test_the_refused_pair_does_not_heal(env: Environment) -> None:
    """Brought again, by whichever way, it is the same AuthFailure and no new login."""
    pair = env.pair()
    async with env.app() as app:
        user = await app.add_user(pair.access_token, pair.refresh_token)
        env.twitch.disconnect(env.public, env.alice)
        for _ in range(2):
            with pytest.raises(AuthFailure, match="sign in again"):
                await app.refresh_token(pair.refresh_token)
        with pytest.raises(AuthFailure):
            await app.add_user(pair.access_token, pair.refresh_token)
        app.add_token(user.user_id, pair.access_token, pair.refresh_token)
        with pytest.raises(AuthFailure):
            await user.refresh()
    assert env.refreshes_sent() == 1


async def test_a_token_that_twitch_confirms_is_used_again(env: Environment) -> None:
    """Refused by a fault of the service, then validated by `add_user`: calls go out again."""
    pair = env.pair()
    async with env.app() as app:
        user = await app.add_user(pair.access_token, pair.refresh_token)
        env.twitch.switch(env.public, false_invalid_refresh=1)
        body = {"error": "Unauthorized", "status": 401, "message": "Invalid OAuth token"}
        env.twitch.fail("helix:users", status=401, body=body)
        with pytest.raises(AuthFailure):
            await user.get("users")
        user = await app.add_user(pair.access_token, pair.refresh_token)
        assert (await user.get_user()).login == "alice"


@on_each_store
@pytest.mark.parametrize("how", ["add_user", "add_token", "expired pair"])
async def test_a_new_login_heals(env: Environment, how: str) -> None:
    """After a new login all goes on, in the other process as well and after a restart."""
    async with env.app() as one, env.app() as two:
        user = await env.login(one)
        env.twitch.disconnect(env.public, env.alice)
        with pytest.raises(AuthFailure):
            await user.get("users")
        pair = env.pair(expired=how == "expired pair")
        if how == "add_token":
            one.add_token(user.user_id, pair.access_token, pair.refresh_token)
            await one.flush()
        else:
            await one.add_user(pair.access_token, pair.refresh_token)
        for app in (one, two):
            handle = app.get_user_by_id(user.user_id)
            assert (await handle.get_user()).login == "alice"
            assert handle.needs_login is None
            assert dict(app.needs_login) == {}
        env.twitch.expire_access(user.token)
        assert (await user.get_user()).login == "alice"
    async with env.app() as app:
        assert (await app.get_user_by_id(user.user_id).get_user()).login == "alice"
    await env.expect()


async def test_without_a_refresh_token(env: Environment) -> None:
    """A dead access token without a refresh token needs a login; a living one does not."""
    async with env.app() as app:
        pair = env.pair()
        user = app.add_token(env.alice.user_id, pair.access_token, None)
        with pytest.raises(TokenError, match="no refresh token"):
            await user.refresh()
        assert user.needs_login is None, "nobody has refused this access token"
        env.twitch.expire_access(env.alice)
        with pytest.raises(AuthFailure):
            await user.get_user()
        assert user.needs_login
    assert env.refreshes_sent() == 0


@pytest.mark.parametrize("same_access", [True, False])
async def test_refused_while_a_newer_pair_came(env: Environment, same_access: bool) -> None:
    """A refused refresh token says nothing of a newer one, even under the same access token."""
    async with env.app() as app, env.app() as other:
        user = await env.login(app)
        access_token = user.token
        gate = env.twitch.hold(REFRESH)
        env.twitch.fail(REFRESH, status=400, body=INVALID)
        call = asyncio.create_task(user.refresh())
        await gate.reached()
        login = env.pair()
        newer = access_token if same_access else login.access_token
        other.add_token(user.user_id, newer, login.refresh_token)
        await other.flush()
        gate.release()
        if same_access:
            await within(asyncio.gather(call, return_exceptions=True))
        else:
            assert (await within(call)).access_token == login.access_token
        assert user.needs_login is None
        await user.refresh()
    await env.expect(exchanges=1)
