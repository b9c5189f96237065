"""`twitchvault backup`: a store of its own, with each entry as it lay in the store."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Final

import typer

from twitchvault.cli.console import count, fail, progress, say, say_json, warn
from twitchvault.cli.options import Json, StoreOptions, StoreUrl
from twitchvault.cli.store import opened_store, store_name
from twitchvault.cli.transfer import holder_of, snapshot
from twitchvault.stores import SQLiteStore
from twitchvault.stores.base import ENCRYPTION_CHECK_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twitchvault.stores import Entry, TokenStore

_AT_ONCE: Final = 500


async def command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A new file, which its owner alone can read.")
    ],
    store: StoreUrl = None,
    json: Json = False,
) -> None:
    """Write everybody's tokens into a file, while bots go on.

    The file is encrypted as the store is.
    """
    _check_destination(file)
    options = StoreOptions(store=store)
    async with opened_store(options, raw=True) as opened:
        entries = await snapshot(opened)
    await _write(entries, file)
    if not any(entry.key == ENCRYPTION_CHECK_KEY for entry in entries):
        warn("The store is not encrypted, nor is the backup: whoever reads it has the tokens.")
    records = sum(holder_of(entry.key) is not None for entry in entries)
    if json:
        say_json({"store": store_name(options), "file": str(file), "records": records})
    else:
        say(f"Backed up: {count(records, 'record')}, in {str(file)!r}.")


def _check_destination(file: Path) -> None:
    """End the command if there is something already: it may be a store, or the last good backup."""
    if not file.parent.is_dir():
        fail(f"there is no folder {str(file.parent)!r} for the backup")
    if file.is_symlink() or (file.exists() and not file.is_file()):
        fail(f"{str(file)!r} is no plain file: name a new one")
    if file.exists() and file.stat().st_size:
        fail(f"{str(file)!r} is there already: name another file")


async def _write(entries: Sequence[Entry], file: Path) -> None:
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
