"""What `SQLiteStore` promises beyond the contract of every store: its file, and its writes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from twitchvault.errors import StoreError, StoreUnavailable, VersionConflict
from twitchvault.stores.base import Entry, Unreadable
from twitchvault.stores.sqlite import SQLiteStore, table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

BOUND = 10.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition without a loop, within a bound."""
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def nothing_leaks(tmp_path: Path) -> Iterator[None]:
    """No thread and no open file is left behind by any test."""
    before = set(threading.enumerate())
    yield
    wait_until(lambda: set(threading.enumerate()) <= before, "a thread is left")
    left = [name for name in open_files() if name.startswith(str(tmp_path))]
    assert not left, "a file is left open"


def open_files() -> list[str]:
    """The paths this process has open, where the system tells."""
    names = []
    for link in Path("/proc/self/fd").glob("*"):
        try:
            names.append(os.readlink(link))  # noqa: PTH115 - a Path would not show '(deleted)'
        except FileNotFoundError:
            continue
    return names


def permissions(folder: Path) -> dict[str, int]:
    """The files of a folder."""
    return {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "tokens.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    """An open store."""
    store = SQLiteStore(path, busy_timeout=0.3)
    await store.open()
    yield store
    await store.close()


def writer(store: SQLiteStore) -> sqlite3.Connection:
    """The connection on the worker's thread."""
    assert store._session
    return store._session._worker.connections.writer


@contextmanager
def held(store: SQLiteStore) -> Iterator[None]:
    """Keep the worker's thread busy meanwhile."""
    assert store._session
    gate, busy = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        busy.set()
        gate.wait(BOUND)

    task = asyncio.ensure_future(store._session.run(hold))
    try:
        yield
    finally:
        gate.set()
        task.add_done_callback(lambda _: busy.wait(BOUND))


@contextmanager
def commits(store: SQLiteStore) -> Iterator[list[str]]:
    """The COMMITs of the writer, as SQLite itself reports them."""
    seen: list[str] = []
    connection = writer(store)
    connection.set_trace_callback(lambda sql: seen.append(sql) if sql == "COMMIT" else None)
    try:
        yield seen
    finally:
        connection.set_trace_callback(None)


# The file


async def test_the_stored_form(path: Path, store: SQLiteStore) -> None:
    """What is in the file, literally: a change here needs a new schema number."""
    await store.put("client:1", b"first")
    await store.put("client:2", b"")
    await store.put("nul\0 and \N{GRINNING FACE}", b"\0\xff")
    await store.delete("client:1")
    await store.put("client:2", b"second")
    await store.close()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA application_id").fetchone() == (0x74777674,)
        assert file.execute("PRAGMA user_version").fetchone() == (1,)
        assert file.execute("PRAGMA page_size").fetchone() == (8192,)
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert file.execute("SELECT type, name, sql FROM sqlite_master").fetchall() == [
            (
                "table",
                "entries",
                """CREATE TABLE entries (
    key BLOB NOT NULL PRIMARY KEY CHECK (typeof(key) = 'blob'),
    version INTEGER NOT NULL,
    value BLOB CHECK (typeof(value) IN ('blob', 'null'))
) WITHOUT ROWID""",
            ),
            (
                "index",
                "entries_by_version",
                "CREATE UNIQUE INDEX entries_by_version ON entries (version)",
            ),
        ]
        assert file.execute("SELECT key, version, value FROM entries").fetchall() == [
            (b"client:1", 4, None),
            (b"client:2", 5, b"second"),
            (b"nul\0 and \xf0\x9f\x98\x80", 3, b"\0\xff"),
        ]


async def test_how_the_file_is_written(store: SQLiteStore) -> None:
    """A write-ahead log, forced to the disk at every commit."""
    connection = writer(store)
    assert connection.execute("PRAGMA journal_mode").fetchone() == (b"wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA fullfsync").fetchone() == (1,)


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
async def test_files_are_private_from_the_first_byte(
    path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0600 when made, and so are the log and the index beside it, whatever the umask."""
    made: list[int] = []
    real = os.open

    def spy(name: str, flags: int, mode: int = 0o777) -> int:
        descriptor = real(name, flags, mode)
        made.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", spy)
    before = os.umask(umask)
    try:
        store = SQLiteStore(path)
        await store.open()
        await store.put("a", b"1")
        files = permissions(path.parent)
        await store.close()
    finally:
        os.umask(before)
    assert made == [0o600 & ~umask]
    assert files == {"tokens.db": 0o600, "tokens.db-wal": 0o600, "tokens.db-shm": 0o600}


async def test_permissions_of_an_existing_file_stay(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They are the owner's decision; the log says that others can use the file."""
    os.close(os.open(path, os.O_CREAT, 0o600))
    os.chmod(path, 0o640)  # noqa: PTH101 - a Path may not in a coroutine
    store = SQLiteStore(path)
    await store.open()
    await store.close()
    assert permissions(path.parent) == {"tokens.db": 0o640}
    (message,) = caplog.messages
    assert message == (
        f"{str(path)!r} can be used by other users of this machine (mode 640) and holds secrets: "
        "'chmod 600' it and the files beside it"
    )


async def test_a_private_file_is_no_news(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged about a file made here."""
    store = SQLiteStore(path)
    for _ in range(2):
        await store.open()
        await store.close()
    assert caplog.messages == []


@pytest.mark.parametrize(
    "name", ["a b%20?c#d.db", "ü\N{GRINNING FACE}.db", os.fsdecode(b"\xff.db")]
)
async def test_any_file_name(tmp_path: Path, name: str) -> None:
    """Signs with a meaning in a URL, and names that are not UTF-8, are names like any other."""
    store = SQLiteStore(tmp_path / name)
    await store.open()
    await store.put("a", b"1")
    await store.close()
    assert permissions(tmp_path).keys() == {name}


async def test_a_link_leads_to_the_file(tmp_path: Path) -> None:
    """Two names of one file are one store."""
    real, link = tmp_path / "real.db", tmp_path / "link.db"
    first = SQLiteStore(real)
    await first.open()
    link.symlink_to(real)
    second = SQLiteStore(link)
    await second.open()
    await second.put("a", b"1")
    assert await first.get("a") == Entry("a", 1, b"1")
    await first.close()
    await second.close()
    assert permissions(tmp_path).keys() == {"real.db", "link.db"}


async def test_a_relative_path_stands_for_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one it named when the store was made, wherever the process goes."""
    monkeypatch.chdir(tmp_path)
    store = SQLiteStore("relative.db")
    monkeypatch.chdir("/")
    await store.open()
    await store.close()
    assert (tmp_path / "relative.db").exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "'path' must name a file, '' cannot"),
        ("a\0b", "'path' must name a file, 'a\\x00b' cannot"),
        (":memory:", "'path' must name a file: for a store in memory use MemoryStore()"),
    ],
)
def test_impossible_paths(path: str, message: str) -> None:
    """They are refused at once."""
    with pytest.raises(ValueError, match="'path' must name a file") as refused:
        SQLiteStore(path)
    assert str(refused.value) == message


