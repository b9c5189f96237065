"""An old seed does no harm to a login or a removal after it, nor to a record that is unreadable."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.environment import GARBAGE, NEWER_SCHEMA, Environment, on_each_store, within
from tests.promises.test_old_seeds import ACTS, add_user, refresh_token
from twitchvault import AuthFailure, CorruptRecord, TokenError, TwitchVaultError

if TYPE_CHECKING:
    from tests.promises.test_old_seeds import Act
    from twitchvault import Token
    from twitchvault.testing.fake import Pair


@on_each_store
async def test_removed_and_signed_in_anew(env: Environment) -> None:
    """The old configuration of a user who was removed and came back: the new login stands."""
    seed = env.pair(expired=True)
    async with env.app() as app:
        await add_user(app, seed)
        app.remove_token(seed.user_id)
        await app.flush()
        with pytest.raises(AuthFailure):
            await add_user(app, seed)
        await env.login(app)
        login = app.get_token(seed.user_id)
    for act in ACTS:
        async with env.app() as app:
            await act(app, seed)
    await env.expect(exchanges=1)
    assert await env.stored() == login


@on_each_store
@pytest.mark.parametrize("act", ACTS)
async def test_removed_and_added_again(env: Environment, act: Act) -> None:
    """A removed pair that was never exchanged comes back by each way, and is exchanged once."""
    pair = env.pair(expired=True)
    async with env.app() as app:
        await env.login(app)
        app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        app.remove_token(pair.user_id)
        await app.flush()
        await act(app, pair)
    await env.expect(exchanges=1)


@on_each_store
async def test_a_removal_that_another_process_has_not_heard_of(env: Environment) -> None:
    """An older login is added after it: who still holds the removed one does not bring it back."""
    older, newer = env.pair(), env.pair()
    async with env.app() as app, env.app() as other:
        for pair in (older, newer):
            await add_user(app, pair)
        await other.sync()
        app.remove_token(older.user_id)
        await app.flush()
        await add_user(app, older)
        await other.sync()
        await other.flush()
        assert other.get_token(older.user_id) == (older.access_token, older.refresh_token)
    assert await env.stored() == (older.access_token, older.refresh_token)


@pytest.mark.parametrize("act", ["remove_token", "add_user", "add_token"])
@pytest.mark.parametrize("seeded", [False, True], ids=["own", "seed"])
async def test_somebody_decides_during_an_exchange(
    env: Environment, act: str, seeded: bool
) -> None:
    """Removed, or signed in anew, while the answer is under way: that decision stands.

    The spent token is remembered all the same: coming back from a file, it is not sent.
    """
    spent = env.pair(expired=seeded)
    async with env.app() as app, env.app() as other:
        if seeded:
            user = app.add_token(spent.user_id, spent.access_token, spent.refresh_token)
            await app.flush()
        else:
            user = await app.add_user(spent.access_token, spent.refresh_token)
        gate, call = await env.hold_answer(user)
        login = env.pair()
        if act == "remove_token":
            other.remove_token(user.user_id)
        elif act == "add_token":
            other.add_token(user.user_id, login.access_token, login.refresh_token)
        else:
            await other.add_user(login.access_token, login.refresh_token)
        await other.flush()
        gate.release()
        await expect_decision(call, login, removed=act == "remove_token")
        await app.flush()
        for _ in range(2):
            for bring_back in (add_user, refresh_token):
                with suppress(TwitchVaultError):
                    await bring_back(app, spent)
            if act == "remove_token":
                assert env.refreshes_sent() == 1
                await other.add_user(login.access_token, login.refresh_token)
    assert env.refreshes_sent() == 1
    assert await env.stored() == (login.access_token, login.refresh_token)


async def expect_decision(call: asyncio.Task[Token], login: Pair, *, removed: bool) -> None:
    """The refresh gives what was decided meanwhile."""
    if removed:
        with pytest.raises(TokenError):
            await call
        return
    token = await call
    assert (token.access_token, token.refresh_token) == (login.access_token, login.refresh_token)


@on_each_store
@pytest.mark.parametrize("validated", [False, True])
async def test_an_old_access_token_alone(env: Environment, validated: bool) -> None:
    """An access token without a refresh token takes no pair away that the vault has renewed."""
    async with env.app() as app:
        user = await env.own_pair(app)
        before = app.get_token(user.user_id)
        if validated:
            await app.add_user(env.pair().access_token, None)
        else:
            app.add_token(user.user_id, env.pair(expired=True).access_token, None)
            await app.flush()
        assert app.get_token(user.user_id) == before
        await user.refresh()
        assert app.get_token(user.user_id) == env.live()


@on_each_store
async def test_an_access_token_alone_with_more_scopes(env: Environment) -> None:
    """Twitch says that it may do more than the pair that stands: it replaces that."""
    async with env.app() as app:
        user = await env.login(app)
        wide = env.pair(scopes=["bits:read", "chat:read"])
        await app.add_user(wide.access_token, None)
        assert app.get_token(user.user_id) == (wide.access_token, None)


@on_each_store
@pytest.mark.parametrize("act", [add_user, refresh_token])
async def test_a_record_of_a_newer_version(env: Environment, act: Act) -> None:
    """It may remember the seed as spent, so the seed is not sent, and the record stays."""
    seed = env.pair(expired=True)
    await env.storage.write(env.key(env.alice), NEWER_SCHEMA)
    async with env.app() as app:
        with pytest.raises(CorruptRecord, match=f"{env.alice.user_id!r}.*newest twitchvault"):
            await act(app, seed)
        assert env.refreshes_sent() == 0
    assert await env.storage.read(env.key(env.alice)) == NEWER_SCHEMA


@on_each_store
async def test_damage_that_keeps_one_change_out_of_the_store(env: Environment) -> None:
    """A record that is damaged during its exchange is in the way of no other user's seed."""
    seed = env.pair(user=env.bob, expired=True)
    async with env.app() as app:
        user = await env.login(app)
        gate, call = await env.hold_answer(user)
        await env.storage.write(env.key(env.alice), GARBAGE)
        gate.release()
        await asyncio.wait((call,))
        await within(add_user(app, seed))
        assert (await app.get_user_by_id(env.bob.user_id).get_user()).login == "bob"
        with pytest.raises(CorruptRecord):
            await app.flush()
        await env.login(app)
