"""Writing: many at once, one after another, and how many connections that takes."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import AsyncExitStack, closing
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import aiosqlite

from benchmarks import peers
from benchmarks.processes import client, valkey
from benchmarks.records import key, make_record, user_id
from benchmarks.runner import Candidate, Line, Plan, Result, Skipped, expect, measure
from twitchvault import RedisStore, SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from benchmarks.runner import Role
    from twitchvault import TokenStore

    Put = Callable[[str, bytes], Awaitable[object]]

TABLE: Final = "CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
WRITE: Final = "REPLACE INTO entries VALUES (?, ?)"
DURABLE: Final = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL")
MANY: Final = 10_000
CONNECTIONS: Final = 8


class Values:
    """Records to write; each turn has new ones, so that no write can be left out."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._turns = count(1)

    def next(self) -> list[tuple[str, bytes]]:
        """Keys and values of the next turn."""
        turn = next(self._turns)
        return [(key(n), make_record(n + turn * 1_000_000)) for n in range(self._size)]


def all_at_once(store: TokenStore, size: int) -> Callable[[], Awaitable[float]]:
    """All puts wait at the same time."""
    values = Values(size)

    async def run() -> float:
        rows = values.next()
        began = time.perf_counter()
        versions = await asyncio.gather(*(store.put(name, value) for name, value in rows))
        took = time.perf_counter() - began
        expect(len(set(versions)) == size, "two writes have one version")
        name, value = rows[-1]
        entry = await store.get(name)
        expect(entry is not None and entry.value == value, "the last write is not in the store")
        return took

    return run


def one_by_one_puts(store: TokenStore, size: int) -> Callable[[], Awaitable[float]]:
    """Each put waits for the one before it; seconds for one."""
    values = Values(size)

    async def run() -> float:
        rows = values.next()
        began = time.perf_counter()
        for name, value in rows:
            await store.put(name, value)
        return (time.perf_counter() - began) / size

    return run


