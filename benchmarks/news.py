"""How long until another process sees a write: a view on Redis, against a bare stream."""

from __future__ import annotations

import asyncio
import time
from statistics import quantiles
from typing import Final

from benchmarks.places import Hand, client, valkey
from benchmarks.race import Line, Outcome, Plan, expect
from benchmarks.records import CLIENT_ID, a_record, key, pair, user_id
from twitchvault import RedisStore

PAUSE: Final = 0.004
"""Seconds between two writes: each is seen before the next one comes."""
OURS: Final = "RedisStore.put → view"
BARE: Final = "XADD → XREAD"
P99: Final = 98


async def redis(plan: Plan) -> list[Outcome]:
    """Writes of this process, seen by another one; ours and bare ones take turns."""
    count = plan.count(1_000)
    outcome = Outcome("news-redis", "another process sees a write, Redis")
    sent: dict[str, dict[str, int]] = {OURS: {}, BARE: {}}
    async with (
        valkey() as port,
        client(port) as bare,
        RedisStore(f"redis://127.0.0.1:{port}") as store,
    ):
        await store.put(key(1), a_record(0))
        options = {"client_id": CLIENT_ID, "watched": user_id(1), "until": count}
        view = await Hand.hire("follow_view", port=port, **options)
        stream = await Hand.hire("follow_stream", port=port, stream="bare", until=count)
        try:
            for number in range(1, count + 1):
                value = a_record(number)
                await asyncio.sleep(PAUSE)
                sent[OURS][pair(number)[0]] = time.monotonic_ns()
                await store.put(key(1), value)
                await asyncio.sleep(PAUSE)
                sent[BARE][str(number)] = time.monotonic_ns()
                await bare.xadd("bare", {"n": number, "k": key(1), "v": value})
            seen = {OURS: await view.result(), BARE: await stream.result()}
        finally:
            await view.dismiss()
            await stream.dismiss()
    for who in (OURS, BARE):
        late = [(seen[who][n] - at) / 1e9 for n, at in sent[who].items() if n in seen[who]]
        expect(len(late) >= count * 0.9, f"{who}: only {len(late)} of {count} writes were seen")
        outcome.lines.append(Line(who, "ours" if who == OURS else "limit", late))
    _marks(outcome)
    return [outcome]


def _marks(outcome: Outcome) -> None:
    ours, bare = (quantiles(outcome.line(who).samples, n=100) for who in (OURS, BARE))
    outcome.line(OURS).ratio, outcome.line(BARE).ratio = ours[49] / bare[49], 1.0
    for who, found in ((OURS, ours), (BARE, bare)):
        outcome.line(who).said = f"p99 {found[P99] * 1e6:,.0f} µs"
    for name, at, most in (("p50", 49, 1.75), ("p99", P99, 2.0)):
        ratio = ours[at] / bare[at]
        outcome.must(f"{name} ≤ {most:g} × {BARE}", f"{ratio:.2f} ×", met=ratio <= most)  # noqa: RUF001
