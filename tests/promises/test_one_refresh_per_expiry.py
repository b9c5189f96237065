"""One refresh per expiry, in all processes together, and every call succeeds."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.environment import REFRESH, Environment, on_each_store, until, within
from tests.own_stores import OwnStore, WatchedStore
from tests.processes.fleet import all_do

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.processes.fleet import Fleet
    from twitchvault import UserAPI

PROCESSES = 4
CLIENTS: list[dict[str, Any]] = [
    {"public": True},
    {"public": False, "confidential_refresh": "same"},
    {"public": False, "confidential_refresh": "rotate"},
]


@pytest.mark.parametrize("store_url", ["sqlite", "redis"], indirect=True)
@pytest.mark.parametrize("client", CLIENTS, ids=["public", "same", "rotate"])
async def test_calls_at_once_and_spread_out(fleet: Fleet, client: dict[str, Any]) -> None:
    """4 processes x 200 or 50 calls on one expired token: one exchange, no failed call.

    Spread over 0.6 s, some come before the exchange, some meet it, and some come after it.
    """
    await fleet.register(**client)
    workers = await fleet.start(PROCESSES)
    user_id = await fleet.own_pair(workers[0])
    calls = [(200, 0.0), (50, 0.6), (200, 0.6)]
    for expiry, (count, seconds) in enumerate(calls, 1):
        assert await fleet.twitch.expire_access(user_id) == 1
        failures = await all_do(workers, "call", user_id=user_id, count=count, seconds=seconds)
        assert failures == [[]] * PROCESSES
        await fleet.expect(user_id, exchanges=1 + expiry)


async def test_explicit_refreshes_at_once(fleet: Fleet) -> None:
    """`refresh()` asked for by all processes at the same time is one exchange."""
    workers = await fleet.start(PROCESSES)
    user_id = await fleet.own_pair(workers[0])
    gate = await fleet.twitch.hold(REFRESH)
    calls = [worker.begin("refresh", user_id=user_id) for worker in workers for _ in range(10)]
    await gate.reached()
    # Who begins only after the exchange sees its pair already, and rightly asks for the next one.
    await all_do(workers, "token", user_id=user_id)
    await gate.release()
    pairs = await asyncio.gather(*calls)
    assert pairs == [await fleet.live(user_id)] * len(calls)
    await fleet.expect(user_id, exchanges=2)


@pytest.mark.parametrize("kind", [OwnStore, WatchedStore], ids=["scanned", "watched"])
async def test_what_a_call_with_an_expired_token_costs(
    env: Environment, kind: type[OwnStore]
) -> None:
    """One `get` and two `put`s of the store, one exchange, two Helix calls."""
    store = kind()
    async with env.app(store=store) as app:
        user = await env.own_pair(app)
        await user.refresh()
        env.twitch.expire_access(user.token)
        store.calls.clear()
        before = env.asked()
        assert (await user.get_user()).login == "alice"
        await app.flush()
        calls = [store.calls[operation] for operation in ("get", "put", "delete")]
        assert calls == [1, 2, 0]
        endpoints = [entry.endpoint for entry in env.twitch.requests[before:]]
        assert endpoints == ["helix:users", REFRESH, "helix:users"]


async def test_a_process_one_refresh_behind(env: Environment) -> None:
    """Its view lags, and what it finds in the store has expired as well: it renews that too."""
    shared = OwnStore()
    async with env.app(store=shared) as app, env.app(store=OwnStore(shared)) as late:
        user = await env.own_pair(app)
        await late.sync()
        behind = late.get_user_by_id(user.user_id)
        stale = behind.token
        await user.refresh()
        env.twitch.expire_access(user.token)
        assert behind.token == stale, "the view does not lag: the test shows nothing"
        assert (await within(behind.get_user())).login == "alice"
        assert late.get_token(user.user_id) == env.live()
        assert env.refreshes_sent() == 3
    assert env.twitch.counts.replays == 0


def suspend(clock: str, seconds: float, patch: pytest.MonkeyPatch) -> None:
    """So many seconds pass that the monotonic clock does not see."""
    if clock == "wall":
        wall = time.time
        patch.setattr(time, "time", lambda: wall() + seconds)
    else:
        read = time.clock_gettime
        patch.setattr(
            time,
            "clock_gettime",
            lambda which: read(which) + (seconds if which == time.CLOCK_BOOTTIME else 0),
        )


@pytest.mark.parametrize("clock", ["wall", *(["boottime"] if sys.platform == "linux" else [])])
@pytest.mark.parametrize("seconds", [0.0, 3600.0])
async def test_a_suspend_between_lease_and_request(
    env: Environment, monkeypatch: pytest.MonkeyPatch, clock: str, seconds: float
) -> None:
    """The machine slept with the lease in hand: nothing is sent under that lease, but a new one."""
    store, trace = WatchedStore(env.storage.store()), aiohttp.TraceConfig()

    async def sleep(*request: Any) -> None:  # noqa: ANN401 - aiohttp's own
        if user is not None and request[-1].url.path.endswith("/token") and not suspended.is_set():
            suspended.set()
            assert store.calls["put"] == 1
            suspend(clock, seconds, monkeypatch)

    trace.on_request_start.append(sleep)
    user, suspended = None, asyncio.Event()
    async with env.app(store=store, lease_ttl=60, http_trace=trace) as app:
        user = await env.own_pair(app)
        store.calls.clear()
        await within(user.refresh())
        assert suspended.is_set()
        await app.flush()
        # The lease that came to nothing is given back, and a new one is taken.
        assert store.calls["put"] == (4 if seconds else 2)
        monkeypatch.undo()
    await env.expect(exchanges=2)


WAYS: dict[str, Callable[[UserAPI, str], Coroutine[Any, Any, object]]] = {
    "renew": lambda user, refused: user.renew(refused),
    "refresh": lambda user, _refused: user.refresh(),
    "call": lambda user, _refused: user.get_user(),
}


@pytest.mark.parametrize("acts", [("renew", "renew"), ("renew", "call"), ("refresh", "renew")])
async def test_refusals_and_wishes_share_an_exchange(
    env: Environment, acts: tuple[str, str]
) -> None:
    """However two processes come to need a new pair at the same time, it is exchanged once."""
    stores = [OwnStore(env.storage.store()) for _ in acts]
    one, two = (env.app(store=store) for store in stores)
    async with one, two:
        user = await env.own_pair(one)
        await two.sync()
        refused = user.token
        env.twitch.expire_access(refused)
        gate = env.twitch.hold(REFRESH, when="after")
        for store in stores:
            store.calls.clear()
        handles = [app.get_user_by_id(user.user_id) for app in (one, two)]
        calls = [
            asyncio.create_task(WAYS[act](handle, refused))
            for act, handle in zip(acts, handles, strict=True)
        ]
        await gate.reached()
        await until(lambda: all(store.calls["get"] for store in stores))
        gate.release()
        await within(asyncio.gather(*calls))
    await env.expect(exchanges=2)


@on_each_store
async def test_refresh_token_of_what_is_vaulted(env: Environment) -> None:
    """Asked for by fifty tasks of two flows: one exchange; one that is spent by then: none.

    It is the vaulted pair that is returned, with all that Twitch said of it.
    """
    pair = env.pair()
    async with env.app() as one, env.app() as two:
        await one.add_user(pair.access_token, pair.refresh_token)
        calls = [app.refresh_token(pair.refresh_token) for app in (one, two) * 25]
        first, *tokens = await within(asyncio.gather(*calls))
        assert {token.access_token for token in tokens} == {env.live()[0]}
        assert (first.access_token, first.refresh_token) == one.get_token(pair.user_id)
        assert (first.scopes, first.raw["access_token"]) == (("chat:read",), env.live()[0])
        assert first.expires_in > 0
        assert (await one.refresh_token(pair.refresh_token)).access_token == env.live()[0]
    await env.expect(exchanges=1)
