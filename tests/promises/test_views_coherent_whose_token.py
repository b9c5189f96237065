"""No view calls a token good that is somebody else's, and lost scopes are an event."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

import pytest

from tests.environment import Environment, listening, on_each_store, until
from twitchvault import AuthFailure, TwitchVaultError

if TYPE_CHECKING:
    from twitchvault import App


async def validate(app: App, user_id: str, how: str) -> None:
    """Have the token of a user validated."""
    if how == "background":
        await until(lambda: user_id in app.needs_login or user_id in app.tokens_validity)
    else:
        with suppress(TwitchVaultError):
            await app.get_user_by_id(user_id).validate()


@on_each_store
@pytest.mark.parametrize("how", ["background", "asked for"])
@pytest.mark.parametrize("whose", ["another user", "another client"])
async def test_somebody_elses_token(env: Environment, whose: str, how: str) -> None:
    """A validation compares whose token it is: no view calls it good, and it is not used."""
    client = env.confidential if whose == "another client" else env.client
    user = env.alice if whose == "another client" else env.bob
    pair = env.pair(client, user)
    alice = env.alice.user_id
    async with env.app(maintain=how == "background") as app, env.app() as other:
        app.add_token(alice, pair.access_token, pair.refresh_token)
        await app.flush()
        await validate(app, alice, how)
        await app.flush()
        for each in (app, other):
            assert alice not in each.tokens_validity
            assert alice not in each.users_scopes
            reason = each.needs_login[alice]
            assert whose.removeprefix("another ") in reason
            api = each.get_user_by_id(alice)
            for call in (api.get_user(), api.renew("another"), api.renew(pair.access_token)):
                with pytest.raises(AuthFailure):
                    await call
        assert env.refreshes_sent() == 0
        await env.login(app)
        assert (await app.get_user_by_id(alice).get_user()).login == "alice"


@on_each_store
async def test_somebody_elses_expired_pair(env: Environment) -> None:
    """The first call renews it, sees whose it is, and is not made in the wrong name."""
    pair = env.pair(user=env.bob, expired=True)
    alice = env.alice.user_id
    async with env.app() as app:
        user = app.add_token(alice, pair.access_token, pair.refresh_token)
        for _ in range(2):
            with pytest.raises(AuthFailure, match="belongs to user"):
                await user.get_user()
        with pytest.raises(AuthFailure, match="belongs to user"):
            await user.refresh()
        assert alice in app.needs_login
        assert alice not in app.users_scopes
        assert env.refreshes_sent() == 1
        assert env.log("helix") == [("helix", 401)]


@on_each_store
@pytest.mark.parametrize("spent", [False, True])
async def test_a_pair_that_came_under_another_users_id_first(env: Environment, spent: bool) -> None:
    """It is nobody else's for that: not even when the other user has signed in since.

    If it was exchanged under the wrong id, the error says so.
    """
    pair = env.pair(user=env.bob, expired=spent)
    alice, bob = env.alice.user_id, env.bob.user_id
    async with env.app() as app:
        user = app.add_token(alice, pair.access_token, pair.refresh_token)
        with pytest.raises(AuthFailure) if spent else nullcontext():
            await user.refresh() if spent else await user.validate()
        await env.login(app)
        env.twitch.expire_access(pair.access_token)
        for bring in (
            lambda: app.refresh_token(pair.refresh_token),
            lambda: app.add_user(pair.access_token, pair.refresh_token),
        ):
            with pytest.raises(AuthFailure, match="does not belong") if spent else nullcontext():
                await bring()
            assert app.get_token(alice) == env.live()
        assert app.get_token(bob) == (None if spent else env.live(env.bob))
    assert (env.twitch.counts.exchanges, env.twitch.counts.replays) == (1, 0)


# Events


@on_each_store
@pytest.mark.parametrize("how", ["add_user", "add_token"])
async def test_a_login_that_brings_fewer_scopes(env: Environment, how: str) -> None:
    """The wider pair is replaced, and every process gets an event with the scopes that are lost.

    A login that brings more scopes gives none.
    """
    async with env.app() as app, env.app() as other:
        await env.login(app)
        await other.sync()  # it has the first login behind it
        listeners = {"local": await listening(app), "remote": await listening(other)}
        wide = env.pair(scopes=["bits:read", "chat:edit", "chat:read"])
        await app.add_user(wide.access_token, wide.refresh_token)
        await other.sync()
        for listener in listeners.values():
            assert (await listener.next()).kind == "added"
            assert listener.events == []
        narrow = env.pair(scopes=["chat:read"])
        if how == "add_user":
            await app.add_user(narrow.access_token, narrow.refresh_token)
        else:
            user = app.add_token(narrow.user_id, narrow.access_token, narrow.refresh_token)
            await user.validate()
        await app.flush()
        for origin, listener in listeners.items():
            event = await listener.next("scopes_lost")
            assert (event.user_id, event.origin) == (narrow.user_id, origin)
            assert "bits:read" in event.reason
            assert "chat:edit" in event.reason
            assert "chat:read" not in event.reason
        assert app.users_scopes[narrow.user_id] == ("chat:read",)
