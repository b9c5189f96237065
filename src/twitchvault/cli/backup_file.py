"""The file of a backup: a store of its own, with each entry as it lay in the store."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from twitchvault.cli.console import fail, progress
from twitchvault.cli.store import opened_store
from twitchvault.errors import StoreError
from twitchvault.stores import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from twitchvault.cli.options import StoreOptions
    from twitchvault.stores import Entry, TokenStore

__all__ = ["check_destination", "modified", "opened_backup", "write_backup"]

_AT_ONCE: Final = 500


def check_destination(file: Path) -> None:
    """End the command if there is something already: it may be a store, or the last good backup."""
    if not file.parent.is_dir():
        fail(f"there is no folder {str(file.parent)!r} for the backup")
    if file.is_symlink() or (file.exists() and not file.is_file()):
        fail(f"{str(file)!r} is no plain file: name a new one")
    if file.exists() and file.stat().st_size:
        fail(f"{str(file)!r} is there already: name another file")


async def write_backup(entries: Sequence[Entry], file: Path) -> None:
    """Write a new file that only its owner can read; it is there whole or not at all."""
    try:
        temporary = TemporaryDirectory(dir=file.parent, prefix=".twitchvault-")
    except OSError as error:
        fail(f"nothing can be written into the folder {str(file.parent)!r}: {error.strerror}")
    with temporary as folder:
        made = Path(folder, "backup.db")
        async with SQLiteStore(made) as store:
            await _put_all(entries, store)
        _move(made, file)


def _move(made: Path, file: Path) -> None:
    """Give the file its name, durably."""
    made.replace(file)
    with suppress(OSError):  # not every system lets a folder be opened
        descriptor = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


async def _put_all(entries: Sequence[Entry], store: TokenStore) -> None:
    with progress("Writing", len(entries)) as step:
        for start in range(0, len(entries), _AT_ONCE):
            group = entries[start : start + _AT_ONCE]
            await asyncio.gather(*(store.put(entry.key, entry.value) for entry in group))
            for _ in group:
                step()


def modified(file: Path) -> float:
    """When a backup was made; ends the command if it is empty."""
    status = file.stat()
    if not status.st_size:
        fail(f"{str(file)!r} is empty: it is no backup")
    return status.st_mtime


@asynccontextmanager
async def opened_backup(file: Path, options: StoreOptions) -> AsyncIterator[TokenStore]:
    """What is in a backup, decrypted if need be with the keys of the options.

    A copy is opened: the file itself is left as it is, and may be where nothing can be written.
    """
    with TemporaryDirectory(prefix="twitchvault-") as folder:
        copy = _copied(file, Path(folder))
        theirs = replace(options, store=f"sqlite:///{quote(str(copy))}")
        theirs.namespace = None  # of the store, not of the file
        try:
            async with opened_store(theirs, plain=True, title="") as store:
                yield store
        except StoreError as error:
            raise StoreError(str(error).replace(str(copy), str(file))) from None


def _copied(file: Path, folder: Path) -> Path:
    """A copy that only its owner can read."""
    copy = folder / "backup.db"
    shutil.copyfile(file, copy)
    copy.chmod(0o600)
    with suppress(FileNotFoundError):  # somebody has copied the files of a store
        shutil.copyfile(f"{file}-wal", f"{copy}-wal")
    return copy
