"""From SQLite's errors to ours: the only place that knows what they mean."""

from __future__ import annotations

import sqlite3
from typing import Final

from twitchvault.errors import CorruptRecord, StoreError, StoreUnavailable

__all__ = ["explain", "is_busy"]

_PRIMARY: Final = 0xFF  # the lower byte of an extended result code

_LOCKED: Final = (
    StoreUnavailable,
    (
        "stayed locked by another program for longer than 'busy_timeout' allows: find what keeps a "
        "transaction open on it, or allow more time"
    ),
)
_DENIED: Final = (
    StoreUnavailable,
    "cannot be written: give this user write permission for the file and for its folder",
)
_MEANING: Final[dict[int, tuple[type[StoreError], str]]] = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_PROTOCOL: _LOCKED,
    sqlite3.SQLITE_READONLY: _DENIED,
    sqlite3.SQLITE_PERM: _DENIED,
    sqlite3.SQLITE_CANTOPEN: (
        StoreUnavailable,
        (
            "cannot be opened: this user needs permission to read and write the file and to make "
            "others in its folder"
        ),
    ),
    sqlite3.SQLITE_FULL: (
        StoreUnavailable,
        "cannot grow, the disk is full: nothing of this was written; make room and try again",
    ),
    sqlite3.SQLITE_IOERR: (
        StoreUnavailable,
        (
            "cannot be read or written by the operating system: check the disk, the space left on "
            "it and the limits on file size, then try again"
        ),
    ),
    sqlite3.SQLITE_NOTADB: (
        CorruptRecord,
        (
            "is not a SQLite database, or its first page is damaged: name another file, or restore "
            "this one from a backup; it was left as it is"
        ),
    ),
    sqlite3.SQLITE_CORRUPT: (
        CorruptRecord,
        (
            "is damaged: stop what uses it, then restore it from a backup, or save what can be "
            "read with 'sqlite3 FILE .recover'"
        ),
    ),
}


def explain(error: sqlite3.Error, path: str) -> StoreError:
    """What an error of SQLite means for the store in `path`."""
    name = getattr(error, "sqlite_errorname", None)
    if name is None:  # Python's module raised it by itself; its texts may quote a column
        return StoreError(f"{path!r} cannot be used ({type(error).__name__})")
    code = error.sqlite_errorcode & _PRIMARY
    kind, meaning = _MEANING.get(code, (StoreError, f"cannot be used, SQLite says '{error}'"))
    return kind(f"{path!r} {meaning} ({name})")


def is_busy(error: sqlite3.Error) -> bool:
    """Whether waiting may help."""
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
