"""needs_login: marked, healed, replaced; and whose decision stands when two meet."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from twitchvault import AuthFailure, TokenError, TwitchVaultError
from twitchvault.vault.changes import refused
from twitchvault.vault.record import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from twitchvault import App, MemoryStore
    from twitchvault.stores.base import TokenStore
    from twitchvault.testing.fake import Pair
    from twitchvault.vault.events import VaultEvent

    from .world import World

TOKEN = "token:refresh_token"
INVALID = {"status": 400, "message": "Invalid refresh token"}


@pytest.fixture(params=["seed", "own"])
def seeded(request: pytest.FixtureRequest) -> bool:
    """Whether the pair came from outside or was got by the vault itself."""
    return bool(request.param == "seed")


async def vaulted(world: World, app: App, *, seeded: bool) -> Pair:
    """A live pair in the vault."""
    pair = world.issue()
    user = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    if not seeded:
        await user.refresh()
    await app.flush()
    own = world.twitch.live_pair(world.client, pair.user_id)
    assert own is not None
    return own


async def test_marked_while_the_exchange_is_out(
    world: World, store: TokenStore, seeded: bool
) -> None:
    """A loser marks needs_login; the owner's answer comes home later and heals it."""
    async with world.app(store) as app:
        pair = await vaulted(world, app, seeded=seeded)
        gate, call = await world.committed(app.get_user_by_id(pair.user_id))
        record = await world.record(store, pair.user_id)
        assert record is not None
        marked = refused(record, record, "a loser thought so")
        assert marked is not None
        await store.put(world.key(pair.user_id), encode(marked))
        gate.release()
        token = await call
        assert (token.access_token, token.refresh_token) == world.live(pair.user_id)
        await app.flush()
    record = await world.record(store, pair.user_id)
    assert record is not None
    assert (record.state, record.reason, record.lease) == ("live", "", None)
    assert tuple(record.pair) == world.live(pair.user_id)


async def test_removed_during_the_exchange(world: World, store: TokenStore, seeded: bool) -> None:
    """A user who was removed meanwhile does not come back."""
    async with world.app(store) as app, world.app(store) as other:
        pair = await vaulted(world, app, seeded=seeded)
        gate, call = await world.committed(app.get_user_by_id(pair.user_id))
        other.remove_token(pair.user_id)
        await other.flush()
        gate.release()
        with pytest.raises(TokenError):
            await call
        await app.flush()
        await other.sync()
        for each in (app, other):
            assert each.get_token(pair.user_id) is None
            assert pair.user_id not in each.tokens
    async with world.app(store) as late:
        assert pair.user_id not in late.tokens


@pytest.mark.parametrize("how", ["add_user", "add_token"])
async def test_signed_in_anew_during_the_exchange(
    world: World, store: TokenStore, seeded: bool, how: str
) -> None:
    """A new login that came meanwhile stands, for the caller of the refresh too."""
    async with world.app(store) as app, world.app(store) as other:
        pair = await vaulted(world, app, seeded=seeded)
        gate, call = await world.committed(app.get_user_by_id(pair.user_id))
        login = world.twitch.issue(world.client, pair.user_id)
        if how == "add_user":
            await other.add_user(login.access_token, login.refresh_token)
        else:
            other.add_token(pair.user_id, login.access_token, login.refresh_token)
            await other.flush()
        gate.release()
        token = await call
        assert (token.access_token, token.refresh_token) == (
            login.access_token,
            login.refresh_token,
        )
        await app.flush()
    assert await world.stored(store, pair.user_id) == (login.access_token, login.refresh_token)
    assert world.twitch.counts.replays == 0


async def test_a_refusal_of_the_former_refresh_token(
    world: World, memory: MemoryStore, seeded: bool
) -> None:
    """A refused refresh token says nothing of another that came with the same access token."""
    async with world.app(memory) as app:
        pair = await vaulted(world, app, seeded=seeded)
        user = app.get_user_by_id(pair.user_id)
        gate = world.twitch.hold(TOKEN)
        world.twitch.fail(TOKEN, status=400, body=INVALID)
        call = asyncio.create_task(user.refresh())
        await gate.reached()
        login = world.twitch.issue(world.client, pair.user_id)
        app.add_token(pair.user_id, pair.access_token, login.refresh_token)
        await app.flush()
        gate.release()
        with suppress(AuthFailure):
            await call
        await user.refresh()
    record = await world.record(memory, pair.user_id)
    assert record is not None
    assert record.state == "live"
    assert tuple(record.pair) == world.live(pair.user_id)


