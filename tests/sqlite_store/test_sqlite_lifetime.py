"""Opening and closing, event loops, and losing the file."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.environment import until
from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores import Entry, SQLiteStore

from .tools import BOUND, locked

if TYPE_CHECKING:
    from pathlib import Path


async def test_many_open_one_new_file_at_once(path: Path) -> None:
    """Every store gets it, laid out once."""
    for number in range(8):
        stores = [SQLiteStore(path.with_suffix(f".{number}")) for _ in range(12)]
        await asyncio.gather(*(store.open() for store in stores))
        versions = await asyncio.gather(*(store.put("a", b"1") for store in stores))
        assert sorted(versions) == list(range(1, 13))
        await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.long
async def test_close_gives_up_in_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that hangs delays it for a bounded time; its writers get an error."""
    begun, disk = threading.Event(), threading.Event()

    class Hanging(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:  # noqa: ANN401
            if "INSERT INTO entries" in sql:
                begun.set()
                disk.wait(2 * BOUND)
            return super().execute(sql, *parameters)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Hanging, **k))
    store = SQLiteStore(path, busy_timeout=0)
    await store.open()
    threads = set(threading.enumerate())
    puts = [asyncio.create_task(store.put(key, b"1")) for key in "aab"]
    assert await asyncio.to_thread(begun.wait, BOUND)
    async with asyncio.timeout(BOUND):
        await store.close()
    results = await asyncio.gather(*puts, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    assert (
        str(results[0])
        == "the store was closed before an answer came: a write may have taken place"
    )
    assert caplog.messages == [f"{str(path)!r} did not close in time; its thread is left behind"]
    disk.set()
    await until(lambda: not threads <= set(threading.enumerate()))


def test_an_interrupted_loop_waits_for_the_write_under_way(
    path: Path, statements: list[str]
) -> None:
    """`asyncio.run` that ends in the midst of a write leaves a store that works."""
    store = SQLiteStore(path, busy_timeout=BOUND)

    async def leave() -> None:
        await store.open()
        other.execute("BEGIN IMMEDIATE")
        tasks.extend(asyncio.create_task(store.put(key, b"1")) for key in "ab")
        await until(lambda: "INSERT" in str(statements[-1]))
        tasks.extend(asyncio.create_task(store.get(key)) for key in "ab")
        threading.Timer(0.05, other.rollback).start()

    async def come_back() -> Entry | None:
        with pytest.raises(StoreError, match="was opened on an event loop that is closed: call"):
            await store.get("a")
        await store.open()
        entry = await store.get("a")
        await store.close()
        return entry

    tasks: list[asyncio.Task[object]] = []
    with locked(path) as other:
        other.rollback()
        asyncio.run(leave())
        assert [task.cancelled() for task in tasks] == [True] * 4
        assert asyncio.run(come_back()) == Entry("a", 1, b"1"), "it had begun: it was carried out"


@pytest.mark.parametrize("how", ["deleted", "replaced", "log deleted", "folder moved"])
async def test_a_file_taken_away_is_noticed(path: Path, how: str) -> None:
    """Nothing is written into a file that nobody will see; opening again starts anew."""
    folder = path.parent / "inner"
    folder.mkdir()
    path = folder / "tokens.db"
    store = SQLiteStore(path, busy_timeout=0.1)
    await store.open()
    await store.put("a", b"1")
    async with store.watch() as feed:
        match how:
            case "deleted":
                path.unlink()
            case "replaced":
                other = folder / "other.db"
                other.touch()
                other.replace(path)
            case "log deleted":
                (folder / "tokens.db-wal").unlink()
            case "folder moved":
                folder.rename(folder.parent / "elsewhere")
        steps = store.put("a", b"2"), store.get("a"), anext(store.scan()), feed.catch_up()
        for step in steps:
            with pytest.raises(StoreUnavailable) as refused:
                await step
            assert str(refused.value) == (
                f"{str(path)!r} or its log was deleted or replaced while the store had it open: "
                "nothing is written any more; close the store and open it again"
            )
    await store.close()
    folder.mkdir(exist_ok=True)
    for rest in folder.iterdir():
        rest.unlink()
    await store.open()
    assert await store.put("a", b"3") == 1
    await store.close()
