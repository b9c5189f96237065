"""Four processes share expired tokens through PostgreSQL, also while it fails: 0 replays."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.environment import REFRESH
from tests.processes.fleet import all_do

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.postgres_store.servers import Server
    from tests.processes.fleet import Fleet

PROCESSES = 4


async def test_the_storm(fleet: Fleet) -> None:
    """4 processes x 50 calls on one expired token, at once and spread out: one exchange each."""
    await fleet.register()
    workers = await fleet.start(PROCESSES)
    user_id = await fleet.own_pair(workers[0])
    for expiry, seconds in enumerate((0.0, 0.6), 1):
        await fleet.twitch.expire_access(user_id)
        failures = await all_do(workers, "call", user_id=user_id, count=50, seconds=seconds)
        assert failures == [[]] * PROCESSES
        await fleet.expect(user_id, exchanges=1 + expiry)


async def test_the_server_crashes_in_mid_storm(fleet: Fleet, server: Server) -> None:
    """It goes and comes back around an exchange: nothing is lost, and every process goes on."""
    await fleet.register()
    workers = await fleet.start(PROCESSES)
    user_id = await fleet.own_pair(workers[0])
    for expiry in (1, 2):
        await fleet.twitch.expire_access(user_id)
        async with await fleet.twitch.hold(REFRESH, when="after") as gate:
            calls = asyncio.ensure_future(all_do(workers, "call", user_id=user_id, count=50))
            await gate.reached()
            server.crash()
            await gate.release()
            await server.start().ready()
            check_failures(await calls)
        assert await all_do(workers, "call", user_id=user_id) == [[]] * PROCESSES
        await fleet.expect(user_id, exchanges=1 + expiry)


async def test_connections_are_cut_every_200_ms(fleet: Fleet, server: Server) -> None:
    """Whatever statement a process is at, its connections are cut: one exchange for an expiry."""
    await fleet.register()
    workers = await fleet.start(PROCESSES)
    user_id = await fleet.own_pair(workers[0])
    for expiry in (1, 2, 3):
        async with connections_cut(server):
            await fleet.twitch.expire_access(user_id)
            check_failures(await all_do(workers, "call", user_id=user_id, count=50, seconds=0.6))
        assert await all_do(workers, "call", user_id=user_id) == [[]] * PROCESSES
        await fleet.expect(user_id, exchanges=1 + expiry)


def check_failures(failures: list[list[str]]) -> None:
    """A call may fail while the store does; its error says so."""
    wrong = [text for each in failures for text in each if "StoreUnavailable(" not in text]
    assert not wrong


@asynccontextmanager
async def connections_cut(server: Server) -> AsyncIterator[None]:
    """Cut all connections of others every 200 ms."""

    async def cut() -> None:
        while True:
            await server.cut_connections()
            await asyncio.sleep(0.2)

    task = asyncio.create_task(cut())
    yield
    task.cancel()
    await asyncio.wait({task})