async def test_a_newer_pair_wins_over_a_refusal(world: World, memory: MemoryStore) -> None:
    """Refused, but somebody has written a newer pair meanwhile: that one is used."""
    async with world.app(memory) as app:
        pair = await vaulted(world, app, seeded=False)
        gate = world.twitch.hold(TOKEN)
        world.twitch.fail(TOKEN, status=400, body=INVALID)
        call = asyncio.create_task(app.get_user_by_id(pair.user_id).refresh())
        await gate.reached()
        login = world.twitch.issue(world.client, pair.user_id)
        await app.add_user(login.access_token, login.refresh_token)
        gate.release()
        token = await call
        assert token.access_token == login.access_token
    assert await world.stored(memory, pair.user_id) == (login.access_token, login.refresh_token)


async def test_all_processes_know(world: World, store: TokenStore) -> None:
    """One refusal is AuthFailure everywhere, without one more request, until a login comes."""
    async with world.app(store) as app, world.app(store) as other:
        pair = await vaulted(world, app, seeded=False)
        world.twitch.disconnect(world.client, pair.user_id)
        await other.sync()
        sent = world.sent()
        for each in (app, other, app, other):
            user = each.get_user_by_id(pair.user_id)
            for call in (user.get_user, user.refresh):
                with pytest.raises(AuthFailure, match="sign in again"):
                    await call()
            await other.sync()
        assert world.sent() == sent + 1
        with pytest.raises(AuthFailure):
            await other.refresh_token(pair.refresh_token)
        login = world.twitch.issue(world.client, pair.user_id)
        await other.add_user(login.access_token, login.refresh_token)
        await app.sync()
        for each in (app, other):
            assert (await each.get_user_by_id(pair.user_id).get_user()).id == pair.user_id
    assert world.sent() == sent + 1


async def test_no_refresh_token(world: World, memory: MemoryStore) -> None:
    """A dead access token without a refresh token needs a login; a living one does not."""
    async with world.app(memory) as app:
        pair = world.issue()
        user = app.add_token(pair.user_id, pair.access_token, None)
        with pytest.raises(TwitchVaultError):
            await user.refresh()
        record = await world.record(memory, pair.user_id)
        assert record is not None
        assert record.state == "live", "nobody has refused this access token"
        world.twitch.expire_access(pair.user_id)
        with pytest.raises(AuthFailure):
            await user.get_user()
        record = await world.record(memory, pair.user_id)
        assert record is not None
        assert record.state == "needs_login"
    assert world.sent() == 0


async def test_events(world: World, memory: MemoryStore) -> None:
    """Each change is told once, with its origin, to those who wrote and to those who read."""
    async with world.app(memory) as app, world.app(memory) as other:
        mine, theirs = app.events(), other.events()
        pair = world.issue()
        await app.add_user(pair.access_token, pair.refresh_token)
        user = app.get_user_by_id(pair.user_id)
        await user.refresh()
        world.twitch.disconnect(world.client, pair.user_id)
        with pytest.raises(AuthFailure):
            await user.refresh()
        login = world.twitch.issue(world.client, pair.user_id)
        await app.add_user(login.access_token, login.refresh_token)
        await app.validate_token(login.access_token)
        app.remove_token(pair.user_id)
        await app.flush()
        await other.sync()
    told = [await _all(stream) for stream in (mine, theirs)]
    kinds = ["added", "refreshed", "needs_login", "added", "validated", "removed"]
    for events, origin in zip(told, ("local", "remote"), strict=True):
        assert [event.kind for event in events] == kinds
        assert {event.origin for event in events} == {origin}
        assert {event.user_id for event in events} == {pair.user_id}
        assert [bool(event.reason) for event in events] == [kind == "needs_login" for kind in kinds]


async def _all(stream: AsyncIterator[VaultEvent]) -> list[VaultEvent]:
    return [event async for event in stream]


async def test_without_the_secret(worlds: Callable[..., World], memory: MemoryStore) -> None:
    """A process that lacks the client secret does not stop one that has it from renewing."""
    world = worlds(public=False)
    async with world.app(memory) as app:
        assert app.application is not None
        token = app.tokens[world.client.client_id][0]
        world.twitch.kill_app_tokens(world.client)
        bare = world.app(memory, client_secret=None)
        await bare.authorize()
        with suppress(TwitchVaultError):
            await bare.authorize(token=token)
        if bare.application is not None:
            with suppress(TwitchVaultError):
                await bare.application.refresh()
        await bare.close()
        pair = world.issue()
        assert (await app.application.get_user(user_id=pair.user_id)).id == pair.user_id
    async with world.app(memory) as app:
        assert app.application is not None
