"""`clear()` and `close()`: what they keep, what they end, and that nothing is lost on the way."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.own_stores import OwnStore
from tests.world import our_tasks, until, within
from twitchvault import DeviceCodeFlow, StoreError, TokenError, TwitchVaultError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.world import World
    from twitchvault import UserAPI
    from twitchvault.testing.fake import Pair


async def _with_alice(world: World, flow: DeviceCodeFlow) -> tuple[UserAPI, Pair]:
    pair = world.pair(world.public)
    await flow.authorize()
    return await flow.add_user(pair.access_token, pair.refresh_token), pair


async def test_clear_forgets_here_and_keeps_there(world: World) -> None:
    """After `clear()` the flow knows nothing; the store keeps all; `authorize()` begins anew."""
    flow = world.device(world.public)
    user, pair = await _with_alice(world, flow)
    await user.get_user()
    flow.clear()
    assert flow.application is None
    for view in (flow.tokens, flow.tokens_validity, flow.users_scopes, flow.damaged):
        assert dict(view) == {}
    assert flow.get_token(user.user_id) is None
    with pytest.raises(TokenError):
        flow.get_user_by_id(user.user_id)
    await until(lambda: not our_tasks())
    assert await world.place.read(world.key(world.alice, world.public)) is not None
    await flow.authorize()
    assert flow.get_token(user.user_id) == (pair.access_token, pair.refresh_token)
    assert flow.users_scopes[user.user_id] == ("chat:read",)
    assert (await user.get_user()).login == "alice"
    flow.remove_token(user.user_id)
    await flow.flush()
    assert not await world.place.holds(pair.access_token)


async def test_clear_forgets_the_quota(small: World) -> None:
    """The points left are local state, too."""
    flow = small.device(small.public)
    user, _ = await _with_alice(small, flow)
    await user.get_user()
    assert flow.get_token_quota(user.user_id) is not None
    flow.clear()
    assert flow.get_token_quota(user.user_id) is None


async def test_clear_of_an_app(world: World) -> None:
    """An app's own token is kept in the store and used again."""
    flow = world.app()
    await flow.authorize()
    flow.clear()
    assert flow.application is None
    await flow.authorize()
    assert flow.application is not None
    assert world.twitch.counts.app_tokens == 1


async def test_clear_and_authorize_at_once(world: World) -> None:
    """No waiting is needed between the two, and it can be done again and again."""
    flow = world.device(world.public)
    user, pair = await _with_alice(world, flow)
    for _ in range(5):
        flow.clear()
        await within(flow.authorize())
        assert flow.get_token(user.user_id) == (pair.access_token, pair.refresh_token)
        flow.add_token("1", "a", None)
        await flow.flush()
        assert set(flow.tokens) == {user.user_id, "1"}
    await asyncio.sleep(0.05)
    assert set(flow.tokens) == {user.user_id, "1"}


async def test_clear_brings_an_unwritten_pair_home(world: World) -> None:
    """A pair that was not yet written when `clear()` came reaches the store, not the views."""
    flow = world.device(world.public)
    await flow.authorize()
    flow.add_token("1", "a", "r")
    flow.clear()
    assert dict(flow.tokens) == {}
    assert flow.get_token("1") is None
    await within(flow.flush())
    assert await world.place.read(world.key("1", world.public)) is not None
    assert dict(flow.tokens) == {}, "what was forgotten stays forgotten"
    await flow.authorize()
    assert flow.get_token("1") == ("a", "r")


async def test_clear_before_anything(small: World) -> None:
    """A flow that was never opened can be cleared; then it is as new."""
    flow = small.device()
    flow.clear()
    flow.clear()
    await flow.authorize()
    assert flow.application is not None


async def test_close_is_idempotent(world: World) -> None:
    """Closing twice, at once, and without having opened: no error, nothing left open."""
    flow = world.device()
    await flow.close()
    await flow.authorize()
    flow.add_token("1", "a", "r")
    await asyncio.gather(flow.close(), flow.close())
    await flow.close()
    assert our_tasks() == []
    assert await world.place.read(world.key("1")) is not None
    await flow.authorize()
    assert flow.get_token("1") == ("a", "r")


async def test_close_flushes(world: World) -> None:
    """What was changed right before `close()` is durable after it."""
    async with world.device() as flow:
        for number in range(50):
            flow.add_token(str(number), "a", "r")
    async with world.device() as other:
        assert len(other.tokens) == 51


async def test_calls_after_close_leave_nothing_open(small: World) -> None:
    """A call on a closed flow is refused, or closes what it opened for itself."""
    flow = small.device(small.public)
    user, pair = await _with_alice(small, flow)
    await flow.close()
    calls: list[Callable[[], Awaitable[object]]] = [
        user.get_user,
        user.refresh,
        lambda: flow.validate_token(pair.access_token),
        lambda: flow.add_user(pair.access_token, pair.refresh_token),
    ]
    for call in calls:
        with suppress(TwitchVaultError):
            await within(call())
    assert our_tasks() == []


async def test_an_error_in_the_body_is_not_hidden(small: World) -> None:
    """What the body of `async with` raised can be found, even when closing fails as well."""
    store = OwnStore()

    async def body() -> None:
        async with small.device(store=store) as flow:
            store.broken = OSError("disk full")
            flow.add_token("1", "a", "r")
            raise ZeroDivisionError

    with pytest.raises((ZeroDivisionError, StoreError)) as caught:
        await body()
    seen = (caught.value, caught.value.__context__)
    assert any(isinstance(error, ZeroDivisionError) for error in seen)


def test_a_flow_serves_successive_event_loops(tmp_path: object) -> None:
    """Closed in one `asyncio.run`, it opens in the next and writes what is still to be written."""
    store = OwnStore()
    flow = DeviceCodeFlow("id", store=store, maintain=False, lease_ttl=1)

    async def first() -> None:
        await flow.authorize()
        store.broken = OSError(str(tmp_path))
        flow.add_token("1", "a", "r")
        with pytest.raises(StoreError):
            await flow.flush()
        await asyncio.sleep(0.05)
        with pytest.raises(StoreError):
            await flow.close()

    async def second() -> None:
        await flow.authorize()
        with pytest.raises(StoreError):
            await within(flow.flush())
        await asyncio.sleep(0.05)
        store.broken = None
        await within(flow.flush())
        await flow.close()

    asyncio.run(first())
    asyncio.run(second())
    assert asyncio.run(store.inner.get("id:1")) is not None
