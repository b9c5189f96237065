"""What many users need of a Redis server, and of each process.

    python -m benchmarks.sizing [users]

The first table is about users at rest: memory of the server, and time and memory of a process that
opens on all of them. The second one is about what happens to them: how many writes each refresh and
each validation is, and what it takes of the server's CPU while so many processes follow.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import AsyncExitStack
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.footprint import OLD_TOKENS, in_fresh_process, prepare
from benchmarks.processes import client, valkey
from benchmarks.records import key, make_record
from twitchvault import App, RedisStore
from twitchvault.testing import FakeTwitchProcess

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CHANGES: Final = "{twitchvault}:changes"
DURABLE: Final = ("--appendonly", "yes", "--appendfsync", "always")
FOLLOWERS: Final = (1, 5)
REFRESHES_PER_HOUR: Final = 0.25
VALIDATIONS_PER_HOUR: Final = 1
COUNT: Final = 100
ROUNDS: Final = 7


class Cost(NamedTuple):
    """Of one operation: its writes, and seconds."""

    writes: float
    cpu: float
    wall: float


async def measure_idle(users: int, old_tokens: int) -> tuple[float, float, float, float]:
    """Bytes of the server by user, bytes of its stream, seconds to open, bytes of a process."""
    async with valkey() as port, client(port) as bare:
        url = f"redis://127.0.0.1:{port}"
        before = (await bare.info("memory"))["used_memory"]
        await prepare(url, users, old_tokens)
        stream = await bare.memory_usage(CHANGES, samples=0)
        server = (await bare.info("memory"))["used_memory"] - before - stream
        open_app = await asyncio.to_thread(in_fresh_process, url, users, watch=False)
        return server / users, stream, open_app["seconds"], open_app["bytes_per_user"]


async def cost_of(bare: Any, operation: Callable[[], Awaitable[object]], count: int) -> Cost:  # noqa: ANN401
    """What `count` operations cost, divided by them: of each figure the median of some rounds."""
    found = []
    for _ in range(ROUNDS):
        writes, cpu, began = await _written(bare), await _cpu(bare), time.perf_counter()
        await operation()
        wall = time.perf_counter() - began
        found.append((await _written(bare) - writes, await _cpu(bare) - cpu, wall))
    return Cost(*(median(figures) / count for figures in zip(*found, strict=True)))


async def _written(bare: Any) -> int:  # noqa: ANN401 - the driver's client
    return int((await bare.xinfo_stream(CHANGES))["entries-added"])


async def _cpu(bare: Any) -> float:  # noqa: ANN401
    found = await bare.info("cpu")
    return float(found["used_cpu_user"] + found["used_cpu_sys"])


async def measure_operations(followers: int, *options: str) -> dict[str, Cost]:
    """What each kind of operation costs while so many stores follow the changes."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        port = await enter(valkey(*options))
        bare = await enter(client(port))
        twitch = await enter(FakeTwitchProcess(seed=7))
        credentials = await twitch.register_client(public=True)
        place: dict[str, Any] = {
            "id_url": twitch.id_url,
            "api_url": twitch.api_url,
            "maintain": False,
        }
        stores = [await enter(RedisStore(f"redis://127.0.0.1:{port}")) for _ in range(followers)]
        app, *_ = [
            await enter(App(credentials.client_id, None, store=store, **place)) for store in stores
        ]
        users = []
        for number in range(COUNT):
            user = await twitch.add_user(f"user{number}")
            pair = await twitch.issue(credentials, user, ["chat:read"])
            users.append(await app.add_user(pair.access_token, pair.refresh_token))
            await users[-1].refresh()  # the first one is dearer: the pair came from outside

        async def refresh() -> None:
            for user in users:
                await user.refresh()

        async def validate() -> None:
            for user in users:
                await user.validate()

        async def put() -> None:
            for number in range(COUNT):
                await stores[0].put(key(number), make_record(number))

        async def put_at_once() -> None:
            puts = (stores[0].put(key(n), make_record(n)) for n in range(COUNT * 10))
            await asyncio.gather(*puts)

        return {
            "refresh": await cost_of(bare, refresh, COUNT),
            "validation": await cost_of(bare, validate, COUNT),
            "put, alone": await cost_of(bare, put, COUNT),
            "put, among many": await cost_of(bare, put_at_once, COUNT * 10),
        }


async def main() -> None:
    """Print the tables."""
    users = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    console = Console()
    rest = Table(title=f"{users:,} users at rest")
    for heading in ("records", "server, B each", "its stream, MB", "open, s", "process, B each"):
        rest.add_column(heading, justify="left" if heading == "records" else "right")
    for label, old_tokens in (("after a login", 0), ("after weeks", OLD_TOKENS)):
        server, stream, seconds, process = await measure_idle(users, old_tokens)
        rest.add_row(
            label, f"{server:,.0f}", f"{stream / 1e6:.1f}", f"{seconds:.1f}", f"{process:,.0f}"
        )
    console.print(rest)
    motion = Table(title="One operation")
    for heading in ("operation", "server", "processes", "writes", "server's CPU, µs", "took, µs"):
        motion.add_column(heading, justify="right")
    for label, options in (("in memory", ()), ("AOF, always", DURABLE)):
        for followers in FOLLOWERS:
            found = await measure_operations(followers, *options)
            for name, cost in found.items():
                figures = f"{cost.writes:g}", f"{cost.cpu * 1e6:,.0f}", f"{cost.wall * 1e6:,.0f}"
                motion.add_row(name, label, str(followers), *figures)
            hour = (
                REFRESHES_PER_HOUR * found["refresh"].cpu
                + VALIDATIONS_PER_HOUR * found["validation"].cpu
            )
            console.print(
                f"{label}, {followers} processes: {hour * 1e6:,.0f} µs of the server's CPU for a "
                f"user in an hour: {3600 / hour / 1e6:.1f} million users fill one core"
            )
    console.print(motion)
    console.print(f"load of the machine in the last five minutes: {os.getloadavg()[1]:.1f}")


if __name__ == "__main__":
    asyncio.run(main())
