"""The file: its form, its permissions, its name."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from twitchvault.errors import CorruptRecord
from twitchvault.stores.base import Entry
from twitchvault.stores.sqlite import SQLiteStore

from .tools import page_size, permissions, writer

if TYPE_CHECKING:
    from pathlib import Path


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
        assert file.execute("PRAGMA user_version").fetchone() == (2,)
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert file.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall() == [
            (
                """CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE CHECK (typeof(key) = 'blob'),
    version INTEGER NOT NULL,
    value BLOB CHECK (typeof(value) IN ('blob', 'null'))
)""",
            ),
            ("CREATE UNIQUE INDEX entries_by_version ON entries (version)",),
        ]
        assert file.execute("SELECT * FROM entries").fetchall() == [
            (1, b"client:1", 4, None),
            (2, b"client:2", 5, b"second"),
            (3, b"nul\0 and \xf0\x9f\x98\x80", 3, b"\0\xff"),
        ]


FIRST_FORM = """
CREATE TABLE entries (
    key BLOB NOT NULL PRIMARY KEY CHECK (typeof(key) = 'blob'),
    version INTEGER NOT NULL,
    value BLOB CHECK (typeof(value) IN ('blob', 'null'))
) WITHOUT ROWID;
CREATE UNIQUE INDEX entries_by_version ON entries (version);
PRAGMA application_id = 0x74777674;
PRAGMA user_version = 1;
INSERT INTO entries VALUES (x'61', 7, x'31'), (x'62', 8, NULL), (x'63', 5, x'ff');
"""


def damage(path: Path, value: bytes) -> None:
    """Overwrite the page that holds this value."""
    content = bytearray(path.read_bytes())
    size = page_size(path)
    page = content.index(value) // size * size
    content[page : page + size] = b"\xff" * size
    path.write_bytes(content)


async def test_a_file_of_the_first_form_is_taken_over(path: Path, tmp_path: Path) -> None:
    """Every entry with its version, and what was deleted stays so; it then is as a new file."""
    with closing(sqlite3.connect(path)) as file:
        file.executescript(FIRST_FORM)
    fresh = tmp_path / "new.db"
    store, new = SQLiteStore(path), SQLiteStore(fresh)
    await store.open()
    assert [entry async for entry in store.scan()] == [Entry("a", 7, b"1"), Entry("c", 5, b"\xff")]
    assert await store.put("b", b"2", expect=0) == 9
    await store.close()
    await new.open()
    await new.close()
    with closing(sqlite3.connect(path)) as file, closing(sqlite3.connect(fresh)) as other:
        for question in ("SELECT sql FROM sqlite_master", "PRAGMA user_version"):
            assert file.execute(question).fetchall() == other.execute(question).fetchall()
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_taking_over_is_whole_or_not_at_all(path: Path) -> None:
    """A file whose old form cannot be read to its end stays as it is."""
    with closing(sqlite3.connect(path)) as file, file:
        file.executescript(FIRST_FORM)
        rows = ((b"k%03d" % n, n + 9, b"value %03d" % n * 20) for n in range(300))
        file.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)
    damage(path, b"value 150")
    with pytest.raises(CorruptRecord):
        await SQLiteStore(path).open()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (1,)
        assert file.execute("SELECT * FROM entries WHERE key = x'61'").fetchone() == (b"a", 7, b"1")
        tables = file.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        assert tables == [("entries",)]


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
    descriptor = os.open(path, os.O_CREAT, 0o600)
    os.fchmod(descriptor, 0o640)
    os.close(descriptor)
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
