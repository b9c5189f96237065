"""The owner of a lease dies, sleeps, or loses its sense of time."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Literal

import pytest

from .fleet import Fleet, WorkerError

if TYPE_CHECKING:
    from twitchvault.testing.fake import Pair

    from .fleet import Worker

TTL = 1.6
TOKEN = "token:refresh_token"


async def two(fleet: Fleet, *, public: bool = True, **switches: object) -> tuple[Worker, Worker]:
    """Two processes of a new client."""
    await fleet.register(public=public, **switches)
    owner, other = await fleet.start(2, lease_ttl=TTL, stoppable=True)
    return owner, other


@pytest.mark.parametrize("seeded", [False, True], ids=["own", "seed"])
async def test_killed_before_the_commit(fleet: Fleet, seeded: bool) -> None:
    """`kill -9` with the request out and nothing committed: another is done a lease later."""
    owner, other = await two(fleet)
    exchanges = 1
    if seeded:
        exchanges, pair = 0, await fleet.pair(expired=True)
        user_id = pair.user_id
    else:
        user_id = await fleet.own_pair(owner)
        await fleet.twitch.expire_access(user_id)
    gate = await fleet.twitch.hold(TOKEN)
    await fleet.twitch.fail(TOKEN, drop=True)

    def begin(worker: Worker) -> asyncio.Future[object]:
        if seeded:
            return take_in(worker, pair)
        return worker.order("call", user_id=user_id)

    begin(owner)
    await gate.reached()
    waiting = begin(other)
    await owner.kill()
    fleet.workers.remove(owner)
    started = time.monotonic()
    await gate.release()
    assert await waiting == (user_id if seeded else [])
    # The other one's clock began when it first saw the lease.
    assert time.monotonic() - started < TTL + 1
    await fleet.expect(user_id, exchanges=exchanges + 1)
    await owner.end()


async def test_killed_between_commit_and_write(fleet: Fleet) -> None:
    """The unavoidable loss: the others try once, then AuthFailure for all at once; nobody hangs."""
    owner, other = await two(fleet)
    (third,) = await fleet.start(1, lease_ttl=TTL)
    user_id = await fleet.own_pair(owner)
    gate = await fleet.twitch.hold(TOKEN, when="after")
    owner.order("refresh", user_id=user_id)
    await gate.reached()
    waiting = [worker.order("call", user_id=user_id, count=20) for worker in (other, third)]
    await owner.kill()
    await gate.release()
    started = time.monotonic()
    failures = await asyncio.gather(*waiting)
    assert time.monotonic() - started < TTL + 1
    assert [len(each) for each in failures] == [20, 20]
    assert all(failure.startswith("AuthFailure") for each in failures for failure in each)
    counts = await fleet.twitch.counts()
    assert (counts.exchanges, counts.replays) == (2, 1)
    record = await fleet.record(user_id)
    assert record is not None
    assert (record.state, record.lease) == ("needs_login", None)
    # From now on nobody asks Twitch.
    sent = [entry.endpoint for entry in await fleet.twitch.requests()].count(TOKEN)
    for worker in (other, third):
        with pytest.raises(WorkerError, match="AuthFailure"):
            await worker.do("refresh", user_id=user_id)
    assert [entry.endpoint for entry in await fleet.twitch.requests()].count(TOKEN) == sent
    # A new login replaces the record.
    login = await fleet.twitch.issue(fleet.client, user_id, ["chat:read"])
    await take_in(other, login)
    await third.do("sync")
    assert await third.do("call", user_id=user_id) == []


@pytest.mark.parametrize("mode", ["same", "rotate-keep"])
async def test_killed_between_commit_and_write_but_not_spent(
    fleet: Fleet, mode: Literal["same", "rotate-keep"]
) -> None:
    """Where Twitch lets a refresh token live on, the takeover heals the loss."""
    owner, other = await two(fleet, public=False, confidential_refresh=mode)
    user_id = await fleet.own_pair(owner)
    gate = await fleet.twitch.hold(TOKEN, when="after")
    owner.order("refresh", user_id=user_id)
    await gate.reached()
    await owner.kill()
    fleet.workers.remove(owner)
    await gate.release()
    assert await other.do("call", user_id=user_id, count=5) == []
    await fleet.expect(user_id, exchanges=3)
    await owner.end()


STOPS = (
    "on_request_start",
    "on_connection_create_start",
    "on_request_headers_sent",
    "on_request_chunk_sent",
)


@pytest.mark.parametrize("seeded", [False, True], ids=["own", "seed"])
async def test_stopped_before_the_request_left(fleet: Fleet, seeded: bool) -> None:
    """SIGSTOP with the lease in hand, SIGCONT after a takeover: the sleeper sends nothing.

    It goes back to the record instead and finds the pair that the other one has got.
    """
    owner, other = await two(fleet)
    pairs = [await fleet.pair(expired=True) for _ in STOPS]
    if not seeded:
        await asyncio.gather(*(take_in(owner, pair) for pair in pairs))
        await other.do("sync")
    exchanges = (await fleet.twitch.counts()).exchanges

    def begin(worker: Worker, pair: Pair) -> asyncio.Future[object]:
        if seeded:
            return take_in(worker, pair)
        return worker.order("refresh", user_id=pair.user_id)

    sleeping = []
    for where, pair in zip(STOPS, pairs, strict=True):
        await owner.do("stop_at", signal=where)
        sleeping.append(begin(owner, pair))
        await owner.do("held", timeout=10)
    owner.signal(signal.SIGSTOP)
    await asyncio.gather(*(begin(other, pair) for pair in pairs))
    assert (await fleet.twitch.counts()).exchanges == exchanges + len(pairs)
    sent = await requests(fleet)
    owner.signal(signal.SIGCONT)
    await owner.do("go")
    outcomes = await asyncio.gather(*sleeping, return_exceptions=True)
    assert await requests(fleet) == sent
    for pair in pairs:
        await fleet.expect(pair.user_id, exchanges=exchanges + len(pairs))
    assert outcomes == [
        pair.user_id if seeded else await fleet.live(pair.user_id) for pair in pairs
    ]


def take_in(worker: Worker, pair: Pair) -> asyncio.Future[object]:
    """A login."""
    return worker.order(
        "add_user", access_token=pair.access_token, refresh_token=pair.refresh_token
    )


async def requests(fleet: Fleet) -> int:
    """How many refresh requests have arrived with their bodies."""
    log = await fleet.twitch.requests()
    return sum(entry.endpoint == TOKEN for entry in log)


async def test_killed_at_any_moment(fleet: Fleet) -> None:
    """`kill -9` at eight moments around an exchange: what the store acknowledged is not lost.

    Only who was killed between commit and write loses a pair; all others are refreshed once more.
    """
    await fleet.register()
    victims = await fleet.start(8, lease_ttl=TTL)
    (survivor,) = await fleet.start(1, lease_ttl=TTL)
    users = [await fleet.own_pair(survivor) for _ in victims]
    await fleet.twitch.delay("token", headers=(0.0, 0.03))

    async def doomed(worker: Worker, user_id: str, delay: float) -> None:
        worker.order("refresh", user_id=user_id)
        await asyncio.sleep(delay)
        await worker.kill()

    moments = [0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.08]
    await asyncio.gather(*map(doomed, victims, users, moments))
    fleet.workers = [survivor, *victims]
    lost = [user_id for user_id in users if not await at_home(fleet, user_id)]
    started = time.monotonic()
    calls = (survivor.order("refresh", user_id=user_id) for user_id in users)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert time.monotonic() - started < TTL + 1
    for user_id, outcome in zip(users, outcomes, strict=True):
        if user_id in lost:
            assert isinstance(outcome, WorkerError)
            assert outcome.kind == "AuthFailure"
        else:
            assert outcome == await fleet.live(user_id)
            assert await at_home(fleet, user_id)
    assert (await fleet.twitch.counts()).replays == len(lost)


async def at_home(fleet: Fleet, user_id: str) -> bool:
    """Whether the store holds the pair that is good at Twitch."""
    record = await fleet.record(user_id)
    return record is not None and list(record.pair) == await fleet.live(user_id)


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
async def test_wall_clocks_do_not_matter(fleet: Fleet, jump: float) -> None:
    """A waiter whose wall clock jumps a day takes over neither sooner nor later."""
    owner, other = await two(fleet)
    user_id = await fleet.own_pair(owner)
    await fleet.twitch.expire_access(user_id)
    gate = await fleet.twitch.hold(TOKEN)
    owner.order("call", user_id=user_id)
    await gate.reached()
    waiting = other.order("call", user_id=user_id)
    await other.do("jump", seconds=jump)
    with pytest.raises(TimeoutError):
        await gate.reached(2, timeout=TTL / 4)
    await fleet.twitch.fail(TOKEN, drop=True)
    await owner.kill()
    fleet.workers.remove(owner)
    started = time.monotonic()
    await gate.release()
    assert await waiting == []
    assert TTL / 4 < time.monotonic() - started < TTL + 1
    await fleet.expect(user_id, exchanges=2)
    await owner.end()
