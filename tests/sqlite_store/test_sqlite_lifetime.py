"""Opening and closing, forgetting and losing the file."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores.base import Entry
from twitchvault.stores.sqlite import SQLiteStore

from .tools import BOUND, held, permissions

if TYPE_CHECKING:
    from pathlib import Path


async def test_before_open_and_after_close_have_their_own_messages(path: Path) -> None:
    """Each says what the state is and what to do."""
    store = SQLiteStore(path)
    with pytest.raises(StoreError) as unopened:
        await store.get("a")
    await store.open()
    await store.close()
    with pytest.raises(StoreError) as closed:
        await store.put("a", b"1")
    name = f"the store in {str(path)!r}"
    assert str(unopened.value) == f"{name} is not open yet: call 'await store.open()' first"
    assert str(closed.value) == f"{name} is closed: call 'await store.open()' to use it again"


async def test_many_open_one_new_file_at_once(path: Path) -> None:
    """Every store gets it, laid out once."""
    for number in range(8):
        stores = [SQLiteStore(path.with_suffix(f".{number}")) for _ in range(12)]
        await asyncio.gather(*(store.open() for store in stores))
        versions = await asyncio.gather(*(store.put("a", b"1") for store in stores))
        assert sorted(versions) == list(range(1, 13))
        await asyncio.gather(*(store.close() for store in stores))


async def test_opens_and_closes_take_effect_in_order(path: Path) -> None:
    """Asked for all at once, the last one counts."""
    store = SQLiteStore(path)
    steps = [store.open(), store.open(), store.close(), store.open(), store.close(), store.open()]
    await asyncio.gather(*steps)
    assert await store.put("a", b"1") == 1
    await asyncio.gather(store.close(), store.open(), store.close(), store.close())
    with pytest.raises(StoreError, match="is closed"):
        await store.get("a")


async def test_cancelled_open_ends_in_the_background(path: Path) -> None:
    """Nothing is left half open: `close` waits for it, or a second `open` joins it."""
    store = SQLiteStore(path)
    for _ in range(5):
        opening = asyncio.create_task(store.open())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await store.close()
    opening = asyncio.create_task(store.open())
    await asyncio.sleep(0)
    opening.cancel()
    await store.open()
    assert await store.put("a", b"1") == 1
    await store.close()


async def test_close_finishes_the_writes_that_wait(path: Path, store: SQLiteStore) -> None:
    """Also those not begun; what comes after it is refused."""
    with held(store):
        puts = [asyncio.create_task(store.put(f"k{n}", b"1")) for n in range(1_500)]
        await asyncio.sleep(0)
        closing_ = asyncio.create_task(store.close())
        await asyncio.sleep(0)
    assert sorted(await asyncio.gather(*puts)) == list(range(1, 1_501))
    await closing_
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT count(*) FROM entries").fetchone() == (1_500,)


async def test_cancelled_close_goes_on(path: Path, store: SQLiteStore) -> None:
    """Cancelling who asked for it leaves nothing open."""
    await store.put("a", b"1")
    task = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(StoreError, match="is closed"):
        await store.get("a")
    await store.close()
    assert permissions(path.parent).keys() == {path.name}, "the log is left behind"


async def test_close_gives_up_in_the_end(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A thread that hangs delays it for a bounded time; its writers are told."""
    monkeypatch.setattr("twitchvault.stores.sqlite.session._CLOSE_PATIENCE", 0.1)
    with held(store) as busy:
        assert await asyncio.to_thread(busy.wait, BOUND)
        put = asyncio.create_task(store.put("a", b"1"))
        await asyncio.sleep(0)
        async with asyncio.timeout(BOUND):
            await store.close()
        with pytest.raises(StoreUnavailable, match="not known whether this write was stored"):
            await put
    assert "did not close in time; its thread is left behind" in caplog.text


async def test_a_forgotten_store_lets_go_of_everything(path: Path) -> None:
    """Without `close`, its end is the end of its thread and of its files (see the fixture)."""
    store = SQLiteStore(path)
    await store.open()
    await store.put("a", b"1")
    del store


def test_one_store_serves_successive_loops(path: Path) -> None:
    """It may stay open from one event loop to the next."""
    store = SQLiteStore(path)

    async def first() -> int:
        await store.open()
        return await store.put("a", b"1")

    async def second() -> Entry | None:
        async with store.watch() as feed:
            await store.put("a", b"2", expect=1)
            assert [change.version for change in await feed.wait()] == [2]
        return await store.get("a")

    async def third() -> None:
        await store.close()

    assert asyncio.run(first()) == 1
    assert asyncio.run(second()) == Entry("a", 2, b"2")
    asyncio.run(third())


def test_an_interrupted_loop_waits_for_the_write_under_way(path: Path) -> None:
    """`asyncio.run` that ends in the midst of a write leaves a store that works."""
    store = SQLiteStore(path)
    blocker = sqlite3.connect(path.parent / "tokens.db", isolation_level=None)

    async def leave() -> None:
        await store.open()
        blocker.execute("BEGIN IMMEDIATE")
        tasks.append(asyncio.create_task(store.put("a", b"1")))
        await asyncio.sleep(0.05)
        asyncio.get_running_loop().call_later(0.05, blocker.rollback)

    async def come_back() -> Entry | None:
        entry = await store.get("a")
        await store.close()
        return entry

    tasks: list[asyncio.Task[int]] = []
    asyncio.run(leave())
    assert tasks[0].cancelled()
    assert asyncio.run(come_back()) == Entry("a", 1, b"1"), "it had begun, so it was carried out"
    blocker.close()


def test_what_a_closed_loop_has_left_behind_disturbs_nobody(path: Path) -> None:
    """A write that it asked for and that has not begun is dropped, and the next loop's go on."""
    store = SQLiteStore(path)
    blocker = sqlite3.connect(path.parent / "tokens.db", isolation_level=None)

    async def leave() -> None:
        await store.open()
        blocker.execute("BEGIN IMMEDIATE")
        begun = store.put("a", b"1")
        for _ in range(3):
            await asyncio.sleep(0)
        tasks.extend(asyncio.ensure_future(one) for one in (begun, store.put("b", b"1")))
        for task in tasks:
            task.add_done_callback(lambda _: None)  # somebody waits, and could not be told

    async def come_back() -> list[Entry | None]:
        async with asyncio.timeout(BOUND):
            await store.put("c", b"1")
            return [await store.get(key) for key in "abc"]

    tasks: list[asyncio.Future[int]] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    blocker.rollback()
    assert asyncio.run(come_back()) == [Entry("a", 1, b"1"), None, Entry("c", 2, b"1")]
    asyncio.run(store.close())
    blocker.close()


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
        with pytest.raises(StoreUnavailable) as refused:
            await store.put("a", b"2")
        named = f"{path}-wal" if how == "log deleted" else str(path)
        assert str(refused.value) == (
            f"{named!r} was deleted or replaced while the store had it open: nothing is written "
            "any more; close the store and open it again"
        )
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            await store.get("a")
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            await anext(store.scan())
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            await feed.catch_up()
    await store.close()
    folder.mkdir(exist_ok=True)
    for rest in folder.iterdir():
        rest.unlink()
    await store.open()
    assert await store.put("a", b"3") == 1
    await store.close()
