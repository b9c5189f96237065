"""Files that cannot be used: each is a clear error of the documented kind, and shows no value."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiosqlite
import pytest

from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores import Entry, SQLiteStore

from .tools import BOUND, edit, locked, page_size, run_script

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator

CANARY: Final = "canary-4f9c2e"
SONGS: Final = "CREATE TABLE songs (title TEXT)"
MARK: Final = f"PRAGMA application_id = {int.from_bytes(b'twvt')}"

ANOTHER: Final = "is the database of another program: name another file; it was left as it is"
BAD_FILES: Final[dict[str, tuple[Callable[[Path], object], type[StoreError], str]]] = {
    "text": (
        lambda path: path.write_text("these are my notes\n" * 200),
        StoreError,
        "is not a SQLite database, or its first page is damaged: name another file",
    ),
    "folder": (Path.mkdir, StoreError, "is a folder: name a file in which the store may keep"),
    "pipe": (os.mkfifo, StoreError, "is not a regular file: name a file in which the store may"),
    "no folder": (
        lambda path: path.symlink_to(path.with_name("nothing") / "tokens.db"),
        StoreUnavailable,
        "cannot be made: its folder does not exist, make that first",
    ),
    "songs": (lambda path: edit(path, SONGS), StoreError, ANOTHER),
    "empty": (lambda path: edit(path, "PRAGMA application_id = 7", "VACUUM"), StoreError, ANOTHER),
    "log": (lambda path: edit(path, "PRAGMA journal_mode = WAL", SONGS), StoreError, ANOTHER),
    "newer": (
        lambda path: edit(path, MARK, "PRAGMA user_version = 3", SONGS),
        StoreError,
        "has schema 3, this version of twitchvault knows schema 2: upgrade twitchvault, or",
    ),
}
DAMAGED: Final = (
    "is damaged: stop what uses it, then restore it from a backup, or save what can be read with "
    "'sqlite3 FILE .recover' (SQLITE_CORRUPT)"
)
LOCKED: Final = (
    "stayed locked by another program for longer than 'busy_timeout' allows: find what keeps a "
    "transaction open on it, or allow more time (SQLITE_BUSY)"
)


@pytest.mark.parametrize("what", BAD_FILES)
async def test_a_file_that_cannot_be_a_store(path: Path, what: str) -> None:
    """It is named, left as it is, and once it is out of the way the same store opens."""
    make, kind, message = BAD_FILES[what]
    make(path)
    before = contents(path)
    store = SQLiteStore(path)
    for _ in range(2):
        with pytest.raises(StoreError) as refused:
            await store.open()
        assert type(refused.value) is kind
        assert str(refused.value).startswith(f"{str(path)!r} {message}")
        assert refused.value.__cause__ is None
    with pytest.raises(StoreError, match="is not open yet"):
        await store.get("a")
    assert contents(path) == before
    os.rename(path, path.with_name("away"))  # noqa: PTH104 - a Path may not in a coroutine
    await store.open()
    assert await store.put("a", b"1") == 1
    await store.close()


def contents(path: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {p.name: p.read_bytes() for p in path.parent.iterdir() if p.is_file()}


async def test_locked_by_another_program(path: Path) -> None:
    """A write waits for `busy_timeout` and not much longer; reading goes on; later it works."""
    opening = SQLiteStore(path, busy_timeout=0.2)
    async with SQLiteStore(path, busy_timeout=0.2) as store:
        await store.put("a", b"1")
        with locked(path) as other:
            started = time.monotonic()
            for step in (store.put("a", b"2"), opening.open()):
                with pytest.raises(StoreUnavailable) as refused:
                    await step
                assert str(refused.value) == f"{str(path)!r} {LOCKED}"
            assert 0.3 < time.monotonic() - started < BOUND
            assert await store.get("a") == Entry("a", 1, b"1")
            other.rollback()
            async with opening:
                assert await opening.put("a", b"2") == 2


@pytest.fixture
async def full(path: Path) -> SQLiteStore:
    """A closed store with enough in it to have inner pages."""
    async with SQLiteStore(path) as store:
        await asyncio.gather(*(store.put(f"k{n:04}", value_of(n)) for n in range(500)))
    return store


def value_of(number: int) -> bytes:
    """A value that can be found in the file."""
    return b"value of %04d" % number + bytes(1_000)


def overwrite(path: Path, start: int, size: int) -> None:
    """Damage part of a file."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\0" * size)


