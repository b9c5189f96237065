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
from benchmarks.places import Hand, client, valkey
from benchmarks.race import Contestant, LeftOut, Outcome, Plan, expect, race
from benchmarks.records import CLIENT_ID, a_record, fill, key, pair, user_id
from twitchvault import App, MemoryStore, RedisStore, SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from twitchvault import TokenStore

READS: Final = 40_000
STEP: Final = 8
SELECT: Final = "SELECT value FROM entries WHERE key = ?"


async def opened(stack: AsyncExitStack, store: TokenStore, users: int) -> App:
    """An app on a store with so many users; both are closed with the stack."""
    await store.open()
    stack.push_async_callback(store.close)
    await fill(store, users)
    app = App(CLIENT_ID, store=store, maintain=False)
    await app.authorize()
    stack.push_async_callback(app.close)
    expect(len(app.tokens) == users, f"the views do not show {users} users")
    return app


def some_ids(plan: Plan, users: int) -> list[str]:
    """Ids to ask for, in no order; as strings of their own, as they come off the wire."""
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


async def memory(plan: Plan) -> list[Outcome]:
    """Stores whose changes come by themselves: memory and Redis."""
    return [await _pushed(plan, users) for users in plan.sizes]


async def _pushed(plan: Plan, users: int) -> Outcome:
    outcome = Outcome("read-memory", f"read one token of {users:,} users", size=users)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(valkey())
        store = RedisStore(f"redis://127.0.0.1:{port}")
        apps = [await opened(stack, one, users) for one in (MemoryStore(), store)]
        # The same strings in a dict: where they lie in memory is half of a lookup's time.
        plain = dict(apps[0].tokens.items())
        ids = some_ids(plan, users)
        for app in apps:
            right = all(app.tokens[one] == pair(int(one) - int(user_id(0))) for one in ids)
            expect(right, "a view shows a wrong token")
        contestants = [
            Contestant("MappingProxyType(dict)[k]", "limit", lookups(MappingProxyType(plain), ids)),
            Contestant("view, memory", "ours", lookups(apps[0].tokens, ids)),
            Contestant("view, Redis", "ours", lookups(apps[1].tokens, ids)),
        ]
        if users == plan.sizes[0]:
            contestants += await _peers(plan, outcome, stack, port, users, ids)
        await race(outcome, contestants, plan.rounds(21))
    outcome.keep("view, memory", 1.3, "dict lookup")
    outcome.keep("view, Redis", 1.3, "dict lookup")
    return outcome


async def _peers(
    plan: Plan, outcome: Outcome, stack: AsyncExitStack, port: int, users: int, ids: Sequence[str]
) -> list[Contestant]:
    few = ids[: plan.count(1_000)]
    bare = client(port)
    stack.push_async_callback(bare.aclose)
    for number in range(users):
        await bare.hset("bare", user_id(number), a_record(number))
    found = [Contestant("redis.asyncio HGET", "peer", gets(lambda k: bare.hget("bare", k), few))]
    for kind in ("memory", "disk", "redis"):
        who = f"py-key-value-aio, {kind}"
        try:
            place = plan.folder / f"read-{kind}"
            store = await peers.key_value(stack, kind, folder=place, port=port)
        except LeftOut as error:
            outcome.left_out.append(f"{who}: {error}")
            continue
        for number in range(users):
            await store.put(user_id(number), json.loads(a_record(number)))
        found.append(Contestant(who, "peer", gets(store.get, few)))
    try:
        held = peers.twitchio_file(
            plan.folder / "tio.json",
            {user_id(n): {"token": pair(n)[0], "refresh": pair(n)[1]} for n in range(users)},
        )
    except LeftOut as error:
        outcome.left_out.append(f"TwitchIO: {error}")
    else:
        found.append(Contestant("TwitchIO client.tokens[k]", "peer", lookups(held.tokens, ids)))
    return found


async def sqlite(plan: Plan) -> list[Outcome]:
    """A store that has to be asked: each read is fresh to the last commit of any process."""
    return [await _asked(plan, users) for users in plan.sizes]


async def _asked(plan: Plan, users: int) -> Outcome:
    outcome = Outcome("read-sqlite", f"read one token of {users:,} users, SQLite", size=users)
    path = plan.folder / f"read-{users}.db"
    async with AsyncExitStack() as stack:
        app = await opened(stack, SQLiteStore(path), users)
        bare = stack.enter_context(closing(sqlite3.connect(path)))
        ids = some_ids(plan, users)[: plan.count(READS) // 4]
        keys = [f"{CLIENT_ID}:{one}".encode() for one in ids]
        expect(bare.execute(SELECT, (keys[0],)).fetchone(), "the SELECT finds nothing")

        async def select() -> float:
            execute = bare.execute
            began = time.perf_counter()
            for one in keys:
                execute(SELECT, (one,)).fetchone()
            return (time.perf_counter() - began) / len(keys)

        contestants = [
            Contestant("SELECT, open connection", "limit", select),
            Contestant("view, SQLite", "ours", lookups(app.tokens, ids)),
        ]
        await race(outcome, contestants, plan.rounds(11))
        fresh = await _sees_at_once(str(path), app)
    outcome.keep("view, SQLite", 1.0, "one SELECT by primary key")
    outcome.must(
        "another process's commit shows in the next read", "yes" if fresh else "no", met=fresh
    )
    return outcome


async def _sees_at_once(path: str, app: App) -> bool:
    record = a_record(0).replace(pair(0)[0].encode(), b"written-by-another-process")
    hand = await Hand.hire("put", path=path, number=0, value=record.decode())
    try:
        before = app.tokens[user_id(0)][0]
        hand.go()
        # Read without a turn of the loop in between: nothing but the read itself can fetch it.
        await hand.result()
        after = app.tokens[user_id(0)][0]
    finally:
        await hand.dismiss()
    expect(before == pair(0)[0], "the view showed a wrong token")
    expect(key(0).endswith(user_id(0)), "keys end with the user id")
    return after == "written-by-another-process"
