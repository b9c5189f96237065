"""Processes on one server: one exchange per expiry, whatever happens to the server."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

import pytest

from tests.processes.fleet import all_do

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.processes.fleet import Fleet
    from tests.redis_store.servers import Server

    Outage = Callable[[Server], AbstractContextManager[None]]

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]

PROCESSES = 8
TASKS = 50


@pytest.fixture
async def own(own_server: Callable[..., Server]) -> Server:
    """A server that has on disk what it has acknowledged."""
    return await own_server("--appendonly", "yes", "--appendfsync", "always").ready()


@pytest.fixture
def store_url(own: Server) -> str:
    """Where the processes meet."""
    return own.url


@contextlib.contextmanager
def killed(server: Server) -> Iterator[None]:
    """`kill -9`, and a restart."""
    server.kill()
    yield
    server.start()


@contextlib.contextmanager
def stopped(server: Server) -> Iterator[None]:
    """The server stands still, for longer than one try of a call may take."""
    server.signal(signal.SIGSTOP)
    yield
    server.signal(signal.SIGCONT)


@pytest.mark.parametrize(("outage", "seconds"), [(killed, 0.2), (stopped, 3.5)])
async def test_outage_in_each_expiry(
    fleet: Fleet, own: Server, outage: Outage, seconds: float
) -> None:
    """While the request is on its way, while the pair is on its way back, and at another moment."""
    await fleet.register()
    user_id = await fleet.own_pair((await fleet.start(PROCESSES))[0])

    async def fail() -> None:
        with outage(own):
            await asyncio.sleep(seconds)  # the outage itself

    async def fail_around(when: str) -> None:
        async with await fleet.twitch.hold("token:refresh_token", when=when) as gate:  # type: ignore[arg-type]
            await gate.reached()
            with outage(own):
                await gate.release()
                await asyncio.sleep(seconds)

    for number, trouble in enumerate([fail_around("before"), fail_around("after"), fail()], 2):
        await expire(fleet, user_id, trouble)
        await fleet.expect(user_id, exchanges=number)


async def expire(fleet: Fleet, user_id: str, trouble: Awaitable[None]) -> None:
    """Let the token expire and all tasks of all processes call with it: all are answered."""
    assert await fleet.twitch.expire_access(user_id) == 1
    calls = all_do(fleet.workers, "call", user_id=user_id, count=TASKS)
    failures, _ = await asyncio.gather(calls, trouble)
    assert failures == [[]] * PROCESSES
