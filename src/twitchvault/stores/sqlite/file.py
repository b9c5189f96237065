"""Making, recognizing and opening the file. All of it blocks: the worker's thread runs it."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import stat
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores.sqlite.table import DDL, LEAVE_FIRST, TAKE_FIRST, last_version
from twitchvault.stores.sqlite.trouble import explain, is_busy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["APPLICATION_ID", "FORKED", "SCHEMA", "Connections", "connect", "file_id", "inherited"]

APPLICATION_ID: Final = int.from_bytes(b"twvt")
SCHEMA: Final = 2

_log = logging.getLogger(__name__)
_PRIVATE: Final = 0o600
_OTHERS: Final = 0o077
_RETRY: Final = 0.01
# Closing any descriptor of a file drops all locks that this process holds on it, SQLite's too; so
# no other store of this process may open a file between its creation and the close after it.
_creation: Final = threading.Lock()

FORKED: Final = (
    "{path!r} was open when this process was forked, and SQLite's locks do not live through that: "
    "close the store before the fork, or start the process by 'spawn' or 'forkserver'"
)

_File = tuple[str, tuple[int, int]]
"""A path, and what tells the file from any other that may stand there later."""

inherited: Final[set[_File]] = set()
"""Files that the parent process had open when it forked this one."""


class Connections(NamedTuple):
    """An open file. The reader is read-only, never waits for a lock, and may be used anywhere."""

    writer: sqlite3.Connection
    reader: sqlite3.Connection
    files: tuple[_File, ...]
    """The database and its write-ahead log as they were when opened."""

    def close(self) -> None:
        """Close both connections; call it where nothing uses them."""
        self.reader.close()
        self.writer.close()


def connect(path: str, busy_timeout: float) -> Connections:
    """Open the store in `path`, making it if there is none. Errors: `StoreError`s only."""
    try:
        _create(path)
        real = os.path.realpath(path)
        _check_kind(path)
        main = real, file_id(real)
        if main in inherited:
            raise StoreError(FORKED.format(path=path))
        writer = _open(real, "rw", busy_timeout)
        try:
            return _complete(writer, path, main, busy_timeout)
        except BaseException:
            writer.close()
            raise
    except sqlite3.Error as error:
        raise explain(error, path) from None
    except OSError as error:
        raise _explain_os(error, path) from None


def file_id(path: str) -> tuple[int, int]:
    """Device and inode."""
    status = os.stat(path)  # noqa: PTH116 - asked for at every write: a Path costs more
    return status.st_dev, status.st_ino


def _complete(
    writer: sqlite3.Connection, path: str, main: _File, busy_timeout: float
) -> Connections:
    _patiently(lambda: _prepare(writer, path), busy_timeout)
    reader = _open(main[0], "ro", 0)
    try:
        _patiently(lambda: last_version(reader.execute), busy_timeout)
        log = main[0] + "-wal"
        return Connections(writer, reader, (main, (log, file_id(log))))
    except BaseException:
        reader.close()
        raise


def _create(path: str) -> None:
    """Make an empty file that only its owner may read; leave one that exists as it is."""
    with _creation:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, _PRIVATE)
        except FileExistsError:
            return
        try:
            os.fchmod(descriptor, _PRIVATE)  # the umask may have taken more than it should
        finally:
            os.close(descriptor)


def _check_kind(path: str) -> None:
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        msg = f"{path!r} is {kind}: name a file in which the store may keep its entries"
        raise StoreError(msg)
    if mode & _OTHERS:
        _log.warning(
            "%r can be used by other users of this machine (mode %o) and holds secrets: "
            "'chmod 600' it and the files beside it",
            path,
            stat.S_IMODE(mode),
        )


def _open(path: str, mode: str, timeout: float) -> sqlite3.Connection:
    uri = f"file:{quote(os.fsencode(path))}?mode={mode}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
    )
    # A TEXT where a BLOB belongs is never taken for one, and never fails to be decoded.
    connection.text_factory = bytearray
    return connection


def _patiently(step: Callable[[], object], busy_timeout: float) -> None:
    """Repeat a step that another opening disturbs: there are locks SQLite does not wait for."""
    deadline = time.monotonic() + busy_timeout
    while True:
        try:
            step()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
        else:
            return
        time.sleep(_RETRY)


def _prepare(writer: sqlite3.Connection, path: str) -> None:
    with _transaction(writer, "BEGIN"):  # look before touching: it may be another program's
        _schema_of(writer, path)
    mode = writer.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != b"wal":
        msg = f"{path!r} cannot have a write-ahead log here (SQLite offers {mode.decode()!r}): "
        msg += "keep the store on a local disk"
        raise StoreError(msg)
    writer.execute("PRAGMA synchronous = FULL")
    # The CHECKs are for other programs; what is written here is bytes by its type.
    writer.execute("PRAGMA ignore_check_constraints = ON")
    writer.execute("PRAGMA fullfsync = ON")  # macOS: a plain fsync stops short of the disk
    with _transaction(writer, "BEGIN IMMEDIATE"):
        schema = _schema_of(writer, path)
        if schema != SCHEMA:
            _lay_out(writer, schema)
        writer.execute("DELETE FROM entries WHERE false")  # an error if the file is read-only


@contextmanager
def _transaction(writer: sqlite3.Connection, begin: str) -> Iterator[None]:
    writer.execute(begin)
    try:
        yield
        writer.execute("COMMIT")
    finally:
        if writer.in_transaction:
            writer.execute("ROLLBACK")


def _lay_out(writer: sqlite3.Connection, schema: int) -> None:
    """Make the present form, taking over what a file of the first one holds."""
    for statement in (*(LEAVE_FIRST if schema else ()), *DDL, *(TAKE_FIRST if schema else ())):
        writer.execute(statement)
    writer.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    writer.execute(f"PRAGMA user_version = {SCHEMA}")


def _schema_of(writer: sqlite3.Connection, path: str) -> int:
    """The number of the file's form, 0 if it is empty. Ask in a transaction.

    `StoreError`: it is not ours, or of a form that only a newer version knows.
    """
    application = writer.execute("PRAGMA application_id").fetchone()[0]
    schema = writer.execute("PRAGMA user_version").fetchone()[0]
    tables = writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application == APPLICATION_ID and 0 < schema <= SCHEMA:
        return int(schema)
    if application == APPLICATION_ID:
        msg = f"{path!r} has schema {schema}, this version of twitchvault knows schema {SCHEMA}: "
        msg += "upgrade twitchvault, or name another file; it was left as it is"
        raise StoreError(msg)
    if application or schema or tables:
        msg = f"{path!r} is the database of another program: name another file; "
        msg += "it was left as it is"
        raise StoreError(msg)
    return 0


def _explain_os(error: OSError, path: str) -> StoreError:
    if error.errno == errno.ENOENT:
        return StoreError(f"{path!r} cannot be made: its folder does not exist, make that first")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        msg = f"{path!r} cannot be made or read: give this user permission to do so in its folder"
        return StoreUnavailable(f"{msg} ({errno.errorcode[error.errno]})")
    name = errno.errorcode.get(error.errno or 0, "unknown")
    return StoreUnavailable(f"{path!r} cannot be opened: {os.strerror(error.errno or 0)} ({name})")
