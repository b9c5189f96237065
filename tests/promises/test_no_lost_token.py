"""No rotated token is lost, whatever happens to the process that exchanges it.

What happens to the store meanwhile: `test_no_lost_token_store_fails`, `test_no_lost_token_redis`.
Cancelled callers: `test_no_lost_token_cancelled`.
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.environment import REFRESH, until
from tests.processes.fleet import WorkerError
from tests.processes.worker import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.processes.fleet import Fleet, Worker
    from twitchvault.testing.fake import Pair

TTL = 2.0
"""Seconds; so long that a busy machine, too, renews a lease in time."""


@contextmanager
def suppress_timed_out() -> Iterator[None]:
    """A caller whose process was stopped for longer than it waits may get an error."""
    try:
        yield
    except WorkerError as error:
        if error.kind != "NoAnswer":
            raise


async def logged_in(worker: Worker, pair: Pair) -> bool:
    """Whether a login that had no answer in time succeeds by now."""
    with suppress_timed_out():
        return await worker.login(pair) == pair.user_id
    return False


@pytest.mark.parametrize(
    ("how", "part", "seeded", "store_url"),
    [
        ("stopped", 0.7, False, "sqlite"),
        ("blocked", 0.7, False, "redis"),
        ("stopped", 1.5, False, "redis"),
        ("blocked", 1.5, True, "sqlite"),
        ("stopped", 0.7, True, "redis"),
    ],
    indirect=["store_url"],
)
async def test_the_answer_waits_in_the_socket(
    fleet: Fleet, how: str, part: float, seeded: bool
) -> None:
    """The process, or its loop, stands still past half of the ttl: the answer is read afterwards.

    Nothing else is sent. The call succeeds, unless the ttl is over: it waits no longer.
    """
    (worker,) = await fleet.start(1, lease_ttl=TTL)
    pair = await fleet.pair(expired=True)
    if not seeded:
        await worker.login(pair)
    gate = await fleet.twitch.hold(REFRESH, when="after")
    call = worker.login(pair) if seeded else worker.begin("refresh", user_id=pair.user_id)
    await gate.reached()
    if how == "blocked":
        await worker.do("block", seconds=part * TTL)
        await gate.release()
    else:
        worker.signal(signal.SIGSTOP)
        await gate.release()
        await asyncio.sleep(part * TTL)  # the stop itself
        worker.signal(signal.SIGCONT)
    with suppress_timed_out():
        assert await call == (pair.user_id if seeded else await fleet.live(pair.user_id))
    if seeded:
        await until(lambda: logged_in(worker, pair))
    await until(lambda: fleet.is_stored(pair.user_id))
    await fleet.expect(pair.user_id, exchanges=1 if seeded else 2)


@pytest.mark.parametrize("seeded", [False, True], ids=["own", "seed"])
async def test_killed_before_the_commit(fleet: Fleet, seeded: bool) -> None:
    """`kill -9` with the request out and nothing committed: another is done a lease later.

    A lease of the owner's, however long those of the other one are.
    """
    (owner,) = await fleet.start(1, lease_ttl=TTL)
    (other,) = await fleet.start(1, lease_ttl=60)
    pair = await fleet.pair(expired=True)
    if not seeded:
        await owner.login(pair)
        await other.do("sync")
        await fleet.twitch.expire_access(pair.user_id)
    exchanges = (await fleet.twitch.counts()).exchanges
    gate = await fleet.twitch.hold(REFRESH)
    await fleet.twitch.fail(REFRESH, drop=True)

    def begin(worker: Worker) -> asyncio.Future[Any]:
        return worker.login(pair) if seeded else worker.begin("call", user_id=pair.user_id)

    begin(owner)
    await gate.reached()
    waiting = begin(other)
    await fleet.kill(owner)
    await gate.release()
    async with asyncio.timeout(5 * TTL):
        assert await waiting == (pair.user_id if seeded else [])
    await fleet.expect(pair.user_id, exchanges=exchanges + 1)


async def test_killed_between_commit_and_write(fleet: Fleet) -> None:
    """The unavoidable loss: one try at most, then AuthFailure for all, until a new login."""
    owner, *others = await fleet.start(3, lease_ttl=TTL)
    user_id = await fleet.own_pair(owner)
    gate, _ = await fleet.hold_answer(owner, user_id)
    waiting = [worker.begin("call", user_id=user_id, count=20) for worker in others]
    await fleet.kill(owner)
    await gate.release()
    for failures in await asyncio.gather(*waiting):
        assert len(failures) == 20
        assert all(failure.startswith("AuthFailure") for failure in failures)
    counts = await fleet.twitch.counts()
    assert counts.exchanges == 2
    assert counts.replays <= 1
    sent = await fleet.sent()
    for worker in others:
        assert await worker.do("needs_login", user_id=user_id)
        with pytest.raises(WorkerError, match="AuthFailure"):
            await worker.do("refresh", user_id=user_id)
    assert await fleet.sent() == sent
    pair = await fleet.twitch.issue(fleet.client, user_id, ["chat:read"])
    await others[0].login(pair)
    await others[1].do("sync")
    assert await others[1].do("call", user_id=user_id) == []


@pytest.mark.parametrize("seeded", [False, True], ids=["own", "seed"])
async def test_stopped_before_the_request_left(fleet: Fleet, seeded: bool) -> None:
    """SIGSTOP with the lease in hand, SIGCONT after a takeover: the stopped one sends nothing.

    It goes back to the record instead and finds the pair that the other one has got.
    """
    owner, other = await fleet.start(2, lease_ttl=TTL, stoppable=True)
    pairs = [await fleet.pair(expired=True) for _ in SIGNALS]
    if not seeded:
        await asyncio.gather(*(owner.login(pair) for pair in pairs))
        await other.do("sync")
    exchanges = (await fleet.twitch.counts()).exchanges

    def begin(worker: Worker, pair: Pair) -> asyncio.Future[Any]:
        return worker.login(pair) if seeded else worker.begin("refresh", user_id=pair.user_id)

    stopped = []
    for where, pair in zip(SIGNALS, pairs, strict=True):
        await owner.do("stop_at", signal=where)
        stopped.append(begin(owner, pair))
        await owner.do("held", timeout=10)
    owner.signal(signal.SIGSTOP)
    await asyncio.gather(*(begin(other, pair) for pair in pairs))
    assert (await fleet.twitch.counts()).exchanges == exchanges + len(pairs)
    sent = await fleet.sent()
    owner.signal(signal.SIGCONT)
    await owner.do("go")
    for call, pair in zip(stopped, pairs, strict=True):
        with suppress_timed_out():
            assert await call == (pair.user_id if seeded else await fleet.live(pair.user_id))
    assert await fleet.sent() == sent
    for pair in pairs:
        await fleet.expect(pair.user_id, exchanges=exchanges + len(pairs))


@pytest.mark.parametrize(
    ("moment", "store_url"), [("before", "sqlite"), ("during", "redis")], indirect=["store_url"]
)
async def test_continued_around_a_takeover(fleet: Fleet, moment: str) -> None:
    """Stopped with the answer on its way, continued before or during another's takeover.

    The other one has not sent anything by then, and sends nothing: the answer is there for all.
    """
    owner, other = await fleet.start(2, lease_ttl=TTL)
    user_id = await fleet.own_pair(owner)
    gate, call = await fleet.hold_answer(owner, user_id)
    asking = await fleet.twitch.hold("validate")
    waiting = other.begin("refresh", user_id=user_id)
    owner.signal(signal.SIGSTOP)
    await gate.release()
    if moment == "before":
        await asyncio.sleep(0.6 * TTL)  # the stop itself
    else:
        await asking.reached(timeout=3 * TTL)
    owner.signal(signal.SIGCONT)
    live = await fleet.live(user_id)
    with suppress_timed_out():
        assert await call == live
    await until(lambda: fleet.is_stored(user_id))
    await asking.release()
    assert await waiting == live
    assert await fleet.sent() == 2
    await fleet.expect(user_id, exchanges=2)


@pytest.mark.parametrize("store_url", ["sqlite", "redis"], indirect=True)
async def test_continued_after_a_takeover(fleet: Fleet) -> None:
    """Another one has taken over and given up meanwhile: the late answer heals all.

    A client with a secret: of a public one Twitch may have cut the connection by now.
    """
    await fleet.register(public=False)
    owner, other = await fleet.start(2, lease_ttl=TTL)
    user_id = await fleet.own_pair(owner)
    gate, call = await fleet.hold_answer(owner, user_id)
    owner.signal(signal.SIGSTOP)
    await gate.release()
    while not await other.do("needs_login", user_id=user_id):
        with pytest.raises(WorkerError, match=r"AuthFailure|NoAnswer"):
            await other.do("refresh", user_id=user_id)
    assert (await fleet.twitch.counts()).replays <= 1
    owner.signal(signal.SIGCONT)
    live = await fleet.live(user_id)
    with suppress_timed_out():
        assert await call == live
    await until(lambda: fleet.is_stored(user_id))
    for worker in (owner, other):
        await worker.do("sync")
        assert await worker.do("token", user_id=user_id) == live
        assert await worker.do("needs_login", user_id=user_id) is None
        assert await worker.do("call", user_id=user_id) == []


@pytest.mark.parametrize(
    ("killed", "store_url"), [(False, "sqlite"), (True, "redis")], indirect=["store_url"]
)
async def test_an_access_token_that_died_under_a_lease(fleet: Fleet, killed: bool) -> None:
    """Twitch took it just before, and now refuses it: the exchange has killed it.

    So the refresh token is spent, and who takes over does not send it once more: a public client's
    replay would cut the user off. The owner brings its pair home if it only stood still.
    """
    owner, other = await fleet.start(2, lease_ttl=TTL)
    pair = await fleet.pair()
    for worker in (owner, other):
        await worker.login(pair)
    assert await other.do("call", user_id=pair.user_id) == []
    gate, call = await fleet.hold_answer(owner, pair.user_id)
    owner.signal(signal.SIGKILL if killed else signal.SIGSTOP)
    await gate.release()
    (outcome,) = await other.do("call", user_id=pair.user_id)
    assert outcome.startswith("AuthFailure")
    counts = await fleet.twitch.counts()
    assert (counts.exchanges, counts.replays) == (1, 0)
    if killed:
        with pytest.raises(WorkerError, match="Died"):
            await call
        assert await other.do("needs_login", user_id=pair.user_id)
        return
    owner.signal(signal.SIGCONT)
    with suppress_timed_out():
        await call
    await until(lambda: fleet.is_stored(pair.user_id))
    await other.do("sync")
    assert await other.do("needs_login", user_id=pair.user_id) is None
    assert await other.do("call", user_id=pair.user_id) == []


async def test_an_answer_slower_than_the_ttl(fleet: Fleet) -> None:
    """Its owner lives and renews the lease: nobody takes over, and the pair is stored.

    Who waits for it meanwhile gets an error in bounded time.
    """
    owner, other = await fleet.start(2, lease_ttl=TTL)
    user_id = await fleet.own_pair(owner)
    gate = await fleet.twitch.hold(REFRESH, when="after")
    started = time.monotonic()
    asked = owner.begin("refresh", user_id=user_id)
    await gate.reached()
    waiting = other.begin("refresh", user_id=user_id)
    for call, limit in ((asked, TTL), (waiting, 2 * TTL)):
        with pytest.raises(WorkerError):
            await call
        assert time.monotonic() - started < limit + 2
    await asyncio.sleep(max(0.0, started + 2.5 * TTL - time.monotonic()))  # a slow Twitch
    later = other.begin("refresh", user_id=user_id)
    await other.do("sync")
    counts = await fleet.twitch.counts()
    assert (counts.exchanges, counts.replays) == (2, 0)
    await gate.release()
    assert await later == await fleet.live(user_id)
    await fleet.expect(user_id, exchanges=2)


async def test_a_waiter_keeps_to_the_ttl_in_the_lease(fleet: Fleet) -> None:
    """An owner with a long ttl, stopped for longer than the other's short one, keeps its lease."""
    (owner,) = await fleet.start(1, lease_ttl=3 * TTL)
    (hasty,) = await fleet.start(1, lease_ttl=TTL)
    user_id = await fleet.own_pair(owner)
    gate, call = await fleet.hold_answer(owner, user_id)
    owner.signal(signal.SIGSTOP)
    await gate.release()
    waiting = hasty.begin("refresh", user_id=user_id)
    await asyncio.sleep(1.6 * TTL)  # the stop itself
    assert await fleet.sent() == 2
    owner.signal(signal.SIGCONT)
    live = await fleet.live(user_id)
    assert await call == live
    assert await waiting == live
    await fleet.expect(user_id, exchanges=2)


