"""`clear()` and `close()`: what they keep, what they end, and that nothing is lost on the way."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from twitchvault import DeviceCodeFlow, StoreError, TokenError, TwitchVaultError

from .own_stores import DictStore, SlowScanStore
from .world import our_tasks, until, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twitchvault import UserAPI
    from twitchvault.testing.fake import Pair

    from .world import World


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


async def test_clear_brings_a_refresh_home(world: World) -> None:
    """A refresh under way when `clear()` comes ends in the store, not in the views."""
    flow = world.device(world.public)
    user, pair = await _with_alice(world, flow)
    with world.twitch.hold("token:refresh_token", when="after") as gate:
        task = asyncio.create_task(user.refresh())
        await gate.reached()
        flow.clear()
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: not our_tasks())
    assert dict(flow.tokens) == {}, "what was forgotten stays forgotten"
    await flow.authorize()
    assert flow.get_token(user.user_id) != (pair.access_token, pair.refresh_token)
    assert world.twitch.is_live(user.token)
    assert (world.twitch.counts.exchanges, world.twitch.counts.replays) == (1, 0)


async def test_clear_before_anything(small: World) -> None:
    """A flow that was never opened can be cleared; then it is as new."""
    flow = small.device()
    flow.clear()
    flow.clear()
    await flow.authorize()
    assert flow.application is not None


async def test_clear_while_the_store_is_still_being_read(small: World) -> None:
    """`clear()` during `authorize()`: that ends, with success or an error, and `close()` too."""
    store = SlowScanStore()
    flow = small.device(small.public, store=store)
    task = asyncio.create_task(flow.authorize())
    await store.waiting.wait()
    flow.clear()
    store.gate.set()
    try:
        await within(task)
    except StoreError:
        pass
    finally:
        task.cancel()
        await within(flow.close())
    await until(lambda: not our_tasks())


async def test_clear_during_a_scan_that_ends_late(small: World) -> None:
    """A scan that `clear()` cut off does not spoil the next one, however late it ends."""
    store = SlowScanStore()
    store.gate.set()
    async with small.device(small.public, store=store) as flow:
        flow.add_token("1", "a", "r")
        await flow.flush()
    store.cleanup = 0.05
    await flow.authorize()
    for _ in range(2):
        store.gate.clear()
        store.waiting.clear()
        await within(store.waiting.wait())
        flow.clear()
        store.gate.set()
        await within(flow.authorize())
        assert flow.get_token("1") == ("a", "r")
        await asyncio.sleep(0.1)
        assert flow.get_token("1") == ("a", "r")
    await flow.close()


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


async def test_close_waits_for_a_refresh(world: World) -> None:
    """A refresh under way ends before the flow does, and its pair is stored."""
    flow = world.device(world.public)
    user, pair = await _with_alice(world, flow)
    with world.twitch.hold("token:refresh_token", when="after") as gate:
        refresh = asyncio.create_task(user.refresh())
        await gate.reached()
        refresh.cancel()
        closing = asyncio.create_task(flow.close())
        await asyncio.sleep(0.05)
        assert not closing.done()
    await within(closing)
    assert our_tasks() == []
    async with world.device(world.public) as other:
        found = other.get_token(user.user_id)
        assert found is not None
        assert found != (pair.access_token, pair.refresh_token)
        assert world.twitch.is_live(found[0])


async def test_a_cancelled_close_loses_no_pair(world: World) -> None:
    """`close()` cancelled while a refresh is under way: the new pair still comes home."""
    url = "memory://" if world.place.kind == "memory" else f"sqlite:///{world.place.path}"
    flow = world.device(world.public, store=url)
    user, _ = await _with_alice(world, flow)
    with world.twitch.hold("token:refresh_token", when="after") as gate:
        refresh = asyncio.create_task(user.refresh())
        await gate.reached()
        closing = asyncio.create_task(flow.close())
        await asyncio.sleep(0.02)
        closing.cancel()
        await asyncio.wait((closing,))
    await asyncio.gather(refresh, return_exceptions=True)
    await within(flow.close(), 10)
    assert our_tasks() == []
    await flow.authorize()
    assert world.twitch.is_live(user.token)
    assert (await user.get_user()).login == "alice"
    assert (world.twitch.counts.exchanges, world.twitch.counts.replays) == (1, 0)


async def test_a_cancelled_close_can_be_made_good(world: World) -> None:
    """After a cancelled `close()`, a second one ends what is left."""
    flow = world.device()
    await flow.authorize()
    flow.add_token("1", "a", "r")
    closing = asyncio.create_task(flow.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait((closing,))
    await within(flow.close())
    assert our_tasks() == []
    assert await world.place.read(world.key("1")) is not None


async def test_close_is_bounded_when_twitch_hangs(world: World) -> None:
    """A refresh that gets no answer does not hold `close()` up for longer than the lease."""
    flow = world.device(world.public, lease_ttl=1)
    user, _ = await _with_alice(world, flow)
    with world.twitch.hold("token:refresh_token") as gate:
        refresh = asyncio.create_task(user.refresh())
        await gate.reached()
        with world.twitch.hold("validate"):
            await within(flow.close(), 3)
        refresh.cancel()
        await asyncio.wait((refresh,))
    assert our_tasks() == []


class Hanging(DictStore):
    """A database that stopped answering."""

    hangs = False

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write, or wait for ever."""
        if self.hangs:
            await asyncio.Event().wait()
        return await super().put(key, value, expect=expect)


async def test_close_is_bounded_when_the_store_hangs(
    small: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives up after its time limit, says what was not written, and keeps it queued."""
    monkeypatch.setattr("twitchvault.vault.vault.FLUSH_TIMEOUT", 0.3)
    store = Hanging()
    flow = small.device(store=store)
    await flow.authorize()
    store.hangs = True
    flow.add_token("1", "a", "r")
    with pytest.raises(StoreError):
        await within(flow.close())
    assert our_tasks() == []
    store.hangs = False
    await flow.authorize()
    await flow.flush()
    assert small.key("1") in store.table.entries
    await flow.close()


async def test_close_is_bounded_when_opening_hangs(small: World) -> None:
    """`close()` while `authorize()` waits for a store that never answers: both end."""
    store = SlowScanStore()
    flow = small.device(small.public, store=store)
    task = asyncio.create_task(flow.authorize())
    await store.waiting.wait()
    try:
        await within(flow.close(), 6)
        await asyncio.wait((task,), timeout=2)
        assert task.done()
    finally:
        store.gate.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_close_reports_what_could_not_be_written(small: World) -> None:
    """The failure is raised after everything is closed; the change waits for `authorize()`."""
    store = DictStore()
    flow = small.device(store=store)
    await flow.authorize()
    store.broken = OSError("password in here")
    flow.add_token("1", "a", "r")
    with pytest.raises(StoreError, match="OSError") as caught:
        await flow.close()
    assert "password" not in str(caught.value)
    assert our_tasks() == []
    store.broken = None
    await flow.authorize()
    await flow.flush()
    assert small.key("1") in store.table.entries
    await flow.close()


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
    store = DictStore()

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
    store = DictStore()
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
    assert "id:1" in store.table.entries
