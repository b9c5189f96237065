"""Eight processes on one server: one exchange per expiry, whatever happens to the server."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from typing import TYPE_CHECKING, Literal

import pytest

from tests.processes.fleet import all_do

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.processes.fleet import Fleet
    from tests.redis_store.servers import Server

    Trouble = Callable[[], Awaitable[None]]

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(180),  # thousands of calls: on a busy machine they take a while
]

PROCESSES = 8
TASKS = 100
EXPIRIES = 20


@pytest.fixture
async def own(own_server: Callable[..., Server]) -> Server:
    """A server that has on disk what it has acknowledged."""
    return await own_server("--appendonly", "yes", "--appendfsync", "always").ready()


@pytest.fixture
def store_url(own: Server) -> str:
    """Where the processes meet."""
    return own.url


async def begin(fleet: Fleet) -> str:
    """Start the processes; the user that all of them know."""
    await fleet.register()
    workers = await fleet.start(PROCESSES)
    return await fleet.own_pair(workers[0])


async def nothing() -> None:
    """The server is left alone."""


async def expire(fleet: Fleet, user_id: str, trouble: Trouble = nothing) -> None:
    """Let the token expire and all tasks of all processes call with it: all are answered.

    One exchange, and then all views show the new pair.
    """
    exchanges = (await fleet.twitch.counts()).exchanges
    assert await fleet.twitch.expire_access(user_id) == 1
    calls = all_do(fleet.workers, "call", user_id=user_id, count=TASKS)
    failures, _ = await asyncio.gather(calls, trouble())
    assert failures == [[]] * PROCESSES
    await fleet.expect(user_id, exchanges=exchanges + 1)


async def test_one_exchange_per_expiry(fleet: Fleet) -> None:
    """8 processes x 100 tasks on one expired token, 20 times: one exchange, no failed call."""
    user_id = await begin(fleet)
    for _ in range(EXPIRIES):
        await expire(fleet, user_id)


async def endure(
    fleet: Fleet,
    outage: Callable[[], AbstractContextManager[None]],
    seconds: float,
) -> None:
    """20 expiries with an outage of `seconds` in each, at different moments.

    In turn: any moment; while the request is on its way to Twitch; while the new pair is on its way
    back, so that it comes home to a store that is away.
    """
    chance = random.Random(7)
    user_id = await begin(fleet)

    async def at_any_moment() -> None:
        await asyncio.sleep(chance.uniform(0, 1))
        with outage():
            await asyncio.sleep(seconds)

    async def in_the_middle(when: Literal["before", "after"]) -> None:
        async with await fleet.twitch.hold("token:refresh_token", when=when) as gate:
            await gate.reached()
            with outage():
                await gate.release()
                await asyncio.sleep(seconds)

    for number in range(EXPIRIES):
        moments = (at_any_moment, lambda: in_the_middle("before"), lambda: in_the_middle("after"))
        await expire(fleet, user_id, moments[number % 3])


async def test_server_is_killed_and_restarted(fleet: Fleet, own: Server) -> None:
    """`kill -9` of the server and a restart in each expiry."""

    @contextlib.contextmanager
    def down() -> Iterator[None]:
        own.kill()
        yield
        own.start()

    await endure(fleet, down, 0.2)


async def test_server_stands_still(fleet: Fleet, own: Server) -> None:
    """The server stands still for three seconds in each expiry."""

    @contextlib.contextmanager
    def stopped() -> Iterator[None]:
        own.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            own.signal(signal.SIGCONT)

    await endure(fleet, stopped, 3)


async def test_connections_are_killed(fleet: Fleet, own: Server) -> None:
    """All connections are killed every 200 ms."""
    async with _killing(own):
        await endure(fleet, contextlib.nullcontext, 0.25)


@contextlib.asynccontextmanager
async def _killing(server: Server) -> AsyncIterator[None]:
    async def kill() -> None:
        async with server.client() as client:
            while True:
                await client.client_kill_filter(_type="normal", skipme=True)
                await asyncio.sleep(0.2)

    killing = asyncio.create_task(kill())
    try:
        yield
    finally:
        killing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await killing
