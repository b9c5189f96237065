"""The SQL about entries.

`key` is the key in UTF-8 as a BLOB, so that it compares bytewise and NUL is a byte like any other.
`value` is NULL once the key is deleted. Of such rows the newest 100,000 stay: versions are never
given out again, and feeds see the delete. A row keeps its `id`, by which scans go, whatever is
written to its key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from twitchvault.errors import CorruptRecord
from twitchvault.stores.base import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from twitchvault.stores.connected import Write

T = TypeVar("T")

DDL: Final = (
    """CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE CHECK (typeof(key) = 'blob'),
    version INTEGER NOT NULL,
    value BLOB CHECK (typeof(value) IN ('blob', 'null'))
)""",
    "CREATE UNIQUE INDEX entries_by_version ON entries (version)",
    "CREATE INDEX deletes_by_version ON entries (version) WHERE value IS NULL",
)
LAST_VERSION: Final = "SELECT coalesce(max(version), 0) FROM entries"
GET: Final = "SELECT id, key, version, value FROM entries WHERE key = ? AND value IS NOT NULL"
# The plus keeps SQLite from the index by key, whose order is not that of the rows in the file.
SCAN: Final = """SELECT id, key, version, value FROM entries
WHERE id > ? AND +key >= ? AND +key < ? AND value IS NOT NULL ORDER BY id LIMIT ?"""
# The plus keeps SQLite from walking all keys of the prefix instead of the few new versions.
CHANGES: Final = """SELECT id, key, version, value FROM entries
WHERE version > ? AND +key >= ? AND +key < ? ORDER BY version"""
# At `open`: no feed is so many deletes behind. It also is an error if the file is read-only.
PRUNE: Final = """DELETE FROM entries WHERE value IS NULL AND version <= (
    SELECT version FROM entries WHERE value IS NULL ORDER BY version DESC LIMIT 1 OFFSET 100000)"""
# Writes each row whose expectation holds, and returns just those. `place` counts the rows.
_WRITE: Final = """WITH new (key, place, value, expect) AS (VALUES {rows})
INSERT INTO entries (key, version, value)
SELECT new.key, (SELECT coalesce(max(version), 0) FROM entries) + new.place, new.value
FROM new LEFT JOIN entries AS old ON old.key = new.key AND old.value IS NOT NULL
WHERE (new.expect IS NULL OR new.expect = coalesce(old.version, 0))
    AND (new.value IS NOT NULL OR old.key IS NOT NULL)
ON CONFLICT (key) DO UPDATE SET version = excluded.version, value = excluded.value
RETURNING key, version"""
_LARGEST: Final = 2**63 - 1  # number that SQLite knows


class Row(msgspec.Struct, gc=False):
    """A row as the driver makes it. asyncio logs its repr, which shows nothing.

    The garbage collector, which ignores it, does not run again and again in a long scan.
    """

    cursor: Any
    values: tuple[Any, ...]

    def __repr__(self) -> str:
        return "<Row>"


class _Parameters(list["bytes | int | None"]):
    """Parameters that do not show what they are: the driver logs the repr of what it runs."""

    def __repr__(self) -> str:
        return f"<{len(self)} parameters>"


def write_statement(group: Sequence[Write]) -> tuple[str, Sequence[object]]:
    """The statement for writes of different keys, and its parameters."""
    parameters = _Parameters()
    for place, (key, value, expect) in enumerate(group, 1):
        parameters += (key.encode(), place, value, expect and min(expect, _LARGEST))
    return _WRITE.format(rows=", ".join(["(?, ?, ?, ?)"] * len(group))), parameters


def key_range(prefix: str) -> tuple[bytes, bytes]:
    """The first key with this prefix, and a bound that is larger than all of them."""
    first = prefix.encode()
    return first, first + b"\xff"  # a byte that UTF-8 never holds


def decode(kind: Callable[[str, int, Any], T], row: Iterable[Any]) -> T:
    """The entry or change in a row; its value is `Unreadable` if the row is damaged."""
    _, key, version, value = row
    try:
        name = key.decode()
    except UnicodeDecodeError:
        name = key.decode(errors="backslashreplace")
        return kind(name, version, _damaged(f"the key {name!r} is not UTF-8"))
    if type(value) is bytes or value is None:
        return kind(name, version, value)
    return kind(name, version, _damaged(f"the value of key {name!r} is not a BLOB"))


def _damaged(what: str) -> Unreadable:
    return Unreadable(CorruptRecord(f"{what}: it is damaged, restore the file from a backup"))
