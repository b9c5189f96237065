"""A caller that is cancelled, at every single step: no rotated pair is lost, none replayed."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import aiohttp
import pytest

from twitchvault.vault.record import decode

from .steps import steps

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twitchvault import App, MemoryStore
    from twitchvault.stores.base import TokenStore
    from twitchvault.testing.fake import Pair

    from .world import World

Act: TypeAlias = "Callable[[App, Pair], Coroutine[Any, Any, object]]"


async def seed_refresh(app: App, pair: Pair) -> object:
    """A pair from outside, refreshed for the first time."""
    return await app.add_token(pair.user_id, pair.access_token, pair.refresh_token).refresh()


async def own_refresh(app: App, pair: Pair) -> object:
    """A pair that the vault has got by itself, refreshed."""
    return await app.get_user_by_id(pair.user_id).refresh()


async def helix_call(app: App, pair: Pair) -> object:
    """A call with a dead access token."""
    return await app.get_user_by_id(pair.user_id).get_user()


async def by_refresh_token(app: App, pair: Pair) -> object:
    """The reference's way: a refresh token that is vaulted."""
    return await app.refresh_token(pair.refresh_token)


async def add_user(app: App, pair: Pair) -> object:
    """A login with a dead access token."""
    return await app.add_user(pair.access_token, pair.refresh_token)


async def prepared(world: World, app: App, act: Act) -> Pair:
    """A pair in the state that an act begins with."""
    if act is add_user:
        return world.issue_expired()
    pair = world.issue()
    if act is seed_refresh:
        return pair
    user = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    await user.refresh()
    if act is helix_call:
        world.twitch.expire_access(user.token)
    own = world.twitch.live_pair(world.client, pair.user_id)
    assert own is not None
    return own


async def cancelled_at(world: World, store: TokenStore, act: Act, at: int) -> bool:
    """Carry an act out and cancel its caller at a step; whether it ended before that step."""
    with steps(at) as counter:
        async with world.app(store, connector=aiohttp.TCPConnector(force_close=True)) as app:
            pair = await prepared(world, app, act)
            counter.victim = asyncio.create_task(act(app, pair))
            with suppress(asyncio.CancelledError):
                await counter.victim
            # Closing waits for what is under way.
        finished = not counter.victim.cancelled()
    exchanged = world.live(pair.user_id) != (pair.access_token, pair.refresh_token)
    record = await world.record(store, pair.user_id)
    if record is not None or exchanged:
        assert record is not None, f"cancelled at step {at}: the rotated pair is not with its user"
        assert tuple(record.pair) == world.live(pair.user_id), f"cancelled at step {at}: pair lost"
        assert record.lease is None, f"cancelled at step {at}: the lease was left behind"
    assert world.twitch.counts.replays == 0
    return finished


@pytest.mark.parametrize("act", [seed_refresh, own_refresh, helix_call, by_refresh_token, add_user])
async def test_cancelled_at_every_step(world: World, memory: MemoryStore, act: Act) -> None:
    """Whenever the caller is cancelled, the rotated pair is in the store under its user."""
    await walk(world, memory, act)


@pytest.mark.parametrize("act", [own_refresh, add_user])
async def test_cancelled_at_every_step_over_a_file(
    world: World, sqlite: TokenStore, act: Act
) -> None:
    """The same over SQLite, where every look into the store is a step."""
    await walk(world, sqlite, act)


async def walk(world: World, store: TokenStore, act: Act) -> None:
    """Cancel at step 0, 1, 2, ... until the act is through before it is cancelled."""
    world.twitch.delay("token", headers=0.002, body=0.002)
    for at in itertools.count():
        if await cancelled_at(world, store, act, at):
            break
    assert at > 5, "the walk saw only a few steps: it does not look where it should"


@pytest.mark.parametrize("act", [own_refresh, add_user])
async def test_all_but_one_caller_cancelled(world: World, memory: MemoryStore, act: Act) -> None:
    """Fifty callers share the exchange; those who stay get its result."""
    async with world.app(memory) as app:
        pair = await prepared(world, app, act)
        before = world.twitch.counts.exchanges
        gate = world.twitch.hold("token:refresh_token", when="after")
        callers = [asyncio.create_task(act(app, pair)) for _ in range(50)]
        await gate.reached()
        for caller in callers[:-1]:
            caller.cancel()
        await asyncio.wait(callers[:-1])
        gate.release()
        await callers[-1]
        assert app.tokens[pair.user_id] == world.live(pair.user_id)
    assert await world.stored(memory, pair.user_id) == world.live(pair.user_id)
    assert world.twitch.counts.exchanges == before + 1
    assert world.twitch.counts.replays == 0


