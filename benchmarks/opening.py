"""Opening a flow on many stored users, against fetching the same rows and nothing more."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from contextlib import AsyncExitStack, closing
from typing import TYPE_CHECKING, Final

from cryptography.fernet import Fernet

from benchmarks import peers
from benchmarks.processes import client, valkey
from benchmarks.records import CLIENT_ID, fill, make_record, pair, rows, user_id
from benchmarks.runner import Candidate, Plan, Result, Skipped, expect, measure
from twitchvault import App, FernetStore, RedisStore, SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from twitchvault import TokenStore

FETCH: Final = "SELECT key, version, value FROM entries"
ROUNDS: Final = {1_000: 9, 10_000: 5}


def _rounds(plan: Plan, users: int) -> int:
    return plan.rounds(ROUNDS.get(users, 3))


async def filled(store: TokenStore, users: int) -> None:
    """Put so many users into a new store and close it."""
    await store.open()
    await fill(store, users)
    await store.close()


def opening(make: Callable[[], TokenStore], users: int) -> Callable[[], Awaitable[float]]:
    """Seconds from a closed store to views that show everybody, every record read."""

    async def run() -> float:
        store = make()
        app = App(CLIENT_ID, store=store, maintain=False)
        began = time.perf_counter()
        await app.authorize()
        took = time.perf_counter() - began
        expect(len(app.tokens) == users, f"the views do not show {users} users")
        expect(app.tokens[user_id(users - 1)] == pair(users - 1), "a view shows a wrong token")
        await app.close()
        await store.close()
        return took

    return run


def fetching(path: Path, users: int) -> Callable[[], Awaitable[float]]:
    """Seconds for connecting and fetching all rows."""

    async def run() -> float:
        began = time.perf_counter()
        with closing(sqlite3.connect(path)) as connection:
            found = connection.execute(FETCH).fetchall()
            took = time.perf_counter() - began
        expect(len(found) == users, f"{len(found)} rows, not {users}")
        return took

    return run


async def sqlite(plan: Plan) -> list[Result]:
    """From a SQLite file."""
    return [await _sqlite(plan, users) for users in plan.sizes]


async def _sqlite(plan: Plan, users: int) -> Result:
    result = Result("open-sqlite", f"open on {users:,} users, SQLite", size=users)
    path = plan.folder / f"open-{users}.db"
    await filled(SQLiteStore(path), users)
    candidates = [
        Candidate("fetching the rows alone", "limit", fetching(path, users)),
        Candidate("App.authorize, SQLite", "ours", opening(lambda: SQLiteStore(path), users)),
        *_files(plan, result, users),
    ]
    await measure(result, candidates, _rounds(plan, users))
    result.require_ratio("App.authorize, SQLite", 6.0, "fetching the rows")
    return result


def _files(plan: Plan, result: Result, users: int) -> list[Candidate]:
    """Peers that keep everybody in one file; what they read is neither checked nor shared."""
    path = plan.folder / f"all-{users}.json"
    path.write_text(json.dumps({key: json.loads(value) for key, value in rows(users)}))
    try:
        persistence = peers.module("msal_extensions").FilePersistence(str(path))
    except Skipped as error:
        result.skipped.append(f"msal-extensions: {error}")
        return []

    async def load() -> float:
        began = time.perf_counter()
        found = json.loads(persistence.load())
        took = time.perf_counter() - began
        expect(len(found) == users, f"{len(found)} users, not {users}")
        return took

    return [Candidate("msal-extensions, one JSON file", "peer", load)]


async def redis(plan: Plan) -> list[Result]:
    """From a Redis server."""
    return [await _redis(plan, users) for users in plan.sizes]


async def _redis(plan: Plan, users: int) -> Result:
    result = Result("open-redis", f"open on {users:,} users, Redis", size=users)
    async with valkey() as port:
        url = f"redis://127.0.0.1:{port}"
        await filled(RedisStore(url), users)
        async with client(port) as bare, AsyncExitStack() as stack:
            for start in range(0, users, 1_000):
                some = {user_id(n): make_record(n) for n in range(start, min(start + 1_000, users))}
                await bare.hset("bare", mapping=some)
            candidates = [
                Candidate("HGETALL + json.loads", "limit", _hgetall(port, users)),
                Candidate("App.authorize, Redis", "ours", opening(lambda: RedisStore(url), users)),
            ]
            if users <= 10_000:
                candidates += await _key_value(result, stack, port, users)
            await measure(result, candidates, _rounds(plan, users))
    result.require_ratio("App.authorize, Redis", 1.5, "HGETALL + decoding")
    return result


def _hgetall(port: int, users: int) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        async with client(port) as bare:
            began = time.perf_counter()
            answer = await bare.hgetall("bare")
            found = {name.decode(): json.loads(value) for name, value in answer.items()}
            took = time.perf_counter() - began
        expect(len(found) == users, f"{len(found)} users, not {users}")
        return took

    return run


async def _key_value(
    result: Result, stack: AsyncExitStack, port: int, users: int
) -> list[Candidate]:
    try:
        store = await peers.key_value(stack, "redis", port=port)
    except Skipped as error:
        result.skipped.append(f"py-key-value-aio, redis: {error}")
        return []
    ids = [user_id(number) for number in range(users)]
    await store.put_many(ids, [json.loads(make_record(number)) for number in range(users)])

    async def run() -> float:
        began = time.perf_counter()
        found = await store.get_many(ids)
        took = time.perf_counter() - began
        expect(all(found) and len(found) == users, f"not all of {users} users were found")
        return took

    return [Candidate("py-key-value-aio, redis get_many", "peer", run)]


async def encrypted(plan: Plan) -> list[Result]:
    """From an encrypted SQLite file."""
    users = max(size for size in plan.sizes if size <= 100_000)
    result = Result("open-encrypted", f"open on {users:,} encrypted users, SQLite", size=users)
    secret = Fernet.generate_key()
    path, plain = plan.folder / "encrypted.db", plan.folder / "plain.db"
    await filled(FernetStore(SQLiteStore(path), secret), users)
    await filled(SQLiteStore(plain), users)
    turn = (str(plain), str(path), secret.decode(), str(users))
    async with AsyncExitStack() as stack:
        candidates = [
            Candidate(
                "plain opening + bare Fernet.decrypt", "limit", _in_fresh_process("limit", *turn)
            ),
            Candidate(
                "App.authorize, FernetStore(SQLite)", "ours", _in_fresh_process("ours", *turn)
            ),
            *await _wrapped(result, stack, secret, users),
        ]
        await measure(result, candidates, plan.rounds(13))
    result.require_ratio("App.authorize, FernetStore(SQLite)", 1.15, "plain + decrypt")
    return [result]


def _in_fresh_process(*turn: str) -> Callable[[], Awaitable[float]]:
    """A turn in a new process, as a flow opens in life: its memory is not yet in pieces."""
    command = [sys.executable, "-m", "benchmarks.opening", *turn]

    async def run() -> float:
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    return run


async def _one_turn(role: str, plain: str, path: str, secret: str, users: str) -> float:
    """Seconds of ours, or of the limit: a plain opening, and decrypting the file's values."""
    if role == "ours":
        return await opening(lambda: FernetStore(SQLiteStore(path), secret), int(users))()
    ciphertexts = await _values(SQLiteStore(path))
    took = await opening(lambda: SQLiteStore(plain), int(users))()
    decrypt = Fernet(secret).decrypt
    began = time.perf_counter()
    for one in ciphertexts:
        decrypt(one)
    return took + time.perf_counter() - began


async def _values(store: TokenStore) -> list[bytes]:
    """What the users' entries of a store hold, as it lies there."""
    await store.open()
    values = [entry.value async for entry in store.scan(f"{CLIENT_ID}:")]
    await store.close()
    return values


async def _wrapped(
    result: Result, stack: AsyncExitStack, secret: bytes, users: int
) -> list[Candidate]:
    who = "py-key-value-aio, memory in its Fernet wrapper"
    try:
        inner = await peers.key_value(stack, "memory")
        wrapper = peers.module("key_value.aio.wrappers.encryption")
    except Skipped as error:
        result.skipped.append(f"{who}: {error}")
        return []
    store = wrapper.FernetEncryptionWrapper(inner, fernet=Fernet(secret))
    ids = [user_id(number) for number in range(users)]
    await store.put_many(ids, [json.loads(make_record(number)) for number in range(users)])

    async def run() -> float:
        began = time.perf_counter()
        found = await store.get_many(ids)
        took = time.perf_counter() - began
        expect(all(found) and len(found) == users, f"not all of {users} users were found")
        return took

    return [Candidate(who, "peer", run)]


if __name__ == "__main__":
    print(asyncio.run(_one_turn(*sys.argv[1:])))
