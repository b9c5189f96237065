"""Reading one user's token: a view against a dict, and against a SELECT."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from contextlib import AsyncExitStack, closing
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from benchmarks import peers
from benchmarks.processes import Worker, client, valkey
from benchmarks.records import CLIENT_ID, fill, key, make_record, pair, user_id
from benchmarks.runner import Candidate, Plan, Result, Skipped, expect, measure
from twitchvault import App, MemoryStore, RedisStore, SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from twitchvault import TokenStore

READS: Final = 40_000
STEP: Final = 8
MANY: Final = 100_000
"""Users among whom lookups wait for memory, and overlap there."""
SELECT: Final = "SELECT value FROM entries WHERE key = ?"


async def open_app(stack: AsyncExitStack, store: TokenStore, users: int) -> App:
    """An app on a store with so many users; both are closed with the stack."""
    await store.open()
    stack.push_async_callback(store.close)
    await fill(store, users)
    app = App(CLIENT_ID, store=store, maintain=False)
    await app.authorize()
    stack.push_async_callback(app.close)
    expect(len(app.tokens) == users, f"the views do not show {users} users")
    return app


def choose_ids(plan: Plan, users: int) -> list[str]:
    """Ids to ask for, in no order; as strings of their own, as a parser makes them."""
    chosen = random.Random(7).choices(range(users), k=plan.count(READS) // STEP * STEP)  # noqa: S311
    return [user_id(number) for number in chosen]


def lookups(view: Mapping[str, Any], ids: Sequence[str]) -> Callable[[], Awaitable[float]]:
    """Seconds for one lookup; eight at a step, so that the loop itself weighs little."""
    groups = list(zip(*[iter(ids)] * STEP, strict=True))

    async def run() -> float:
        began = time.perf_counter()
        for a, b, c, d, e, f, g, h in groups:
            view[a]
            view[b]
            view[c]
            view[d]
            view[e]
            view[f]
            view[g]
            view[h]
        return (time.perf_counter() - began) / len(ids)

    return run


def gets(
    get: Callable[[str], Awaitable[Any]], ids: Sequence[str]
) -> Callable[[], Awaitable[float]]:
    """Seconds for one awaited read."""

    async def run() -> float:
        began = time.perf_counter()
        for one in ids:
            answer = await get(one)
        took = (time.perf_counter() - began) / len(ids)
        expect(answer, "a read came back empty")
        return took

    return run


async def memory(plan: Plan) -> list[Result]:
    """Stores that push their changes: memory and Redis."""
    return [await _read_pushed(plan, users) for users in plan.sizes]


async def _read_pushed(plan: Plan, users: int) -> Result:
    result = Result("read-memory", f"read one token of {users:,} users", size=users)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(valkey())
        store = RedisStore(f"redis://127.0.0.1:{port}")
        apps = [await open_app(stack, one, users) for one in (MemoryStore(), store)]
        # The same strings in a dict: where they lie in memory is half of a lookup's time.
        plain = dict(apps[0].tokens.items())
        ids = choose_ids(plan, users)
        for app in apps:
            right = all(app.tokens[one] == pair(int(one) - int(user_id(0))) for one in ids)
            expect(right, "a view shows a wrong token")
        candidates = [
            Candidate("MappingProxyType(dict)[k]", "limit", lookups(MappingProxyType(plain), ids)),
            Candidate("view, memory", "ours", lookups(apps[0].tokens, ids)),
            Candidate("view, Redis", "ours", lookups(apps[1].tokens, ids)),
        ]
        if users == plan.sizes[0]:
            candidates += await _peers(plan, result, stack, port, users, ids)
        await measure(result, candidates, plan.rounds(21))
    most = 1.3 if users < MANY else 1.75
    result.require_ratio("view, memory", most, "dict lookup")
    result.require_ratio("view, Redis", most, "dict lookup")
    return result


async def _peers(
    plan: Plan, result: Result, stack: AsyncExitStack, port: int, users: int, ids: Sequence[str]
) -> list[Candidate]:
    few = ids[: plan.count(1_000)]
    bare = client(port)
    stack.push_async_callback(bare.aclose)
    for number in range(users):
        await bare.hset("bare", user_id(number), make_record(number))
    found = [Candidate("redis.asyncio HGET", "peer", gets(lambda k: bare.hget("bare", k), few))]
    for kind in ("memory", "disk", "redis"):
        who = f"py-key-value-aio, {kind}"
        try:
            place = plan.folder / f"read-{kind}"
            store = await peers.key_value(stack, kind, folder=place, port=port)
        except Skipped as error:
            result.skipped.append(f"{who}: {error}")
            continue
        for number in range(users):
            await store.put(user_id(number), json.loads(make_record(number)))
        found.append(Candidate(who, "peer", gets(store.get, few)))
    try:
        held = peers.twitchio_file(
            plan.folder / "tio.json",
            {user_id(n): {"token": pair(n)[0], "refresh": pair(n)[1]} for n in range(users)},
        )
    except Skipped as error:
        result.skipped.append(f"TwitchIO: {error}")
    else:
        found.append(Candidate("TwitchIO client.tokens[k]", "peer", lookups(held.tokens, ids)))
    return found


async def sqlite(plan: Plan) -> list[Result]:
    """A store that is polled: each read is fresh to the last commit of any process."""
    return [await _read_polled(plan, users) for users in plan.sizes]


async def _read_polled(plan: Plan, users: int) -> Result:
    result = Result("read-sqlite", f"read one token of {users:,} users, SQLite", size=users)
    path = plan.folder / f"read-{users}.db"
    async with AsyncExitStack() as stack:
        app = await open_app(stack, SQLiteStore(path), users)
        bare = stack.enter_context(closing(sqlite3.connect(path)))
        ids = choose_ids(plan, users)[: plan.count(READS) // 4]
        keys = [f"{CLIENT_ID}:{one}".encode() for one in ids]
        expect(bare.execute(SELECT, (keys[0],)).fetchone(), "the SELECT finds nothing")

        async def select() -> float:
            execute = bare.execute
            began = time.perf_counter()
            for one in keys:
                execute(SELECT, (one,)).fetchone()
            return (time.perf_counter() - began) / len(keys)

        candidates = [
            Candidate("SELECT, open connection", "limit", select),
            Candidate("view, SQLite", "ours", lookups(app.tokens, ids)),
        ]
        await measure(result, candidates, plan.rounds(11))
        fresh = await _is_fresh(str(path), app)
    result.require_ratio("view, SQLite", 1.0, "one SELECT by primary key")
    result.require(
        "another process's commit shows in the next read", "yes" if fresh else "no", passed=fresh
    )
    return result


async def _is_fresh(path: str, app: App) -> bool:
    record = make_record(0).replace(pair(0)[0].encode(), b"written-by-another-process")
    worker = await Worker.start("put", path=path, number=0, value=record.decode())
    try:
        before = app.tokens[user_id(0)][0]
        worker.go()
        # Read without a turn of the loop in between: nothing but the read itself can fetch it.
        await worker.result()
        after = app.tokens[user_id(0)][0]
    finally:
        await worker.stop()
    expect(before == pair(0)[0], "the view showed a wrong token")
    expect(key(0).endswith(user_id(0)), "keys end with the user id")
    return after == "written-by-another-process"
