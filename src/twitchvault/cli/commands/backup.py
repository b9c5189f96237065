"""`twitchvault backup`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import Annotated

import typer

from twitchvault.cli.backup_file import check_destination, write_backup
from twitchvault.cli.console import count, say, say_json, warn
from twitchvault.cli.options import Json, StoreOptions, StoreUrl
from twitchvault.cli.outcomes import records_in
from twitchvault.cli.store import opened_store, store_name
from twitchvault.cli.transfer import snapshot
from twitchvault.stores.base import ENCRYPTION_CHECK_KEY

__all__ = ["command"]


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
    check_destination(file)
    options = StoreOptions(store=store)
    async with opened_store(options, raw=True) as opened:
        entries = await snapshot(opened)
    await write_backup(entries, file)
    if not any(entry.key == ENCRYPTION_CHECK_KEY for entry in entries):
        warn("The store is not encrypted, nor is the backup: whoever reads it has the tokens.")
    records = records_in(entries)
    if json:
        say_json({"store": store_name(options), "file": str(file), "records": records})
    else:
        say(f"Backed up: {count(records, 'record')}, in {str(file)!r}.")
