"""All SQL about entries. These functions block: they run on the worker's thread or are quick.

    entries(id, key, version, value)

`key` is the key in UTF-8 as a BLOB, so that it compares bytewise and NUL is a byte like any other.
`value` is NULL once the key is deleted. Such a row stays: versions are never given out again, and
feeds see the delete. A row keeps its `id`, by which scans go, whatever is written to its key: a
write changes one page of the table and one or two of the small index by version, no more.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final, Protocol

from twitchvault.errors import CorruptRecord, StoreError, VersionConflict
from twitchvault.stores.base import Change, Entry, Unreadable
from twitchvault.stores.pages import Page

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from twitchvault.stores.sqlite.writing import Writing

    _Parameters = list[bytes | int | None]

__all__ = ["DDL", "LEAVE_FIRST", "TAKE_FIRST", "changes", "chunk", "commit", "find", "last_version"]

DDL: Final = (
    """CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE CHECK (typeof(key) = 'blob'),
    version INTEGER NOT NULL,
    value BLOB CHECK (typeof(value) IN ('blob', 'null'))
)""",
    "CREATE UNIQUE INDEX entries_by_version ON entries (version)",
)
# The first form had the rows in a tree by key, which is more to write for each change.
LEAVE_FIRST: Final = (
    "ALTER TABLE entries RENAME TO entries_of_1",
    "DROP INDEX entries_by_version",
)
TAKE_FIRST: Final = (
    "INSERT INTO entries (key, version, value) SELECT key, version, value FROM entries_of_1",
    "DROP TABLE entries_of_1",
)
_LAST: Final = "SELECT coalesce(max(version), 0) FROM entries"
_FIND: Final = "SELECT key, version, value FROM entries WHERE key = ?"
_STANDS: Final = "SELECT version FROM entries WHERE key = ? AND value IS NOT NULL"
_WRITE: Final = (
    "INSERT INTO entries (key, version, value) VALUES {} "
    "ON CONFLICT (key) DO UPDATE SET version = excluded.version, value = excluded.value"
)
_COLUMNS: Final = 3
_ROW: Final = "(?, ?, ?)"
_MANY: Final = 100
_WRITES: Final = tuple((_WRITE.format(", ".join([_ROW] * rows)), rows) for rows in (_MANY, 1))
_TOO_LARGE: Final = sqlite3.DataError, OverflowError
# The plus keeps SQLite from the index by key, whose order is not that of the rows in the file.
_CHUNK: Final = (
    "SELECT id, key, version, value FROM entries "
    "WHERE id > ? AND +key >= ? AND +key < ? AND value IS NOT NULL ORDER BY id LIMIT ?"
)
# The plus keeps SQLite from walking all keys of the prefix instead of the few new versions.
_CHANGES: Final = (
    "SELECT key, version, value FROM entries "
    "WHERE version > ? AND +key >= ? AND +key < ? ORDER BY version"
)
_CHUNK_ROWS: Final = 4_000
_CHUNK_BYTES: Final = 4_000_000
_FETCH: Final = 50


class _Execute(Protocol):
    def __call__(self, sql: str, parameters: tuple[object, ...] = ..., /) -> sqlite3.Cursor: ...


def find(connection: sqlite3.Connection, key: str) -> Entry | None:
    """The entry of `key`, or None."""
    row = connection.execute(_FIND, (key.encode(),)).fetchone()
    entry = None if row is None or row[2] is None else _entry(*row)
    if entry and isinstance(entry.value, Unreadable):
        raise entry.value.error
    return entry


def chunk(connection: sqlite3.Connection, prefix: bytes, after: int) -> tuple[Page, int | None]:
    """The next entries whose id is above `after`, and the last id, to go on after.

    None: there are no more.
    """
    bounds = after, prefix, _end(prefix), _CHUNK_ROWS
    keys: list[str] = []
    versions: list[int] = []
    values: list[bytes] = []
    page = Page(keys, versions, values)
    size = 0
    with closing(connection.execute(_CHUNK, bounds)) as cursor:  # left open it holds a snapshot
        while size < _CHUNK_BYTES and (rows := cursor.fetchmany(_FETCH)):
            some = _page(rows)
            keys += some.keys
            versions += some.versions
            values += some.values
            size += sum(map(len, some.values))
            after = rows[-1][0]
    if size < _CHUNK_BYTES and len(page) < _CHUNK_ROWS:
        return page, None
    return page, after


def last_version(execute: _Execute) -> int:
    """The largest version given out so far; 0 if none was."""
    version: int = execute(_LAST).fetchone()[0]
    return version


def changes(execute: _Execute, prefix: bytes, since: int) -> list[Change]:
    """What was written or deleted after version `since`, in order of versions."""
    rows = execute(_CHANGES, (since, prefix, _end(prefix))).fetchall()
    return [_change(*row) for row in rows]


def commit(connection: sqlite3.Connection, writes: Sequence[Writing]) -> list[int | StoreError]:
    """Carry out all writes in one transaction: for each its version, 0 (nothing to delete) or
    why it was refused. Refusing one does not touch the others; an exception means that none
    was written.
    """
    try:
        return _transaction(connection, [writes])
    except _TOO_LARGE:
        return _transaction(connection, [[write] for write in writes])


def _transaction(
    connection: sqlite3.Connection, parts: Iterable[Sequence[Writing]]
) -> list[int | StoreError]:
    _roll_back(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        results = [result for part in parts for result in _carry_out(connection, part)]
        connection.execute("COMMIT")
    except BaseException:
        _roll_back(connection)
        raise
    return results


def _carry_out(connection: sqlite3.Connection, writes: Sequence[Writing]) -> list[int | StoreError]:
    """What becomes of each is decided first; then all that is to be stored goes as one."""
    last = last_version(connection.execute)
    standing: dict[str, int] = {}  # what the writes so far have made of their keys
    results: list[int | StoreError] = []
    parameters: _Parameters = []
    for write in writes:
        key, value, expect = write.key, write.value, write.expect
        if value is None or expect is not None:
            found = standing[key] if key in standing else _stands(connection, key)
            if expect not in (None, found):
                results.append(VersionConflict(key, expect or 0, found))
                continue
            if value is None and not found:
                results.append(0)
                continue
        last += 1
        standing[key] = 0 if value is None else last
        parameters += (key.encode(), last, value)
        results.append(last)
    try:
        _store(connection, parameters)
    except _TOO_LARGE:
        if len(writes) > 1:
            raise
        return [_too_large(writes[0])]
    return results


def _stands(connection: sqlite3.Connection, key: str) -> int:
    """The version at which a key stands; 0 if it is absent."""
    row = connection.execute(_STANDS, (key.encode(),)).fetchone()
    return row[0] if row else 0


def _store(connection: sqlite3.Connection, parameters: _Parameters) -> None:
    """Many rows to a statement: SQLite then takes a tenth less time than for as many statements."""
    start = 0
    for sql, rows in _WRITES:
        size = rows * _COLUMNS
        while len(parameters) - start >= size:
            connection.execute(sql, parameters[start : start + size])
            start += size


def _too_large(write: Writing) -> StoreError:
    size = len(write.value or b"")
    return StoreError(f"the value for key {write.key!r} is too large for SQLite: {size} bytes")


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        with suppress(sqlite3.Error):  # what matters is the error that led here
            connection.execute("ROLLBACK")


def _end(prefix: bytes) -> bytes:
    """What is larger than all keys with this prefix, and smaller than all others behind them."""
    return prefix + b"\xff"  # a byte that UTF-8 never holds


def _page(rows: list[tuple[int, bytes, int, bytes]]) -> Page:
    _, keys, versions, values = zip(*rows, strict=True)
    if set(map(type, values)) == {bytes}:
        with suppress(UnicodeDecodeError):
            return Page(list(map(bytes.decode, keys)), versions, values)
    return Page.of(list(map(_entry, keys, versions, values)))


def _entry(key: bytes, version: int, value: bytes) -> Entry:
    try:
        name = key.decode()
    except UnicodeDecodeError:
        name = key.decode(errors="backslashreplace")
        return Entry(name, version, _damaged(f"the key {name!r} is not UTF-8"))
    if type(value) is not bytes:
        return Entry(name, version, _damaged(f"the value of key {name!r} is not a BLOB"))
    return Entry(name, version, value)


def _change(key: bytes, version: int, value: bytes | None) -> Change:
    entry = _entry(key, version, b"" if value is None else value)
    return Change(entry.key, version, None if value is None else entry.value)


def _damaged(what: str) -> Unreadable:
    return Unreadable(CorruptRecord(f"{what}: it is damaged, restore the file from a backup"))
