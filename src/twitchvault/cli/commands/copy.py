"""`twitchvault copy`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from secrets import token_hex
from typing import TYPE_CHECKING, Annotated

import typer

from twitchvault.cli.console import fail, say, say_json, warn
from twitchvault.cli.options import Json, KeyFile, StoreOptions
from twitchvault.cli.results import Result, fail_if_unreadable, in_words
from twitchvault.cli.store import opened_store, store_is_there, store_name
from twitchvault.cli.transfer import bring, leased, snapshot
from twitchvault.stores import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from twitchvault.stores import Entry, TokenStore


async def command(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The URL of a store.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The URL of another store.")],
    key_file: KeyFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")
    ] = False,
    json: Json = False,
    stopped: Annotated[
        bool,
        typer.Option(
            "--stopped",
            help="Nothing uses the source any more: a lease in it was left by a process that died.",
        ),
    ] = False,
) -> None:
    """Copy everybody to another store; stop the bots before.

    Newer tokens there are not overwritten.
    """
    here = _options("SOURCE", source, key_file)
    there = _options("TARGET", target, key_file)
    async with (
        opened_store(here, plain=True, title="Source") as old,
        _target(there, dry_run) as new,
    ):
        if not dry_run:
            await _begin(old, new)
        entries = await _read(old, stopped)
        results = await bring("Copying", entries, new, dry_run=dry_run)
        if not dry_run:
            await _verify(old, new, stopped)
    if json:
        stores = {"source": store_name(here), "target": store_name(there)}
        say_json({**stores, "users": [one.as_dict() for one in results]})
    else:
        _show(results, dry_run)
    fail_if_unreadable(results)


async def _begin(source: TokenStore, target: TokenStore) -> None:
    """Say what has to be stopped; end if both are one store, by whatever names."""
    key = f"twitchvault/copy/{token_hex(8)}"
    await target.put(key, b"")
    try:
        is_same = await source.get(key) is not None
    finally:
        await target.delete(key)
    if is_same:
        fail("SOURCE and TARGET are the same store: name another one as TARGET")
    warn(
        "Stop every program that uses the source now, and start it on the target afterwards: "
        "a refresh in one spends the token in the other."
    )


def _show(results: list[Result], dry_run: bool) -> None:
    for one in results:
        if one.outcome in {"newer", "unreadable"}:
            one.show()
    done = "Would be copied" if dry_run else "Copied and verified"
    say(f"{done}: {in_words(results)}.")


def _options(argument: str, url: str, key_file: Path | None) -> StoreOptions:
    if not url:
        fail(f"{argument} is empty: name a store")
    options = StoreOptions(store=url, key_file=key_file)
    options.store_source = argument
    if url.lower().startswith("sqlite:"):
        options.namespace = None  # meant for the other one
    return options


@asynccontextmanager
async def _target(options: StoreOptions, dry_run: bool) -> AsyncIterator[TokenStore]:
    if dry_run and not store_is_there(options):
        warn(f"Target: {store_name(options)}, which is not there yet")
        nothing = MemoryStore()
        await nothing.open()
        yield nothing
    else:
        async with opened_store(options, make=not dry_run, plain=dry_run, title="Target") as store:
            yield store


async def _read(store: TokenStore, stopped: bool) -> list[Entry]:
    entries = await snapshot(store)
    if not stopped and (found := leased(entries)):
        names = ", ".join(one.name for one in found)
        fail(
            f"a process is refreshing tokens in the source: {names}; stop it and run this again. "
            "If it has died, 'twitchvault refresh USER' ends what it has begun, or --stopped "
            "copies that as it is"
        )
    return entries


async def _verify(source: TokenStore, target: TokenStore, stopped: bool) -> None:
    """Read both once more: nothing may be left to do."""
    entries = await _read(source, stopped)
    results = await bring("Verifying", entries, target, dry_run=True)
    left = [one.name for one in results if one.outcome in {"added", "updated"}]
    if left:
        fail(
            f"the source has changed while it was copied ({', '.join(left)}): stop every program "
            "that uses it, and run this again"
        )
