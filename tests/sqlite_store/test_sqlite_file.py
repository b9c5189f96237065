"""The file: its form, its permissions, its name."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from twitchvault.errors import StoreError
from twitchvault.stores import Entry, SQLiteStore

from .tools import edit, permissions

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_stored_form(path: Path, store: SQLiteStore) -> None:
    """What is in the file, literally: a change here needs a new schema number."""
    await store.put("client:1", b"first")
    await store.put("nul\0 and \N{GRINNING FACE}", b"\0\xff")
    await store.delete("client:1")
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
            ("CREATE INDEX deletes_by_version ON entries (version) WHERE value IS NULL",),
        ]
        assert file.execute("SELECT * FROM entries").fetchall() == [
            (1, b"client:1", 3, None),
            (2, b"nul\0 and \xf0\x9f\x98\x80", 2, b"\0\xff"),
        ]


async def test_old_deletes_leave_the_file(path: Path, store: SQLiteStore) -> None:
    """Opening keeps the newest 100,000 deletes, all entries, and the newest version."""
    first = await store.put("kept", b"1")
    await store.close()
    with closing(sqlite3.connect(path)) as file:
        rows = ((b"gone%d" % place, first + place) for place in range(1, 100_006))
        file.executemany("INSERT INTO entries (key, version) VALUES (?, ?)", rows)
        file.commit()
    async with store:
        assert [entry.key async for entry in store.scan()] == ["kept"]
        assert await store.put("new", b"2") == first + 100_006
    with closing(sqlite3.connect(path)) as file:
        deleted = "SELECT count(*), min(version) FROM entries WHERE value IS NULL"
        assert file.execute(deleted).fetchone() == (100_000, first + 6)


async def test_a_copy_by_dump_is_recognised(path: Path, store: SQLiteStore) -> None:
    """`.dump` leaves the file's mark out; the two pragmas that the error names bring it back."""
    await store.put("a", b"1")
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as file:
        edit(copy, *file.iterdump())
    copied = SQLiteStore(copy)
    with pytest.raises(StoreError, match=r"not its mark, which '\.dump' leaves out") as refused:
        await copied.open()
    edit(copy, *str(refused.value).split("'")[5:8:2])
    async with copied:
        assert await copied.get("a") == Entry("a", 1, b"1")


@pytest.mark.parametrize("umask", [0, 0o022, 0o177])
async def test_files_are_private_from_the_first_byte(
    path: Path, umask: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
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
        async with SQLiteStore(path) as store:
            await store.put("a", b"1")
            files = permissions(path.parent)
        async with store:
            pass
    finally:
        os.umask(before)
    assert made == [0o600]
    assert files == {"tokens.db": 0o600, "tokens.db-wal": 0o600, "tokens.db-shm": 0o600}
    assert caplog.messages == []


async def opened(path: Path) -> dict[str, int]:
    """Open and close a store; the permissions of its files meanwhile."""
    async with SQLiteStore(path):
        return permissions(path.parent)


async def test_permissions_of_an_existing_file_stay(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They are the owner's decision; the log says that others can use the file."""
    os.close(os.open(path, os.O_CREAT, 0o640))
    assert set((await opened(path)).values()) == {0o640}
    (message,) = caplog.messages
    assert message == (
        f"{str(path)!r} holds secrets that other users of this machine can read (it has owner "
        f"{os.geteuid()} and mode 640): 'chmod 600' it and the files beside it"
    )


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
async def test_a_file_beside_it_that_is_too_open_is_mended(
    path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What was left by a crash or a copy must not show the tokens to others."""
    beside = f"{path}{suffix}"
    os.close(os.open(beside, os.O_CREAT, 0o644))
    assert set((await opened(path)).values()) == {0o600}
    assert caplog.messages == [
        f"{beside!r} could be used by other users (mode 644) and no longer can"
    ]


async def test_a_file_beside_it_of_somebody_else_is_refused(path: Path) -> None:
    """SQLite would take it for the store's log, so a link to some other place will not do."""
    beside = f"{path}-wal"
    os.symlink("elsewhere", beside)  # noqa: PTH211
    with pytest.raises(StoreError) as refused:
        await opened(path)
    assert str(refused.value) == (
        f"{beside!r} is not a regular file of the store's owner, yet SQLite would trust it: find "
        "out who made it, then move it away, or 'chown' it if it belongs to the store"
    )
    os.unlink(beside)  # noqa: PTH108
    if os.geteuid() == 0:  # nobody else can give a file away
        os.close(os.open(beside, os.O_CREAT, 0o600))
        os.chown(beside, 65534, -1)
        with pytest.raises(StoreError, match="is not a regular file of the store's owner"):
            await opened(path)
        os.chown(beside, 0, -1)
    await opened(path)


async def test_a_mounted_file_is_warned_of(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container its log would stay behind."""
    monkeypatch.setattr(os.path, "ismount", lambda name: name == str(path))
    await opened(path)
    (message,) = caplog.messages
    assert message == (
        f"{str(path)!r} is a mount point, so its log, '{path}-wal', stays outside of the mount: "
        "the newest writes may be lost with it; mount the folder instead"
    )


@pytest.mark.parametrize(
    "name", ["a b%20?c#d.db", "file:x.db", "ü\N{GRINNING FACE}.db", os.fsdecode(b"\xff.db")]
)
async def test_any_file_name(tmp_path: Path, name: str) -> None:
    """Signs with a meaning in a URL, and names that are not UTF-8, are names like any other."""
    await opened(tmp_path / name)
    assert permissions(tmp_path).keys() == {name}


async def test_a_link_leads_to_the_file(path: Path, store: SQLiteStore) -> None:
    """Two names of one file are one store."""
    link = path.with_name("link.db")
    os.symlink(path, link)  # noqa: PTH211
    async with SQLiteStore(link) as second:
        await second.put("a", b"1")
        assert await store.get("a") == Entry("a", 1, b"1")
        await store.close()
    assert permissions(path.parent).keys() == {"tokens.db", "link.db"}


def test_impossible_arguments() -> None:
    """They are refused at once."""
    for path in ("", "a\0b"):
        with pytest.raises(ValueError, match=r"'path' must name a file, '.*' cannot"):
            SQLiteStore(path)
    with pytest.raises(TypeError, match="'path' must be a str or a path, not bytes"):
        SQLiteStore(b"a.db")  # type: ignore[arg-type]
    for seconds in (-1, float("nan"), float("inf"), 86_401):
        with pytest.raises(ValueError, match="'busy_timeout' must be 0 to 86400 seconds, not "):
            SQLiteStore("a.db", busy_timeout=seconds)
