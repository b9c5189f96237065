"""One refresh per expiry, in all processes together, and every call succeeds."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.own_stores import OwnStore, WatchedStore
from tests.processes.fleet import all_do
from tests.world import REFRESH, World, within

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.processes.fleet import Fleet
    from twitchvault import UserAPI

pytestmark = pytest.mark.usefixtures("public")

PROCESSES = 4
CLIENTS: list[dict[str, Any]] = [
    {"public": True},
    {"public": False, "confidential_refresh": "same"},
    {"public": False, "confidential_refresh": "rotate"},
]
on_both_stores = pytest.mark.parametrize("store_url", ["sqlite", "redis"], indirect=True)


@on_both_stores
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
    await fleet.register()
    workers = await fleet.start(PROCESSES)
    user_id = await fleet.own_pair(workers[0])
    gate = await fleet.twitch.hold(REFRESH)
    asked = [worker.order("refresh", user_id=user_id) for worker in workers for _ in range(10)]
    await gate.reached()
    # Who begins only after the exchange sees its pair already, and rightly asks for the next one.
    await all_do(workers, "token", user_id=user_id)
    await gate.release()
    pairs = await asyncio.gather(*asked)
    assert pairs == [await fleet.live(user_id)] * len(asked)
    await fleet.expect(user_id, exchanges=2)


@pytest.mark.parametrize("kind", [OwnStore, WatchedStore], ids=["scanned", "watched"])
async def test_what_a_call_with_an_expired_token_costs(small: World, kind: type[OwnStore]) -> None:
    """One `get` and two `put`s of the store, one exchange, two Helix calls."""
    store = kind()
    async with small.app(store=store) as app:
        user = await small.own_pair(app)
        await user.refresh()
        small.twitch.expire_access(user.token)
        store.calls.clear()
        before = len(small.twitch.requests)
        assert (await user.get_user()).login == "alice"
        await app.flush()
        assert {name: store.calls[name] for name in ("get", "put", "delete")} == {
            "get": 1,
            "put": 2,
            "delete": 0,
        }
        asked = [entry.endpoint for entry in small.twitch.requests[before:]]
        assert asked == ["helix:users", REFRESH, "helix:users"]


async def test_the_first_exchange_of_a_pair_from_outside(small: World) -> None:
    """It may cost one `get` more: others may know the same pair under another name."""
    store = WatchedStore()
    async with small.app(store=store) as app:
        pair = small.pair(expired=True)
        user = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await app.flush()
        store.calls.clear()
        assert (await user.get_user()).login == "alice"
        assert small.sent() == 1


async def test_a_process_one_refresh_behind(small: World) -> None:
    """Its view lags, and what it finds in the store has expired as well: it renews that too."""
    shared = OwnStore()
    async with small.app(store=shared) as app, small.app(store=OwnStore(shared)) as late:
        user = await small.own_pair(app)
        await late.sync()
        behind = late.get_user_by_id(user.user_id)
        stale = behind.token
        await user.refresh()
        small.twitch.expire_access(user.token)
        assert behind.token == stale, "the view does not lag: the test shows nothing"
        assert (await within(behind.get_user())).login == "alice"
        assert late.get_token(user.user_id) == small.live()
        assert small.sent() == 3
    assert small.twitch.counts.replays == 0


async def test_many_callers_one_refresh_behind(fleet: Fleet) -> None:
    """Token after token expires while calls are under way: each is exchanged once."""
    await fleet.register()
    workers = await fleet.start(PROCESSES)
    user_id = await fleet.own_pair(workers[0])
    calls = [
        asyncio.ensure_future(worker.do("call", user_id=user_id, count=200, seconds=1))
        for worker in workers
    ]
    expiries = 0
    while not all(call.done() for call in calls):
        expiries += await fleet.twitch.expire_access(user_id)
        await asyncio.sleep(0.1)
    # A call is repeated once with a renewed token; that one may have expired on the way.
    failures = [failure for call in calls for failure in await call]
    assert all(failure.startswith("Unauthorized") for failure in failures)
    counts = await fleet.twitch.counts()
    assert counts.replays == 0
    assert counts.exchanges <= 1 + expiries


class Holding:
    """Holds the next refresh request before it leaves."""

    def __init__(self) -> None:
        self.trace = aiohttp.TraceConfig()
        self.trace.on_request_start.append(self._hold)
        self.reached = asyncio.Event()
        self.released = asyncio.Event()
        self.armed = False

    async def _hold(self, *request: Any) -> None:  # noqa: ANN401 - aiohttp's own
        if self.armed and request[-1].url.path.endswith("/token"):
            self.reached.set()
            await self.released.wait()


def suspended(clock: str, seconds: float, patch: pytest.MonkeyPatch) -> None:
    """So many seconds have passed that the monotonic clock has not seen."""
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
    small: World, monkeypatch: pytest.MonkeyPatch, clock: str, seconds: float
) -> None:
    """The machine slept with the lease in hand: nothing is sent under that lease, but a new one."""
    store, holding = WatchedStore(small.place.store()), Holding()
    async with small.app(store=store, http_trace=holding.trace) as app:
        user = await small.own_pair(app)
        holding.armed = True
        store.calls.clear()
        call = asyncio.create_task(user.refresh())
        await holding.reached.wait()
        assert store.calls["put"] == 1
        suspended(clock, seconds, monkeypatch)
        holding.released.set()
        await within(call)
        await app.flush()
        assert store.calls["put"] == (3 if seconds else 2)
        monkeypatch.undo()
    await small.check(exchanges=2)


WAYS: dict[str, Callable[[UserAPI, str], Coroutine[Any, Any, object]]] = {
    "renew": lambda user, refused: user.renew(refused),
    "refresh": lambda user, _refused: user.refresh(),
    "call": lambda user, _refused: user.get_user(),
}


@pytest.mark.parametrize("acts", [("renew", "renew"), ("renew", "call"), ("refresh", "renew")])
async def test_refusals_and_wishes_share_an_exchange(world: World, acts: tuple[str, str]) -> None:
    """However two processes come to need a new pair at the same time, it is exchanged once."""
    async with world.app() as one, world.app() as two:
        user = await world.own_pair(one)
        await two.sync()
        refused = user.token
        world.twitch.expire_access(refused)
        gate = world.twitch.hold(REFRESH, when="after")
        handles = [app.get_user_by_id(user.user_id) for app in (one, two)]
        asked = [
            asyncio.create_task(WAYS[act](handle, refused))
            for act, handle in zip(acts, handles, strict=True)
        ]
        await gate.reached()
        await asyncio.sleep(0.05)  # the other one is somewhere on its way to the same exchange
        gate.release()
        await within(asyncio.gather(*asked))
    await world.check(exchanges=2)


async def test_renew_without_an_exchange(world: World) -> None:
    """Another token than the refused one stands: that one, and nobody is asked."""
    async with world.app() as app:
        user = await world.own_pair(app)
        refused = user.token
        await user.refresh()
        sent = len(world.twitch.requests)
        assert await user.renew(refused) == user.token
        assert len(world.twitch.requests) == sent


async def test_renew_of_a_token_that_lives(world: World) -> None:
    """Somebody says that a token is dead which Twitch still takes: it is kept."""
    async with world.app() as app:
        user = await world.own_pair(app)
        standing = user.token
        assert await user.renew(standing) == standing
    await world.check(exchanges=1)