def _bare_file(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in (*DURABLE, TABLE):
        connection.execute(statement)
    return connection


async def sqlite(plan: Plan) -> list[Result]:
    """Durable writes that wait at the same time."""
    size = plan.count(1_000)
    result = Result("write-sqlite", f"{size:,} durable writes at once, SQLite", size=size)
    values = Values(size)
    async with AsyncExitStack() as stack:
        bare = stack.enter_context(closing(_bare_file(plan.folder / "bare.db")))
        store = SQLiteStore(plan.folder / "ours.db")
        await store.open()
        stack.push_async_callback(store.close)

        async def one_transaction() -> float:
            rows = values.next()
            began = time.perf_counter()
            bare.execute("BEGIN IMMEDIATE")
            bare.executemany(WRITE, rows)
            bare.execute("COMMIT")
            return time.perf_counter() - began

        candidates = [
            Candidate("one transaction", "limit", one_transaction),
            Candidate("SQLiteStore.put, all at once", "ours", all_at_once(store, size)),
            *await _file_peers(plan, result, stack, size),
        ]
        await measure(result, candidates, plan.rounds(21))
    result.require_ratio("SQLiteStore.put, all at once", 6, "one transaction")
    return [result]


async def _file_peers(
    plan: Plan, result: Result, stack: AsyncExitStack, size: int
) -> list[Candidate]:
    values = Values(size)
    connection = await aiosqlite.connect(plan.folder / "aiosqlite.db", isolation_level=None)
    stack.push_async_callback(connection.close)
    for statement in (*DURABLE, TABLE):
        await connection.execute(statement)

    async def write(name: str, value: bytes) -> None:
        await connection.execute(WRITE, (name, value))

    async def bare() -> float:
        rows = values.next()
        began = time.perf_counter()
        await asyncio.gather(*(write(name, value) for name, value in rows))
        return time.perf_counter() - began

    found = [Candidate("aiosqlite, each for itself", "peer", bare)]
    try:
        disk = await peers.key_value(stack, "disk", folder=plan.folder / "disk")
    except Skipped as error:
        result.skipped.append(f"py-key-value-aio, disk: {error}")
    else:
        found.append(Candidate("py-key-value-aio, disk (not FULL)", "peer", _puts(disk, size)))
    try:
        tokens = {user_id(n): {"token": "t" * 30, "refresh": "r" * 50} for n in range(size)}
        path = plan.folder / ".tio.tokens.json"
        tio = peers.twitchio_file(path, tokens)
    except Skipped as error:
        result.skipped.append(f"TwitchIO: {error}")
        return found

    async def save() -> float:
        began = time.perf_counter()
        await tio.save_tokens(str(path))
        return time.perf_counter() - began

    return [*found, Candidate("TwitchIO save_tokens, once (no fsync)", "peer", save)]


def _puts(store: Any, size: int) -> Callable[[], Awaitable[float]]:  # noqa: ANN401 - a peer's
    values = Values(size)

    async def run() -> float:
        rows = [(name, json.loads(value)) for name, value in values.next()]
        began = time.perf_counter()
        await asyncio.gather(*(store.put(name, value) for name, value in rows))
        took = time.perf_counter() - began
        expect(await store.get(rows[-1][0]) == rows[-1][1], "the last write is not in the store")
        return took

    return run


async def one_by_one(plan: Plan) -> list[Result]:
    """Durable writes, one after another."""
    size = plan.count(200)
    result = Result("write-one-by-one", f"{size} writes one after another, SQLite", size=size)
    values = Values(size)
    async with AsyncExitStack() as stack:
        connection = await aiosqlite.connect(plan.folder / "bare1.db", isolation_level=None)
        stack.push_async_callback(connection.close)
        for statement in (*DURABLE, TABLE):
            await connection.execute(statement)
        store = SQLiteStore(plan.folder / "ours1.db")
        await store.open()
        stack.push_async_callback(store.close)

        async def bare() -> float:
            rows = values.next()
            began = time.perf_counter()
            for row in rows:
                await connection.execute("BEGIN IMMEDIATE")
                await connection.execute(WRITE, row)
                await connection.commit()
            return (time.perf_counter() - began) / size

        candidates = [
            Candidate("aiosqlite begin, execute, commit", "limit", bare),
            Candidate("SQLiteStore.put", "ours", one_by_one_puts(store, size)),
        ]
        await measure(result, candidates, plan.rounds(21))
    result.require_ratio("SQLiteStore.put", 1, "aiosqlite begin, execute, commit")
    return [result]


async def redis(plan: Plan) -> list[Result]:
    """Writes that wait at the same time, on a Redis server."""
    size = plan.count(1_000)
    result = Result("write-redis", f"{size:,} writes at once, Redis", size=size)
    values = Values(size)
    async with valkey() as port, client(port) as bare, AsyncExitStack() as stack:
        store = await stack.enter_async_context(RedisStore(f"redis://127.0.0.1:{port}"))

        async def pipeline() -> float:
            rows = values.next()
            began = time.perf_counter()
            pipe = bare.pipeline(transaction=False)
            for name, value in rows:
                pipe.hset("bare", name, value)
            await pipe.execute()
            return time.perf_counter() - began

        candidates = [
            Candidate("one pipeline of HSET", "limit", pipeline),
            Candidate("RedisStore.put, all at once", "ours", all_at_once(store, size)),
        ]
        try:
            other = await peers.key_value(stack, "redis", port=port)
        except Skipped as error:
            result.skipped.append(f"py-key-value-aio, redis: {error}")
        else:
            candidates.append(Candidate("py-key-value-aio, redis", "peer", _puts(other, size)))
        await measure(result, candidates, plan.rounds(9))
    result.require_ratio("RedisStore.put, all at once", 2, "one pipeline of HSET")
    return [result]


async def connections(plan: Plan) -> list[Result]:
    """So many writes at once that somebody may open a connection for each."""
    size = plan.count(MANY)
    result = Result("write-connections", f"{size:,} writes at once, Redis", size=size)
    failed, connections = await _write_many(result, "RedisStore.put", "ours", _ours, size)
    try:
        peers.module("key_value.aio.stores.redis")
    except Skipped as error:
        result.skipped.append(f"py-key-value-aio, redis: {error}")
    else:
        await _write_many(result, "py-key-value-aio, redis", "peer", _theirs, size)
    result.require("all succeed", f"{failed} failed", passed=failed == 0)
    result.require(
        f"≤ {CONNECTIONS} connections", str(connections), passed=connections <= CONNECTIONS
    )
    return [result]


async def _ours(stack: AsyncExitStack, port: int) -> Put:
    return (await stack.enter_async_context(RedisStore(f"redis://127.0.0.1:{port}"))).put


async def _theirs(stack: AsyncExitStack, port: int) -> Put:
    store = await peers.key_value(stack, "redis", port=port)

    async def put(name: str, value: bytes) -> None:
        await store.put(name, json.loads(value))

    return put


async def _write_many(
    result: Result,
    who: str,
    role: Role,
    make: Callable[[AsyncExitStack, int], Awaitable[Put]],
    size: int,
) -> tuple[int, int]:
    """The number of writes that failed, and of connections that were made."""
    rows = Values(size).next()
    async with valkey() as port, client(port) as bare, AsyncExitStack() as stack:
        before = await _connections(bare)
        put = await make(stack, port)
        began = time.perf_counter()
        results = await asyncio.gather(
            *(put(name, value) for name, value in rows), return_exceptions=True
        )
        took = time.perf_counter() - began
        made = await _connections(bare) - before
    failed = sum(isinstance(result, BaseException) for result in results)
    result.lines.append(Line(who, role, [took], note=f"{failed} failed, {made} connections"))
    return failed, made


async def _connections(bare: Any) -> int:  # noqa: ANN401 - the driver's client
    return int((await bare.info("stats"))["total_connections_received"])
