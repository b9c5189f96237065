"""`twitchvault restore`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import Annotated

import typer

from twitchvault.cli.backup_file import modified, opened_backup
from twitchvault.cli.console import say_json, warn
from twitchvault.cli.options import Json, KeyFile, StoreOptions, StoreUrl
from twitchvault.cli.outcomes import as_dict, bring_all, fail_if_unreadable, in_words, show_outcome
from twitchvault.cli.store import opened_store, store_name
from twitchvault.cli.times import age
from twitchvault.cli.transfer import snapshot

__all__ = ["command"]


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
    warn(f"Backup: {file}, {age(modified(file))}")
    async with opened_backup(file, options) as backup:
        entries = await snapshot(backup)
    async with opened_store(options, make=True) as opened:
        results = await bring_all("Restoring", entries, opened)
    if json:
        say_json({"store": store_name(options), "users": [as_dict(one) for one in results]})
    for one in [] if json else results:
        show_outcome(one)
    warn(f"Restored: {in_words(results)}.")
    if any(one.outcome in {"added", "updated"} for one in results):
        warn(
            "Users whose tokens were refreshed after the backup have to sign in again: "
            "'twitchvault check' finds out who they are."
        )
    fail_if_unreadable(results)
