"""`twitchvault restore`."""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from twitchvault.cli.console import age, fail, warn
from twitchvault.cli.options import Json, KeyFile, StoreOptions, StoreUrl
from twitchvault.cli.results import fail_if_unreadable, in_words, show_results
from twitchvault.cli.store import opened_store
from twitchvault.cli.transfer import bring, snapshot
from twitchvault.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twitchvault.stores import TokenStore


async def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
    store: StoreUrl = None,
    key_file: KeyFile = None,
    json: Json = False,
) -> None:
    """Bring back from a backup what the store has lost.

    Who has newer tokens in the store is left alone.
    """
    options = StoreOptions(store=store, key_file=key_file)
    warn(f"Backup: {file}, {age(_modified(file))}")
    async with _opened(file, options) as backup:
        entries = await snapshot(backup)
    async with opened_store(options, make=True) as opened:
        results = await bring("Restoring", entries, opened)
    show_results(results, options, json)
    warn(f"Restored: {in_words(results)}.")
    if any(one.outcome in {"added", "updated"} for one in results):
        warn(
            "Users whose tokens were refreshed after the backup have to sign in again: "
            "'twitchvault check' finds out who they are."
        )
    fail_if_unreadable(results)


def _modified(file: Path) -> float:
    """When a backup was made; ends the command if it is empty."""
    status = file.stat()
    if not status.st_size:
        fail(f"{str(file)!r} is empty: it is no backup")
    return status.st_mtime


@asynccontextmanager
async def _opened(file: Path, options: StoreOptions) -> AsyncIterator[TokenStore]:
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
