"""Files that cannot be used: each is a clear error of the documented kind."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from twitchvault.errors import CorruptRecord, StoreError, StoreUnavailable
from twitchvault.stores.base import Entry
from twitchvault.stores.sqlite import SQLiteStore
from twitchvault.stores.sqlite.file import APPLICATION_ID

from .tools import BOUND, page_size, run_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def text_file(path: Path) -> None:
    """Something of the user's that is no database."""
    path.write_text("these are my notes\n" * 200)


def folder(path: Path) -> None:
    """A folder in the place of the file."""
    path.mkdir()


def pipe(path: Path) -> None:
    """A pipe in the place of the file."""
    os.mkfifo(path)


def dangling_link(path: Path) -> None:
    """A link to nothing."""
    path.symlink_to(path.with_name("nothing"))


def other_program(path: Path) -> None:
    """A database with a table of its own."""
    with closing(sqlite3.connect(path)) as file:
        file.executescript("CREATE TABLE songs (title TEXT); INSERT INTO songs VALUES ('a');")


def other_empty(path: Path) -> None:
    """A database without a table, but with another program's mark."""
    with closing(sqlite3.connect(path)) as file:
        file.executescript("PRAGMA application_id = 7; VACUUM;")


def other_with_log(path: Path) -> None:
    """A database in use, what it holds standing in its log."""
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA journal_mode = WAL")
        file.executescript("CREATE TABLE songs (title TEXT)")


def newer(path: Path) -> None:
    """A store of a version of twitchvault yet to come."""
    with closing(sqlite3.connect(path)) as file:
        file.executescript(
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 3; CREATE TABLE x (y)"
        )


ANOTHER = "is the database of another program: name another file; it was left as it is"
NO_FOLDER = "cannot be made: its folder does not exist, make that first"
NOT_A_FILE = "name a file in which the store may keep its entries"
NO_DATABASE = (
    "is not a SQLite database, or its first page is damaged: name another file, or restore this "
    "one from a backup; it was left as it is (SQLITE_NOTADB)"
)
NEWER = (
    "has schema 3, this version of twitchvault knows schema 2: upgrade twitchvault, or name "
    "another file; it was left as it is"
)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (text_file, CorruptRecord, NO_DATABASE),
        (folder, StoreError, f"is a folder: {NOT_A_FILE}"),
        (pipe, StoreError, f"is not a regular file: {NOT_A_FILE}"),
        (dangling_link, StoreError, NO_FOLDER),
        (other_program, StoreError, ANOTHER),
        (other_empty, StoreError, ANOTHER),
        (other_with_log, StoreError, ANOTHER),
        (newer, StoreError, NEWER),
    ],
)
async def test_a_file_that_cannot_be_a_store(
    path: Path, make: Callable[[Path], None], kind: type[StoreError], message: str
) -> None:
    """It is named, left as it is, and once it is out of the way the same store opens."""
    make(path)
    before = contents(path)
    store = SQLiteStore(path)
    for _ in range(2):
        with pytest.raises(StoreError) as refused:
            await store.open()
        assert type(refused.value) is kind
        assert str(refused.value) == f"{str(path)!r} {message}"
        assert refused.value.__cause__ is None
    with pytest.raises(StoreError, match="is not open yet"):
        await store.get("a")
    assert contents(path) == before
    await store.close()
    os.rename(path, path.with_name("away"))  # noqa: PTH104 - a Path may not in a coroutine
    await store.open()
    assert await store.put("a", b"1") == 1
    await store.close()


