"""From the errors of SQLite, its driver and the operating system to ours."""

from __future__ import annotations

import os
import sqlite3
from typing import Final

from twitchvault.errors import StoreError, StoreUnavailable

_LOCKED: Final = """\
stayed locked by another program for longer than 'busy_timeout' allows: find what keeps a \
transaction open on it, or allow more time"""
_DENIED: Final = """\
cannot be opened or written: this user needs permission to read and write it, and to make files in \
its folder"""
_IO_FAILED: Final = """\
cannot be read or written by the operating system: check the disk, the space left on it and the \
limits on file size, then try again"""
_NO_DATABASE: Final = """\
is not a SQLite database, or its first page is damaged: name another file, or restore this one \
from a backup; it was left as it is"""
_DAMAGED: Final = """\
is damaged: stop what uses it, then restore it from a backup, or save what can be read with \
'sqlite3 FILE .recover'"""
_BY_CODE: Final[dict[int, tuple[type[StoreError], str]]] = {
    sqlite3.SQLITE_BUSY: (StoreUnavailable, _LOCKED),
    sqlite3.SQLITE_PROTOCOL: (StoreUnavailable, _LOCKED),
    sqlite3.SQLITE_READONLY: (StoreUnavailable, _DENIED),
    sqlite3.SQLITE_CANTOPEN: (StoreUnavailable, _DENIED),
    sqlite3.SQLITE_FULL: (StoreUnavailable, "cannot grow, the disk is full: make room, try again"),
    sqlite3.SQLITE_IOERR: (StoreUnavailable, _IO_FAILED),
    sqlite3.SQLITE_NOTADB: (StoreError, _NO_DATABASE),
    sqlite3.SQLITE_CORRUPT: (StoreError, _DAMAGED),
}


def map_error(error: Exception, path: str) -> StoreError:
    """What an error means for the store in `path`."""
    if isinstance(error, OSError):
        meaning = f"cannot be opened: {os.strerror(error.errno or 0)}"
        if isinstance(error, FileNotFoundError):
            meaning = "cannot be made: its folder does not exist, make that first"
        elif isinstance(error, PermissionError):
            meaning = _DENIED
        return StoreUnavailable(f"{path!r} {meaning}")
    if not isinstance(error, sqlite3.Error) or not hasattr(error, "sqlite_errorname"):
        # Python's module or the driver raised it by itself: its text may quote a value.
        return StoreError(f"{path!r} cannot be used ({type(error).__name__})")
    unknown = StoreError, f"cannot be used, SQLite says '{error}'"
    kind, meaning = _BY_CODE.get(error.sqlite_errorcode & 0xFF, unknown)
    return kind(f"{path!r} {meaning} ({error.sqlite_errorname})")