@pytest.mark.parametrize("act", [seed_refresh, own_refresh, add_user])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_close_waits_for_an_exchange(
    world: World, store: TokenStore, act: Act, when: Literal["before", "after"]
) -> None:
    """`close()` brings an exchange home whose caller has gone."""
    app = world.app(store)
    await app.authorize()
    pair = await prepared(world, app, act)
    gate = world.twitch.hold("token:refresh_token", when=when)
    caller = asyncio.create_task(act(app, pair))
    await gate.reached()
    caller.cancel()
    closing = asyncio.create_task(app.close())
    await asyncio.wait({closing}, timeout=0.05)
    assert not closing.done()
    gate.release()
    await closing
    assert await world.stored(store, pair.user_id) == world.live(pair.user_id)
    assert world.live(pair.user_id)[1] != pair.refresh_token


@pytest.mark.parametrize("act", [seed_refresh, own_refresh, add_user])
async def test_close_cancelled_during_an_exchange(
    world: World, memory: MemoryStore, act: Act
) -> None:
    """`wait_for(app.close(), ...)` that runs out during an exchange does not lose the new pair."""
    app = world.app(memory, lease_ttl=4)
    await app.authorize()
    pair = await prepared(world, app, act)
    gate = world.twitch.hold("token:refresh_token", when="after")
    caller = asyncio.create_task(act(app, pair))
    await gate.reached()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(app.close(), 0.1)
    gate.release()
    await asyncio.wait({caller}, timeout=5)
    caller.exception()
    await app.close()
    assert await world.stored(memory, pair.user_id) == world.live(pair.user_id)
    assert world.twitch.counts.replays == 0


async def test_close_cancelled_at_every_step(world: World, memory: MemoryStore) -> None:
    """However far `close()` came before it was cancelled, a second one ends well, all is stored."""
    for at in itertools.count():
        with steps(at) as counter:
            app = world.app(memory)
            await app.authorize()
            pair = await prepared(world, app, own_refresh)
            gate = world.twitch.hold("token:refresh_token", when="after")
            caller = asyncio.create_task(own_refresh(app, pair))
            await gate.reached()
            counter.victim = asyncio.create_task(app.close())
            await asyncio.sleep(0)
            gate.release()
            with suppress(asyncio.CancelledError):
                await counter.victim
            finished = not counter.victim.cancelled()
            await asyncio.wait({caller})
            await app.close()
        assert await world.stored(memory, pair.user_id) == world.live(pair.user_id), f"step {at}"
        if finished:
            break
    assert at > 3


async def test_authorize_cancelled_at_every_step(world: World, store: TokenStore) -> None:
    """A cancelled `authorize()` can be repeated, and closing after it ends at once."""
    pair = world.issue()
    for at in itertools.count():
        with steps(at) as counter:
            app = world.app(store)
            app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
            counter.victim = asyncio.create_task(app.authorize())
            with suppress(asyncio.CancelledError):
                await counter.victim
            finished = not counter.victim.cancelled()
            async with asyncio.timeout(2):
                await app.authorize()
                await app.sync()
                assert app.tokens[pair.user_id] == (pair.access_token, pair.refresh_token)
                await app.close()
        if finished:
            break
    assert at > 0
    entry = await store.get(world.key(pair.user_id))
    assert entry is not None
    assert decode(entry.value, pair.user_id).refresh_token == pair.refresh_token


async def test_flush_cancelled(world: World, memory: MemoryStore) -> None:
    """A cancelled `flush()` takes nothing back: the next one finds all written."""
    pair = world.issue()
    for at in itertools.count():
        with steps(at) as counter:
            async with world.app(memory) as app:
                app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
                counter.victim = asyncio.create_task(app.flush())
                with suppress(asyncio.CancelledError):
                    await counter.victim
                await app.flush()
                assert await world.stored(memory, pair.user_id) is not None
            finished = not counter.victim.cancelled()
        app = world.app(memory)
        async with app:
            app.remove_token(pair.user_id)
            await app.flush()
        if finished:
            break
    assert at > 0