async def test_killed_at_any_moment(fleet: Fleet) -> None:
    """`kill -9` at eight moments around an exchange: what the store acknowledged is not lost.

    Only who was killed between commit and write loses a pair; all others are refreshed once more.
    """
    victims = await fleet.start(8, lease_ttl=TTL)
    (survivor,) = await fleet.start(1, lease_ttl=TTL)
    users = [await fleet.own_pair(survivor) for _ in victims]
    await fleet.twitch.delay("token", headers=(0.0, 0.03))

    async def doomed(worker: Worker, user_id: str, delay: float) -> None:
        worker.begin("refresh", user_id=user_id)
        await asyncio.sleep(delay)
        await worker.kill()

    moments = [0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.08]
    await asyncio.gather(*map(doomed, victims, users, moments))
    fleet.workers = [survivor, *victims]
    lost = [u for u in users if await fleet.stored(u) != await fleet.live(u)]
    calls = (survivor.begin("refresh", user_id=user_id) for user_id in users)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert (await fleet.twitch.counts()).replays <= len(lost)
    for user_id, outcome in zip(users, outcomes, strict=True):
        if user_id in lost:
            assert isinstance(outcome, WorkerError)
            assert outcome.kind == "AuthFailure"
        else:
            assert outcome == await fleet.live(user_id) == await fleet.stored(user_id)
