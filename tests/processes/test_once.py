"""Four processes, one store: one exchange per expiry, and an old seed does no harm."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from .fleet import Fleet, Worker, all_do

if TYPE_CHECKING:
    from twitchvault.testing.fake import Pair

PROCESSES = 4
TASKS = (200, 30, 30, 30, 200)


@pytest.mark.parametrize("public", [True, False], ids=["public", "confidential"])
async def test_one_exchange_per_expiry(fleet: Fleet, public: bool) -> None:
    """4 processes x 200 tasks on one expired token, five times: one exchange, no failed call."""
    await fleet.register(public=public)
    workers = await fleet.start(PROCESSES)
    user_id = await fleet.own_pair(workers[0])
    for expiry, count in enumerate(TASKS, 1):
        assert await fleet.twitch.expire_access(user_id) == 1
        failures = await all_do(workers, "call", user_id=user_id, count=count)
        assert failures == [[]] * PROCESSES
        await fleet.expect(user_id, exchanges=1 + expiry)


async def test_explicit_refreshes_at_once(fleet: Fleet) -> None:
    """`refresh()` asked for by all processes at the same time is one exchange."""
    await fleet.register()
    workers = await fleet.start(PROCESSES)
    user_id = await fleet.own_pair(workers[0])
    gate = await fleet.twitch.hold("token:refresh_token")
    asked = [worker.order("refresh", user_id=user_id) for worker in workers for _ in range(10)]
    await gate.reached()
    # Who begins only after the exchange sees its pair already, and rightly asks for the next one.
    await all_do(workers, "token", user_id=user_id)
    await gate.release()
    pairs = await asyncio.gather(*asked)
    assert pairs == [await fleet.live(user_id)] * len(asked)
    await fleet.expect(user_id, exchanges=2)


async def take_in(worker: Worker, how: str, pair: Pair) -> str:
    """Give a process a pair from its configuration."""
    options: dict[str, Any] = {
        "access_token": pair.access_token,
        "refresh_token": pair.refresh_token,
    }
    if how == "add_token":
        options["user_id"] = pair.user_id
    return str(await worker.do(how, **options))


HOW = {
    "add_user": ["add_user"] * PROCESSES,
    "add_token": ["add_token"] * PROCESSES,
    "mixed": ["add_user", "add_token"] * (PROCESSES // 2),
}


@pytest.mark.parametrize(
    ("how", "public"),
    [("add_user", True), ("add_token", True), ("mixed", True), ("mixed", False)],
    ids=["add_user", "add_token", "mixed", "mixed, confidential"],
)
async def test_the_same_seed_everywhere(fleet: Fleet, how: str, public: bool) -> None:
    """All start with one expired pair: 1 exchange. All restart with it, spent: not one more."""
    await fleet.register(public=public)
    pair = await fleet.pair(expired=True)
    workers = await fleet.start(PROCESSES)
    taken = zip(workers, HOW[how], strict=True)
    assert await asyncio.gather(*(take_in(*each, pair) for each in taken)) == (
        [pair.user_id] * PROCESSES
    )
    await fleet.expect(pair.user_id, exchanges=1)
    for number in range(10):
        await workers[number % PROCESSES].do("refresh", user_id=pair.user_id)
    await all_do(workers, "close")
    await asyncio.gather(*(worker.end() for worker in workers))
    fleet.workers.clear()

    workers = await fleet.start(PROCESSES)
    taken = zip(workers, HOW[how], strict=True)
    await asyncio.gather(*(take_in(*each, pair) for each in taken))
    assert await all_do(workers, "call", user_id=pair.user_id, count=5) == [[]] * PROCESSES
    await fleet.expect(pair.user_id, exchanges=11)
    assert await fleet.parked(pair.refresh_token) is None


async def test_many_seeds_in_many_processes(fleet: Fleet) -> None:
    """Forty pairs from one configuration, taken in by all processes in the same order."""
    await fleet.register()
    pairs = [await fleet.pair(expired=True) for _ in range(40)]
    workers = await fleet.start(PROCESSES)

    async def read_configuration(worker: Worker, how: str) -> None:
        await asyncio.gather(*(take_in(worker, how, pair) for pair in pairs))

    await asyncio.gather(*map(read_configuration, workers, HOW["mixed"]))
    counts = await fleet.twitch.counts()
    assert (counts.exchanges, counts.replays) == (40, 0)
    for pair in pairs[::8]:
        await fleet.expect(pair.user_id, exchanges=40)
