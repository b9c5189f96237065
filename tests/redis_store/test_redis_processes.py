"""Processes on one server: one exchange per expiry, and a history that some order explains."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

import pytest

from tests.history import NEVER, check, record
from tests.processes.fleet import all_do
from tests.redis_store.servers import DURABLE
from twitchvault.stores import RedisStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.processes.fleet import Fleet
    from tests.redis_store.servers import Server


pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]

PROCESSES = 8
TASKS = 50
OUTAGE = 3.5
"""Seconds: longer than one try of a call may take."""


@pytest.fixture
async def own(own_server: Callable[..., Server]) -> Server:
    """A server that has on disk what it has acknowledged."""
    return await own_server(*DURABLE).ready()


@pytest.fixture
def store_url(own: Server) -> str:
    """Where the processes meet."""
    return own.url


async def test_outage_in_each_expiry(fleet: Fleet, own: Server) -> None:
    """While the request is on its way, while the pair is on its way back, and at another moment.

    A server that is killed: `tests/promises/test_no_lost_token_redis.py`.
    """
    await fleet.register()
    user_id = await fleet.own_pair((await fleet.start(PROCESSES))[0])

    async def fail() -> None:
        with own.stopped():
            await asyncio.sleep(OUTAGE)

    async def fail_around(when: str) -> None:
        async with await fleet.twitch.hold("token:refresh_token", when=when) as gate:  # type: ignore[arg-type]
            await gate.reached()
            with own.stopped():
                await gate.release()
                await asyncio.sleep(OUTAGE)

    for number, trouble in enumerate([fail_around("before"), fail_around("after"), fail()], 2):
        await expire(fleet, user_id, trouble)
        await fleet.expect(user_id, exchanges=number)


async def expire(fleet: Fleet, user_id: str, trouble: Awaitable[None]) -> None:
    """Let the token expire and all tasks of all processes call with it: all are answered."""
    assert await fleet.twitch.expire_access(user_id) == 1
    calls = all_do(fleet.workers, "call", user_id=user_id, count=TASKS)
    failures, _ = await asyncio.gather(calls, trouble)
    assert failures == [[]] * PROCESSES


async def test_history_with_killed_connections(server: Server, namespace: str) -> None:
    """All connections are killed again and again: no write is lost, doubled, or falsely refused."""
    make_store = functools.partial(RedisStore, server.url, namespace=namespace)

    async def meanwhile() -> None:
        async with server.client() as client:
            await client.client_kill_filter(_type="normal", skipme=True)

    ops = await record(make_store, seconds=4, meanwhile=meanwhile)
    async with make_store() as store:
        check(ops, {entry.key: entry async for entry in store.scan()})
    done = [op for op in ops if op.end != NEVER]
    assert len(done) > 500, "the processes did hardly anything"
    assert len(ops) - len(done) < len(ops) / 10, "killed connections should only cost a moment"


async def test_history_with_a_stopped_server(server: Server, namespace: str) -> None:
    """A server that stands still for longer than a try may take does every write once."""
    make_store = functools.partial(RedisStore, server.url, namespace=namespace)
    stops = iter([True])

    async def meanwhile() -> None:
        await asyncio.sleep(1.5)
        if next(stops, False):
            with server.stopped():
                await asyncio.sleep(OUTAGE)

    ops = await record(make_store, seconds=7, meanwhile=meanwhile)
    async with make_store() as store:
        check(ops, {entry.key: entry async for entry in store.scan()})
    assert len(ops) > 500, "the processes did hardly anything"
