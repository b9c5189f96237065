"""How soon another process sees a write: a view on Redis, against a bare stream."""

from __future__ import annotations

import asyncio
import time
from statistics import quantiles
from typing import Final

from benchmarks.processes import Worker, client, valkey
from benchmarks.records import CLIENT_ID, key, make_record, pair, user_id
from benchmarks.runner import Line, Plan, Result, expect
from twitchvault import RedisStore

PAUSE: Final = 0.004
"""Seconds between two writes: each is seen before the next one comes."""
OURS: Final = "RedisStore.put → view"
BARE: Final = "XADD → XREAD"
P99: Final = 98


async def redis(plan: Plan) -> list[Result]:
    """Writes of this process, seen by another one; ours and bare ones take turns."""
    count = plan.count(1_000)
    result = Result("propagation-redis", "another process sees a write, Redis")
    sent: dict[str, dict[str, int]] = {OURS: {}, BARE: {}}
    async with (
        valkey() as port,
        client(port) as bare,
        RedisStore(f"redis://127.0.0.1:{port}") as store,
    ):
        await store.put(key(1), make_record(0))
        options = {"client_id": CLIENT_ID, "watched": user_id(1), "until": count}
        view = await Worker.start("follow_view", port=port, **options)
        stream = await Worker.start("follow_stream", port=port, stream="bare", until=count)
        try:
            for number in range(1, count + 1):
                value = make_record(number)
                await asyncio.sleep(PAUSE)
                sent[OURS][pair(number)[0]] = time.monotonic_ns()
                await store.put(key(1), value)
                await asyncio.sleep(PAUSE)
                sent[BARE][str(number)] = time.monotonic_ns()
                await bare.xadd("bare", {"n": number, "k": key(1), "v": value})
            seen = {OURS: await view.result(), BARE: await stream.result()}
        finally:
            await view.stop()
            await stream.stop()
    for who in (OURS, BARE):
        late = [(seen[who][n] - at) / 1e9 for n, at in sent[who].items() if n in seen[who]]
        expect(len(late) >= count * 0.9, f"{who}: only {len(late)} of {count} writes were seen")
        result.lines.append(Line(who, "ours" if who == OURS else "limit", late))
    _marks(result)
    return [result]


def _marks(result: Result) -> None:
    ours, bare = (quantiles(result.line(who).samples, n=100) for who in (OURS, BARE))
    result.line(OURS).ratio, result.line(BARE).ratio = ours[49] / bare[49], 1.0
    for who, found in ((OURS, ours), (BARE, bare)):
        result.line(who).note = f"p99 {found[P99] * 1e6:,.0f} µs"
    for name, at, most in (("p50", 49, 1.75), ("p99", P99, 2.0)):
        ratio = ours[at] / bare[at]
        result.require(f"{name} ≤ {most:g} × {BARE}", f"{ratio:.2f} ×", passed=ratio <= most)  # noqa: RUF001
