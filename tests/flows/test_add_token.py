"""`add_token`: shown at once, written in the background, from wherever it is called."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from tests.world import within
from twitchvault import UserAPI

if TYPE_CHECKING:
    from tests.world import World
    from twitchvault import DeviceCodeFlow


async def test_add_token_shows_at_once(world: World) -> None:
    """It asks nobody, returns a UserAPI, shows at once and is durable after `flush()`."""
    async with world.device() as flow:
        before = len(world.twitch.requests)
        user = flow.add_token(world.alice.user_id, "access", "refresh")
        assert isinstance(user, UserAPI)
        assert user.user_id == world.alice.user_id
        assert (user.token, user.login, user.scopes) == ("access", None, ())
        assert flow.get_token(user.user_id) == ("access", "refresh")
        assert flow.get_user_by_id(user.user_id) == user
        await flow.flush()
        assert await world.place.read(world.key(world.alice)) is not None
        assert len(world.twitch.requests) == before


async def test_add_token_before_authorize(world: World) -> None:
    """It works without an event loop at all; the write goes out once the flow is open."""
    flow = world.device()
    await asyncio.to_thread(flow.add_token, "1", "access", None)
    assert flow.get_token("1") == ("access", None)
    assert await world.place.read(world.key("1")) is None
    await flow.authorize()
    assert flow.get_token("1") == ("access", None)
    await flow.flush()
    assert await world.place.read(world.key("1")) is not None


async def test_add_token_before_authorize_replaces_what_is_stored(world: World) -> None:
    """A pair added before opening is newer than what the store holds."""
    async with world.device() as flow:
        flow.add_token("1", "old", "old-refresh")
    flow = world.device()
    flow.add_token("1", "new", "new-refresh")
    await flow.authorize()
    assert flow.get_token("1") == ("new", "new-refresh")
    await flow.flush()
    async with world.device() as other:
        assert other.get_token("1") == ("new", "new-refresh")


async def test_add_token_in_a_thread_of_its_own(world: World) -> None:
    """From a sync endpoint's thread it works, or it is refused and nothing is half done."""
    async with world.device() as flow:
        refused = False
        try:
            await asyncio.to_thread(flow.add_token, "1", "access", None)
        except RuntimeError:
            refused = True
        gc.collect()
        assert (flow.get_token("1") is None) == refused
        await within(flow.flush())
        stored = await world.place.read(world.key("1"))
        assert (stored is not None) == ("1" in flow.tokens)


async def test_add_token_on_another_event_loop(world: World) -> None:
    """From a thread with a loop of its own it works, or is refused; nothing is half done."""

    async def add(flow: DeviceCodeFlow) -> None:
        flow.add_token("1", "access", None)

    async with world.device() as flow:
        refused = False
        try:
            await asyncio.to_thread(lambda: asyncio.run(add(flow)))
        except RuntimeError:
            refused = True
        gc.collect()
        assert (flow.get_token("1") is None) == refused
        await within(flow.flush())
        stored = await world.place.read(world.key("1"))
        assert (stored is not None) == ("1" in flow.tokens)


@pytest.mark.parametrize(
    "user_id",
    ["a:b", "x/seed/y", "ä ö\n", "%00", "\x00", "{}*?[a]", "../x", "0", "a" * 400, "🦊" * 100],
)
async def test_strange_names_and_tokens(world: World, user_id: str) -> None:
    """Whatever a user is called and whatever a token looks like, both survive a restart."""
    access, refresh = "%2F=&+'\"\\🦊", "ü/=%" + "x" * 2000
    async with world.device() as flow:
        flow.add_token(user_id, access, refresh)
        flow.add_token(user_id + "1", "neighbour", None)
    async with world.device() as flow:
        assert flow.get_token(user_id) == (access, refresh)
        flow.remove_token(user_id)
        await flow.flush()
        assert flow.get_token(user_id + "1") == ("neighbour", None)
    async with world.device() as flow:
        assert flow.get_token(user_id) is None


async def test_add_token_of_a_spent_pair(world: World) -> None:
    """A pair exchanged since yields the vaulted pair: an old configuration does no harm."""
    pair = world.pair(world.public)
    async with world.device(world.public) as flow:
        user = flow.add_token(world.alice.user_id, pair.access_token, pair.refresh_token)
        await user.refresh()
    for _ in range(2):
        flow = world.device(world.public)
        user = flow.add_token(world.alice.user_id, pair.access_token, pair.refresh_token)
        await flow.authorize()
        await flow.flush()
        assert user.token != pair.access_token
        assert (await user.get_user()).login == "alice"
        await user.refresh()
        await flow.close()
    assert world.twitch.counts.replays == 0
