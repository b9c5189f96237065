"""`twitchvault import`: pairs from the file of another program, validated and not refreshed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Final

import typer

from twitchvault.cli import FAILED
from twitchvault.cli.console import NEEDS_LOGIN, fail, in_our_words, progress, warn
from twitchvault.cli.options import AppOptions, Json  # noqa: TC001 - typer reads them
from twitchvault.cli.peer_files import read_pairs
from twitchvault.cli.results import Result, show_results
from twitchvault.cli.store import make_app, opened_store
from twitchvault.errors import RateLimited, TwitchVaultError, Unauthorized, WrongType, WrongValue

if TYPE_CHECKING:
    from twitchvault.app import App
    from twitchvault.cli.peer_files import FoundPair
    from twitchvault.cli.results import Outcome

TRIES: Final = 6
PAUSE: Final = 2.0
"""Seconds after a 429."""


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
    async with opened_store(options, make=True) as store, make_app(options, store) as app:
        results: list[Result] = []
        with progress("Importing", len(pairs)) as step:
            for pair in pairs:
                results.append(await import_pair(app, pair))
                step()
        await app.flush()
    show_results(results, options, json)
    warn("Stop the program whose file it is: whoever refreshes first logs the other out.")
    _end(results)


async def import_pair(app: App, pair: FoundPair) -> Result:
    """Store a pair for its user, after a while if there were too many requests."""
    reason = ""
    for _ in range(TRIES):
        try:
            return await _validate_and_store(app, pair)
        except RateLimited as error:
            reason = str(error)
            await asyncio.sleep(PAUSE)
        except (TwitchVaultError, WrongValue, WrongType) as error:
            reason = str(error)
            break
    return _outcome(app, pair, "refused", in_our_words(reason))


async def _validate_and_store(app: App, pair: FoundPair) -> Result:
    client_id = app.http.client_id
    if pair.client_id not in {None, client_id}:
        return _foreign(app, pair, f"another client id, {pair.client_id}")
    try:
        answer = await app.validate_token(pair.access_token)
    except Unauthorized:
        return _store_unvalidated(app, pair)
    if answer.client_id != client_id:
        return _foreign(app, pair, f"another client id, {answer.client_id}")
    if pair.user_id not in {None, answer.user_id}:
        return _foreign(app, pair, answer.user_id or "an application")
    user = await app.add_user(pair.access_token, pair.refresh_token)
    if not _stands(app, user.user_id, pair):
        return _outcome(app, pair, "newer", "what stands can be renewed")
    return Result(client_id, user.user_id, user.login, "imported")


def _store_unvalidated(app: App, pair: FoundPair) -> Result:
    """A dead access token says nothing of the refresh token, which is not tried now."""
    user_id, expired = pair.user_id, "it has expired"
    if user_id is None:
        reason = f"{expired}, and the file does not say whose it is: add --user ID"
        return _outcome(app, pair, "refused", reason)
    if app.tokens.get(user_id) == (pair.access_token, pair.refresh_token):
        return _outcome(app, pair, "unchanged", f"{expired}, and stands there already")
    if user_id in app.tokens and user_id not in app.needs_login:
        return _outcome(app, pair, "newer", f"{expired}, and a live login stands")
    app.add_token(user_id, pair.access_token, pair.refresh_token)
    if not _stands(app, user_id, pair):
        return _outcome(app, pair, "newer", f"{expired}, and was exchanged or removed before")
    return _outcome(app, pair, "unvalidated", f"{expired}: refreshed at first use")


def _stands(app: App, user_id: str, pair: FoundPair) -> bool:
    return app.tokens.get(user_id, ("", None))[0] == pair.access_token


def _foreign(app: App, pair: FoundPair, whose: str) -> Result:
    return _outcome(app, pair, "refused", f"it belongs to {whose}")


def _outcome(app: App, pair: FoundPair, outcome: Outcome, reason: str) -> Result:
    return Result(app.http.client_id, pair.user_id, None, outcome, reason)


def _end(results: list[Result]) -> None:
    """Exit code 2 if one was not stored, 1 if one is expired."""
    outcomes = {one.outcome for one in results}
    if "refused" in outcomes:
        raise typer.Exit(FAILED)
    if outcomes & {"unvalidated", "unchanged"}:
        raise typer.Exit(NEEDS_LOGIN)
