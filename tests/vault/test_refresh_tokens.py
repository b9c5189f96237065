"""Refresh tokens that are vaulted, spent, or live on: which are sent and which are not."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from twitchvault import AuthFailure

from .test_seeds import add_user, checked

if TYPE_CHECKING:
    from collections.abc import Callable

    from twitchvault import MemoryStore
    from twitchvault.stores.base import TokenStore

    from .world import World


async def test_an_access_token_that_outlived_its_refresh_token(
    worlds: Callable[..., World], memory: MemoryStore
) -> None:
    """A spent pair whose access token still works may be used again, its refresh token may not."""
    world = worlds(public=False, refresh_kills_access=False)
    pair = world.issue()
    async with world.app(memory) as app:
        user = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await user.refresh()
        world.twitch.switch(world.client, false_invalid_refresh=1)
        with pytest.raises(AuthFailure):
            await user.refresh()
        await add_user(app, pair)
        world.twitch.expire_access(pair.user_id)
        with suppress(AuthFailure):
            await user.get_user()
    assert world.twitch.counts.replays == 0


@pytest.mark.parametrize("what", ["add_user", "add_token"])
async def test_a_refresh_token_that_stays_the_same(
    worlds: Callable[..., World], memory: MemoryStore, what: str
) -> None:
    """Where Twitch gives back the same refresh token, it is not spent: removed, added, renewed."""
    world = worlds(public=False, confidential_refresh="same")
    pair = world.issue()
    async with world.app(memory) as app:
        await add_user(app, pair)
        await app.get_user_by_id(pair.user_id).refresh()
        live = world.live(pair.user_id)
        assert live[1] == pair.refresh_token
        app.remove_token(pair.user_id)
        await app.flush()
        if what == "add_user":
            await app.add_user(*live)
        else:
            app.add_token(pair.user_id, *live)
        assert app.get_token(pair.user_id) == live
        world.twitch.expire_access(pair.user_id)
        assert (await app.get_user_by_id(pair.user_id).get_user()).id == pair.user_id
    assert await world.stored(memory, pair.user_id) == world.live(pair.user_id)


async def test_a_vaulted_token_of_another_process(world: World, sqlite: TokenStore) -> None:
    """`refresh_token` of what another process has just vaulted goes through the vault."""
    async with world.app(sqlite) as first, world.app(sqlite) as second:
        for _ in range(5):
            pair = world.issue()
            await add_user(first, pair)
            token = await second.refresh_token(pair.refresh_token)
            await first.sync()
            assert first.tokens[pair.user_id] == (token.access_token, token.refresh_token)
    assert world.twitch.counts.replays == 0


async def test_refresh_tokens_of_the_vault(world: World, store: TokenStore) -> None:
    """The vault's own, asked for by fifty tasks of two flows: one exchange; a spent one: none."""
    pair = world.issue()
    async with world.app(store) as first, world.app(store) as second:
        await add_user(first, pair)
        await second.sync()
        asked = [app.refresh_token(pair.refresh_token) for app in (first, second) * 25]
        tokens = {token.access_token for token in await asyncio.gather(*asked)}
        assert tokens == {world.live(pair.user_id)[0]}
        again = await first.refresh_token(pair.refresh_token)
        assert again.access_token in tokens
    await checked(world, store, pair, 1)
