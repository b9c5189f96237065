"""`twitchvault import`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

import typer

from twitchvault.app import App
from twitchvault.cli.console import (
    FAILED,
    NEEDS_LOGIN,
    at_terminal,
    in_our_words,
    progress,
    say,
    say_row,
    warn,
)
from twitchvault.cli.options import AppOptions  # noqa: TC001 - typer reads it
from twitchvault.cli.peer_files import read_pairs
from twitchvault.cli.store import opened_app, opened_store
from twitchvault.errors import RateLimited, TwitchVaultError, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twitchvault.cli.peer_files import FoundPair

__all__ = ["command"]

_TRIES: Final = 6
_PAUSE: Final = 2.0

Outcome = Literal["imported", "unvalidated", "newer", "refused"]


class Imported(NamedTuple):
    """What became of one pair, and why."""

    name: str
    user_id: str
    outcome: Outcome
    reason: str = ""


async def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The other program's token file.")],
    options: AppOptions,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Whose token it is, if the file does not say and Twitch cannot."
        ),
    ] = None,
) -> None:
    """Take over tokens from TwitchIO, pyTwitchAPI, twurple or twitch-cli; none is refreshed."""
    pairs = read_pairs(file)
    if user is not None and len(pairs) == 1:
        pairs = [replace(pairs[0], user_id=pairs[0].user_id or user)]
    async with opened_store(options, make=True) as store, opened_app(options, store, App) as app:
        results: list[Imported] = []
        with progress("Importing", len(pairs)) as step:
            for pair in pairs:
                results.append(await _import(app, pair))
                step()
        await app.flush()
    _report(results)


async def _import(app: App, pair: FoundPair) -> Imported:
    name = pair.user_id or "the token"
    try:
        return await _patiently(lambda: _validate_and_store(app, pair, name))
    except TwitchVaultError as error:
        return Imported(name, pair.user_id or "", "refused", in_our_words(str(error)))


async def _validate_and_store(app: App, pair: FoundPair, name: str) -> Imported:
    if pair.client_id not in {None, app.http.client_id}:
        reason = f"it belongs to another client id, {pair.client_id}"
        return Imported(name, pair.user_id or "", "refused", reason)
    try:
        answer = await app.validate_token(pair.access_token)
    except Unauthorized:
        return _store_unvalidated(app, pair, name)
    if answer.client_id != app.http.client_id:
        reason = f"it belongs to another client id, {answer.client_id}"
        return Imported(name, pair.user_id or "", "refused", reason)
    if pair.user_id not in {None, answer.user_id}:
        reason = f"it belongs to {answer.user_id or 'an application'}"
        return Imported(name, pair.user_id or "", "refused", reason)
    user = await app.add_user(pair.access_token, pair.refresh_token)
    return Imported(user.login or user.user_id, user.user_id, "imported")


def _store_unvalidated(app: App, pair: FoundPair, name: str) -> Imported:
    """A dead access token says nothing of the refresh token, which is not tried now."""
    if pair.user_id is None:
        reason = "it has expired, and the file does not say whose it is: add --user ID"
        return Imported(name, "", "refused", reason)
    if pair.user_id in app.tokens and pair.user_id not in app.needs_login:
        return Imported(name, pair.user_id, "newer", "it has expired, and a live login stands")
    app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    return Imported(name, pair.user_id, "unvalidated", "it has expired: refreshed at first use")


async def _patiently(work: Callable[[], Awaitable[Imported]]) -> Imported:
    """Do it again after a while if there were too many requests."""
    for _ in range(_TRIES - 1):
        try:
            return await work()
        except RateLimited:
            await asyncio.sleep(_PAUSE)
    return await work()


def _report(results: list[Imported]) -> None:
    """Print each; exit code 2 if one was not stored, 1 if one could not be validated."""
    for one in results:
        if at_terminal():
            reason = f": {one.reason}" if one.reason else ""
            say(f"{one.name}: {one.outcome}{reason}")
        else:
            say_row(*one)
    warn("Stop the program whose file it is: whoever refreshes first logs the other out.")
    outcomes = {one.outcome for one in results}
    if "refused" in outcomes:
        raise typer.Exit(FAILED)
    if "unvalidated" in outcomes:
        raise typer.Exit(NEEDS_LOGIN)