async def test_a_damaged_page(path: Path, full: SQLiteStore) -> None:
    """What can be read is read, what cannot is an error, and no key is said to be absent."""
    size = page_size(path)
    overwrite(path, path.read_bytes().index(value_of(250)) // size * size, size)  # noqa: ASYNC240
    async with full:
        assert await full.get("k0499") == Entry("k0499", 500, value_of(499))
        for step in (full.get("k0250"), full.put("k0250", b"1"), read_all(full)):
            with pytest.raises(StoreError) as refused:
                await step
            assert str(refused.value) == f"{str(path)!r} {DAMAGED}"
        await full.put("k0499", b"1")


async def test_a_damaged_file(path: Path, full: SQLiteStore) -> None:
    """It does not open, and is not taken for a new one."""
    os.truncate(path, page_size(path) * 3)
    with pytest.raises(StoreError, match="is damaged"):
        await full.open()
    overwrite(path, 0, 100)
    with pytest.raises(StoreError, match="its first page is damaged"):
        await full.open()
    edit(path.with_name("other.db"), SONGS, MARK, "PRAGMA user_version = 2")
    with pytest.raises(StoreError, match=r"used, SQLite says 'no such table: entries' \(SQLITE_"):
        await SQLiteStore(path.with_name("other.db")).open()


async def read_all(store: SQLiteStore) -> None:
    """A whole scan."""
    async for _ in store.scan():
        pass


async def test_a_driver_whose_thread_is_not_found(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store works all the same; only an unclosed one then keeps the interpreter alive."""

    class Renamed(aiosqlite.Connection):
        thread: threading.Thread

        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__("thread" if name == "_thread" else name, value)

        def __await__(self) -> Generator[Any, None, aiosqlite.Connection]:
            self.thread.start()
            return self._connect().__await__()

    monkeypatch.setattr("aiosqlite.core.Connection", Renamed)
    async with SQLiteStore(path) as store:
        assert await store.put("a", b"1") == 1


FULL_DISK: Final = """
import asyncio, resource, sys
from twitchvault.stores import SQLiteStore

async def main():
    store = SQLiteStore(sys.argv[1])
    await store.open()
    await store.put("a", b"before")
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        await asyncio.gather(store.put("a", b"after"), store.put("b", bytes(1_000_000)))
    except Exception as error:
        print(type(error).__name__, error)
    print(await store.get("a"), await store.get("b"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print(await store.put("b", bytes(1_000_000)))
    await store.close()

asyncio.run(main())
"""


def test_no_room_on_the_disk(path: Path) -> None:
    """The writers get an error, what was there is there, and with room again it works."""
    assert run_script(FULL_DISK, path).splitlines() == [
        (
            f"StoreUnavailable {str(path)!r} cannot be read or written by the operating system: "
            "check the disk, the space left on it and the limits on file size, then try again "
            "(SQLITE_IOERR_WRITE)"
        ),
        "Entry(key='a', version=1, value=<6 bytes>) None",
        "2",
    ]


NOBODY: Final = """
import asyncio, concurrent.futures.thread, logging, os, sys
from twitchvault.stores import SQLiteStore

logging.disable()  # what it says about other users is not the subject here
store = SQLiteStore(sys.argv[1], busy_timeout=0.2)
if os.geteuid() == 0:  # whom no permission binds
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    asyncio.run(store.open())
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("exists", "file_mode", "folder_mode", "name"),
    [
        (False, 0, 0o555, ""),
        (True, 0o444, 0o777, " (SQLITE_READONLY)"),
        (True, 0o666, 0o555, " (SQLITE_READONLY_DIRECTORY)"),
        (True, 0o000, 0o777, " (SQLITE_CANTOPEN)"),
    ],
    ids=["no file in a read-only folder", "read-only file", "read-only folder", "unreadable file"],
)
async def test_no_permission(
    shared: Path, exists: bool, file_mode: int, folder_mode: int, name: str
) -> None:
    """The error comes from `open`, not from the first write."""
    path = shared / "inner" / "tokens.db"
    path.parent.mkdir()
    if exists:
        async with SQLiteStore(path):
            pass
        path.chmod(file_mode)
    path.parent.chmod(folder_mode)
    output = await asyncio.to_thread(run_script, NOBODY, path)
    path.parent.chmod(0o755)
    assert output == (
        f"StoreUnavailable {str(path)!r} cannot be opened or written: this user needs permission "
        f"to read and write it, and to make files in its folder{name}\n"
    )