def test_impossible_arguments() -> None:
    """Kinds and ranges are checked at once."""
    with pytest.raises(TypeError, match="'path' must be a str or a path, not bytes"):
        SQLiteStore(b"a.db")  # type: ignore[arg-type]
    for seconds in (-1, float("nan"), float("inf"), 86_401):
        with pytest.raises(ValueError, match="'busy_timeout' must be 0 to 86400 seconds, not "):
            SQLiteStore("a.db", busy_timeout=seconds)


# Opening and closing


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
    stores = [SQLiteStore(path) for _ in range(12)]
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
    with held(store):
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


# Writing


@pytest.mark.parametrize("size", [0, 1, 4_000, 1_000_000])
async def test_values_of_any_size(store: SQLiteStore, size: int) -> None:
    """They come back as they went, also through scan and a feed."""
    value = os.urandom(size)
    async with store.watch() as feed:
        await store.put("a", value)
        assert [change.value for change in feed.drain()] == [value]
    assert await store.get("a") == Entry("a", 1, value)
    assert [entry async for entry in store.scan()] == [Entry("a", 1, value)]


async def test_writes_that_wait_share_a_transaction(store: SQLiteStore) -> None:
    """1,000 puts at once take two commits at most, each put with a version of its own."""
    with commits(store) as seen:
        versions = await asyncio.gather(*(store.put(f"k{n}", b"1") for n in range(1_000)))
    assert versions == list(range(1, 1_001))
    assert 1 <= len(seen) <= 2


async def test_a_group_is_bounded(store: SQLiteStore) -> None:
    """Very many writes go in several transactions."""
    with commits(store) as seen:
        await asyncio.gather(*(store.put(f"k{n}", b"1") for n in range(2_500)))
    assert 3 <= len(seen) <= 5


async def test_one_after_the_other_is_one_commit_each(store: SQLiteStore) -> None:
    """A put is on the disk before it returns."""
    with commits(store) as seen:
        for number in range(1, 6):
            await store.put("a", b"1")
            assert len(seen) == number


async def test_each_write_of_a_group_has_its_own_result(store: SQLiteStore) -> None:
    """Conflicts, absent keys and successes stand side by side, in the order asked for."""
    await store.put("there", b"1")
    with held(store):
        steps = asyncio.gather(
            store.put("new", b"1", expect=0),
            store.put("new", b"2", expect=0),
            store.delete("absent"),
            store.put("there", b"2", expect=1),
            store.delete("there", expect=1),
            store.delete("there", expect=3),
            store.put("there", b"3", expect=0),
            return_exceptions=True,
        )
        await asyncio.sleep(0)
    results = await steps
    assert [str(r) if isinstance(r, VersionConflict) else r for r in results] == [
        2,
        "key 'new': expected no entry, found version 2",
        False,
        3,
        "key 'there': expected version 1, found version 3",
        True,
        5,
    ]


