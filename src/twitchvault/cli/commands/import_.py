"""`twitchvault import`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import Annotated

import typer

from twitchvault.app import App
from twitchvault.cli.console import (
    FAILED,
    NEEDS_LOGIN,
    at_terminal,
    fail,
    progress,
    say,
    say_json,
    say_row,
    warn,
)
from twitchvault.cli.importing import Imported, import_pair
from twitchvault.cli.options import AppOptions, Json  # noqa: TC001 - typer reads them
from twitchvault.cli.peer_files import read_pairs
from twitchvault.cli.store import opened_app, opened_store, store_name

__all__ = ["command"]


async def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The other program's token file.")],
    options: AppOptions,
    json: Json = False,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Whose token it is, if the file does not say and Twitch cannot."
        ),
    ] = None,
) -> None:
    """Take over the tokens of another program.

    TwitchIO, pyTwitchAPI, twurple or twitch-cli has saved them; none is refreshed.
    """
    if user is not None and not user.isdecimal():
        fail(f"--user takes a user's id, which is a number, and no login name: {user!r}")
    pairs = read_pairs(file)
    if user is not None and len(pairs) == 1:
        pairs = [replace(pairs[0], user_id=pairs[0].user_id or user)]
    async with opened_store(options, make=True) as store, opened_app(options, store, App) as app:
        results: list[Imported] = []
        with progress("Importing", len(pairs)) as step:
            for pair in pairs:
                results.append(await import_pair(app, pair))
                step()
        await app.flush()
    if json:
        users = [{**one._asdict(), "reason": one.reason or None} for one in results]
        say_json({"store": store_name(options), "users": users})
    else:
        _show(results)
    warn("Stop the program whose file it is: whoever refreshes first logs the other out.")
    _end(results)


def _show(results: list[Imported]) -> None:
    for one in results:
        name = one.login or one.user_id or "the token"
        if at_terminal():
            say(f"{name}: {one.outcome}{f': {one.reason}' if one.reason else ''}")
        else:
            say_row(name, one.user_id or "", one.outcome, one.client_id, one.reason)


def _end(results: list[Imported]) -> None:
    """Exit code 2 if one was not stored, 1 if one is expired."""
    outcomes = {one.outcome for one in results}
    if "refused" in outcomes:
        raise typer.Exit(FAILED)
    if outcomes & {"unvalidated", "unchanged"}:
        raise typer.Exit(NEEDS_LOGIN)
