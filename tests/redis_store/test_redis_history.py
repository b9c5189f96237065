"""What processes do to one namespace while connections break is always explained by some order."""

from __future__ import annotations

import asyncio
import functools
import signal
from typing import TYPE_CHECKING

from tests.history import NEVER, check, record
from twitchvault.stores import RedisStore

if TYPE_CHECKING:
    from tests.redis_store.servers import Server


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
            server.signal(signal.SIGSTOP)
            await asyncio.sleep(3.5)
            server.signal(signal.SIGCONT)

    try:
        ops = await record(make_store, seconds=7, meanwhile=meanwhile)
    finally:
        server.signal(signal.SIGCONT)
    async with make_store() as store:
        check(ops, {entry.key: entry async for entry in store.scan()})
    assert len(ops) > 500, "the processes did hardly anything"