def contents(path: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {p.name: p.read_bytes() for p in path.parent.iterdir() if p.is_file()}


async def test_no_such_folder(tmp_path: Path) -> None:
    """It is not made: a typing error should not make folders."""
    path = tmp_path / "missing" / "tokens.db"
    store = SQLiteStore(path)
    with pytest.raises(StoreError) as refused:
        await store.open()
    assert str(refused.value) == f"{str(path)!r} {NO_FOLDER}"
    path.parent.mkdir()
    await store.open()
    await store.close()


async def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    """The system's reason is told."""
    path = tmp_path / ("x" * 300)
    with pytest.raises(StoreUnavailable) as refused:
        await SQLiteStore(path).open()
    assert str(refused.value) == (
        f"{str(path)!r} cannot be opened: File name too long (ENAMETOOLONG)"
    )


# Locks


async def test_locked_by_another_program(path: Path, store: SQLiteStore) -> None:
    """A write waits for `busy_timeout` and not much longer; reading goes on; later it works."""
    await store.put("a", b"1")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(StoreUnavailable) as refused:
            await store.put("a", b"2")
        assert 0.25 < time.monotonic() - started < BOUND / 2
        assert await store.get("a") == Entry("a", 1, b"1")
        opening = SQLiteStore(path, busy_timeout=0.1)
        with pytest.raises(StoreUnavailable) as not_opened:
            await opening.open()
    message = (
        f"{str(path)!r} stayed locked by another program for longer than 'busy_timeout' allows: "
        "find what keeps a transaction open on it, or allow more time (SQLITE_BUSY)"
    )
    assert str(refused.value) == str(not_opened.value) == message
    assert await store.put("a", b"2") == 2
    await opening.open()
    await opening.close()


async def test_locked_for_a_moment(path: Path, store: SQLiteStore) -> None:
    """A write waits until the other program has done."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(0.05, other.rollback)
        assert await store.put("a", b"1") == 1


# Damage


@pytest.fixture
async def full(path: Path) -> SQLiteStore:
    """A closed store with enough in it to have inner pages."""
    store = SQLiteStore(path)
    await store.open()
    await asyncio.gather(*(store.put(f"k{n:04}", value_of(n)) for n in range(500)))
    await store.close()
    return store


def value_of(number: int) -> bytes:
    """A value that can be found in the file."""
    return b"value of %04d" % number + bytes(1_000)


DAMAGED = (
    "is damaged: stop what uses it, then restore it from a backup, or save what can be read with "
    "'sqlite3 FILE .recover' (SQLITE_CORRUPT)"
)


async def test_pages_overwritten(path: Path, full: SQLiteStore) -> None:
    """Reading, writing and watching say that it is damaged, never that a key is absent."""
    overwrite(path, slice(page_size(path), None), b"\x5a")
    with pytest.raises(CorruptRecord) as opened:
        await full.open()
    assert str(opened.value) == f"{str(path)!r} {DAMAGED}"


async def test_a_leaf_overwritten(path: Path, full: SQLiteStore) -> None:
    """What can be read is read, what cannot is an error."""
    size = page_size(path)
    leaf = path.read_bytes().index(value_of(250)) // size * size  # noqa: ASYNC240
    overwrite(path, slice(leaf, leaf + size), b"\0")
    await full.open()
    with pytest.raises(CorruptRecord) as missing:
        await full.get("k0250")
    assert str(missing.value) == f"{str(path)!r} {DAMAGED}"
    assert await full.get("k0499") == Entry("k0499", 500, value_of(499))
    with pytest.raises(CorruptRecord):
        _ = [entry async for entry in full.scan()]
    with pytest.raises(CorruptRecord):
        await full.put("k0250", b"1")
    await full.put("k0499", b"1")
    await full.close()


async def test_header_overwritten(path: Path, full: SQLiteStore) -> None:
    """A store that has become something else is not taken for a new one."""
    overwrite(path, slice(0, 100), b"x")
    with pytest.raises(CorruptRecord) as refused:
        await full.open()
    assert str(refused.value) == f"{str(path)!r} {NO_DATABASE}"


async def test_cut_short(path: Path, full: SQLiteStore) -> None:
    """Nor is one whose end is missing."""
    os.truncate(path, page_size(path) * 3)
    with pytest.raises(CorruptRecord) as refused:
        await full.open()
    assert str(refused.value) == f"{str(path)!r} {DAMAGED}"


async def test_a_table_missing(path: Path, full: SQLiteStore) -> None:
    """An error without a meaning of its own is told in SQLite's words."""
    with closing(sqlite3.connect(path)) as file:
        file.execute("DROP TABLE entries")
    with pytest.raises(StoreError) as refused:
        await full.open()
    assert str(refused.value) == (
        f"{str(path)!r} cannot be used, SQLite says 'no such table: entries' (SQLITE_ERROR)"
    )


def overwrite(path: Path, place: slice, byte: bytes) -> None:
    """Damage part of a file."""
    data = bytearray(path.read_bytes())
    start, stop, _ = place.indices(len(data))
    data[start:stop] = byte * (stop - start)
    path.write_bytes(data)


# The disk and permissions, each in a process that can be limited

FULL_DISK = """
import asyncio, resource, sys
from twitchvault.stores.sqlite import SQLiteStore

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
    """The writers are told, what was there is there, and with room again it works."""
    error, entries, version = run_script(FULL_DISK, path).splitlines()
    assert error == (
        f"StoreUnavailable {str(path)!r} cannot be read or written by the operating system: check "
        "the disk, the space left on it and the limits on file size, then try again "
        "(SQLITE_IOERR_WRITE)"
    )
    assert entries == "Entry(key='a', version=1, value=<6 bytes>) None"
    assert version == "2"


NOBODY = """
import asyncio, logging, os, sys
from twitchvault.stores.sqlite import SQLiteStore
from twitchvault.stores.sqlite import session

logging.disable()  # what it says about other users is not the subject here

async def main():
    store = SQLiteStore(sys.argv[1], busy_timeout=0.2)
    for _ in range(2):
        try:
            await store.open()
        except Exception as error:
            print(type(error).__name__, error)

if os.geteuid() == 0:  # whom no permission binds
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
asyncio.run(main())
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder into which any user may look."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


NOT_MADE = "cannot be made or read: give this user permission to do so in its folder (EACCES)"
NOT_WRITTEN = "cannot be written: give this user write permission for the file and for its folder"
NOT_OPENED = (
    "cannot be opened: this user needs permission to read and write the file and to make others in "
    "its folder (SQLITE_CANTOPEN)"
)


@pytest.mark.parametrize(
    ("exists", "file_mode", "folder_mode", "message"),
    [
        (False, 0, 0o555, NOT_MADE),
        (True, 0o444, 0o777, f"{NOT_WRITTEN} (SQLITE_READONLY)"),
        (True, 0o666, 0o555, f"{NOT_WRITTEN} (SQLITE_READONLY_DIRECTORY)"),
        (True, 0o000, 0o777, NOT_OPENED),
    ],
    ids=["no file in a read-only folder", "read-only file", "read-only folder", "unreadable file"],
)
def test_no_permission(
    shared: Path, exists: bool, file_mode: int, folder_mode: int, message: str
) -> None:
    """What is missing is named, at `open` and not at the first write."""
    path = shared / "inner" / "tokens.db"
    path.parent.mkdir()
    if exists:
        run_script(
            "import asyncio, sys\n"
            "from twitchvault.stores.sqlite import SQLiteStore\n"
            "async def main():\n"
            "    store = SQLiteStore(sys.argv[1])\n"
            "    await store.open()\n"
            "    await store.close()\n"
            "asyncio.run(main())\n",
            path,
        )
        path.chmod(file_mode)
    path.parent.chmod(folder_mode)
    try:
        told = run_script(NOBODY, path).splitlines()
    finally:
        path.parent.chmod(0o755)
    assert told == [f"StoreUnavailable {str(path)!r} {message}"] * 2