async def test_a_failed_transaction_fails_all_of_its_writers(store: SQLiteStore) -> None:
    """With an error each; nothing of it is stored, and the next one works."""
    await store.put("a", b"before")
    pages = writer(store).execute("PRAGMA page_count").fetchone()[0]
    writer(store).execute(f"PRAGMA max_page_count = {pages}")
    puts = [store.put("a", b"after"), store.put("b", bytes(100_000)), store.put("c", b"1")]
    results = await asyncio.gather(*puts, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    assert len({id(result) for result in results}) == 3, "an exception has one owner"
    assert str(results[0]).endswith(
        "tokens.db' cannot grow, the disk is full: nothing of this was written; make room and try "
        "again (SQLITE_FULL)"
    )
    assert [entry async for entry in store.scan()] == [Entry("a", 1, b"before")]
    writer(store).execute("PRAGMA max_page_count = 100000")
    assert await store.put("b", bytes(100_000)) == 2


async def test_a_value_that_is_too_large_fails_alone(store: SQLiteStore) -> None:
    """The others of its group are written."""
    writer(store).setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
    puts = [store.put("a", b"1"), store.put("b", bytes(20_000)), store.put("c", b"1")]
    first, second, third = await asyncio.gather(*puts, return_exceptions=True)
    assert [first, third] == [1, 2]
    assert isinstance(second, StoreError)
    assert str(second) == "the value for key 'b' is too large for SQLite: 20000 bytes"


async def test_cancelled_before_it_began(store: SQLiteStore) -> None:
    """The write is taken back, its neighbours are not."""
    with held(store):
        first = asyncio.create_task(store.put("first", b"1"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # its group is on the way to the thread
        tasks = [asyncio.create_task(store.put(f"k{n}", b"1")) for n in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
    assert list(await asyncio.gather(first, tasks[0], tasks[2])) == [1, 2, 3]
    assert await store.get("k1") is None


async def test_cancelled_after_it_began(store: SQLiteStore) -> None:
    """It is carried out as a whole, its neighbours undisturbed."""
    with held(store):
        tasks = [asyncio.create_task(store.put(f"k{n}", b"1")) for n in range(3)]
        for _ in range(3):
            await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
    assert list(await asyncio.gather(tasks[0], tasks[2])) == [1, 3]
    assert await store.get("k1") == Entry("k1", 2, b"1")


async def test_cancelled_get_leaves_the_store_in_order(store: SQLiteStore) -> None:
    """The caller leaves at once; whoever comes next is served."""
    await store.put("a", b"1")
    with held(store):
        task = asyncio.create_task(store.get("a"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await store.get("a") == Entry("a", 1, b"1")


# Scanning


async def test_scan_in_pieces(store: SQLiteStore) -> None:
    """Every entry comes exactly once, in order of keys, also while others are written."""
    keys = [f"k{n:05}" for n in range(6_000)]
    await asyncio.gather(*(store.put(key, b"1") for key in keys))
    found: list[str] = []
    async for entry in store.scan("k"):
        if len(found) % 500 == 0:
            await store.put("k-between", b"1")
            await store.put("other", b"1")
        found.append(entry.key)
    assert [key for key in found if key != "k-between"] == keys


async def test_a_piece_is_bounded_in_bytes(store: SQLiteStore) -> None:
    """Large values come in smaller pieces, so that memory stays small."""
    await asyncio.gather(*(store.put(f"k{n:03}", bytes(200_000)) for n in range(120)))
    first, after = table.chunk(writer(store), b"", b"")
    assert len(first) == 50
    assert after == b"k049\0"
    assert len([entry async for entry in store.scan()]) == 120


async def test_an_abandoned_scan_holds_nothing(store: SQLiteStore) -> None:
    """Neither a snapshot that keeps the log growing nor the worker."""
    await asyncio.gather(*(store.put(f"k{n:03}", bytes(200_000)) for n in range(60)))
    scan = store.scan()
    assert (await anext(scan)).key == "k000"
    await store.put("a", b"1")
    busy, log, moved = writer(store).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert (busy, log, moved) == (0, 0, 0)


async def test_scan_of_a_store_closed_meanwhile(store: SQLiteStore) -> None:
    """The next piece is an error, not an end."""
    await asyncio.gather(*(store.put(f"k{n:05}", b"1") for n in range(3_000)))
    scan = store.scan()
    await anext(scan)
    await store.close()
    with pytest.raises(StoreError, match="is closed"):
        _ = [entry async for entry in scan]


async def test_a_damaged_key_hides_no_other(path: Path, store: SQLiteStore) -> None:
    """It comes with what is wrong in the place of its value."""
    await store.put("a", b"1")
    await store.put("z", b"1")
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("INSERT INTO entries VALUES (?, 3, ?)", (b"k\xff", b"x"))
    entries = [entry async for entry in store.scan()]
    assert [entry.key for entry in entries] == ["a", "k\\xff", "z"]
    value = entries[1].value
    assert isinstance(value, Unreadable)
    assert str(value.error) == (
        "the key 'k\\\\xff' is not UTF-8: it is damaged, restore the file from a backup"
    )


# A file that is taken away


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
