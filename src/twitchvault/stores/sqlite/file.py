"""Makes, checks and opens the file. It blocks and raises `StoreError`s: call it in a thread."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreError
from twitchvault.stores.sqlite.errors import map_error
from twitchvault.stores.sqlite.statements import DDL, PRUNE

if TYPE_CHECKING:
    from collections.abc import Collection

_APPLICATION_ID: Final = int.from_bytes(b"twvt")
_SCHEMA: Final = 2
_OTHERS: Final = 0o077
_RETRY: Final = 0.01
_READER_TIMEOUT: Final = 20  # ms: another process may be repairing the log after a crash

_log = logging.getLogger(__name__)
# Closing any descriptor of a file drops all locks that this process holds on it, SQLite's too; so
# no other store of this process may open a file between its creation and the close after it.
_creation: Final = threading.Lock()


def open_file(path: str, busy_timeout: float) -> tuple[str, sqlite3.Connection]:
    """Make the file if there is none, and check it; its real path, and a connection for reading."""
    try:
        with _creation, suppress(FileExistsError):  # readable by its owner alone from now on
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        real = os.path.realpath(path)
        _check_file(path, real)
        return real, _connect(path, real, busy_timeout)
    except (sqlite3.Error, OSError) as error:
        raise map_error(error, path) from None


def file_id(path: str) -> tuple[int, int]:
    """What tells the file that stands there from any other that may stand there later."""
    status = os.stat(path)  # noqa: PTH116 - asked for at every call: a Path costs more
    return status.st_dev, status.st_ino


def _check_file(path: str, real: str) -> None:
    status = os.stat(real)  # noqa: PTH116
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        msg = f"{path!r} is {kind}: name a file in which the store may keep its entries"
        raise StoreError(msg)
    if os.path.ismount(real):
        msg = "%r is a mount point, so its log, '%s-wal', stays outside of the mount: the newest "
        msg += "writes may be lost with it; mount the folder instead"
        _log.warning(msg, path, real)
    if not hasattr(os, "geteuid"):  # Windows has neither owners nor modes of this kind
        return
    if status.st_mode & _OTHERS or os.geteuid() not in (status.st_uid, 0):
        msg = "%r holds secrets that other users of this machine can read (it has owner %d and "
        msg += "mode %o): 'chmod 600' it and the files beside it"
        _log.warning(msg, path, status.st_uid, stat.S_IMODE(status.st_mode))
    owners = {status.st_uid, os.geteuid()}
    for suffix in ("-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            _check_companion(real + suffix, owners, status.st_mode)


def _check_companion(name: str, owners: Collection[int], allowed: int) -> None:
    """Refuse a file beside the store's that may be somebody else's; mend the mode of our own."""
    status = os.lstat(name)
    if not stat.S_ISREG(status.st_mode) or status.st_uid not in owners:
        msg = f"{name!r} is not a regular file of the store's owner, yet SQLite would trust it: "
        msg += "find out who made it, then move it away, or 'chown' it if it belongs to the store"
        raise StoreError(msg)
    mode = stat.S_IMODE(status.st_mode)
    if too_open := mode & _OTHERS & ~allowed:
        os.chmod(name, mode & ~too_open)  # noqa: PTH101
        _log.warning("%r could be used by other users (mode %o) and no longer can", name, mode)


def _connect(path: str, real: str, busy_timeout: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        real, timeout=busy_timeout, isolation_level=None, check_same_thread=False
    )
    try:
        connection.text_factory = bytearray
        _create_schema(connection, path)
        _switch_to_wal(connection, path, time.monotonic() + busy_timeout)
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA busy_timeout = {_READER_TIMEOUT}")
    except BaseException:
        connection.close()
        raise
    return connection


def _create_schema(connection: sqlite3.Connection, path: str) -> None:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if not _is_ours(connection, path):
            for statement in DDL:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_SCHEMA}")
        connection.execute(PRUNE)


def _switch_to_wal(connection: sqlite3.Connection, path: str, deadline: float) -> None:
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:  # SQLite does not wait for a lock here
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
            time.sleep(_RETRY)
            continue
        if mode == b"wal":
            return
        msg = f"{path!r} cannot have a write-ahead log here (SQLite offers {mode.decode()!r}): "
        msg += "keep the store on a local disk"
        raise StoreError(msg)


def _is_ours(connection: sqlite3.Connection, path: str) -> bool:
    """Whether the file has our schema; False if it is empty. `StoreError`: it is something else."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    tables = connection.execute("SELECT sql FROM sqlite_master").fetchall()
    if (application, schema) == (_APPLICATION_ID, _SCHEMA):
        return True
    if not (application or schema or tables):
        return False
    if application == _APPLICATION_ID:
        what = f"has schema {schema}, this version of twitchvault knows schema {_SCHEMA}: upgrade "
        what += "twitchvault, or name another file"
    elif not application and (DDL[0].encode(),) in tables:
        what = "has the table of a store, but not its mark, which '.dump' leaves out: if it is a "
        what += f"copy of a store, run 'PRAGMA application_id = {_APPLICATION_ID}' and "
        what += f"'PRAGMA user_version = {_SCHEMA}' on it"
    else:
        what = "is the database of another program: name another file"
    raise StoreError(f"{path!r} {what}; it was left as it is")
