"""Pairs from the file of another program: validated, not refreshed, and stored."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from twitchvault.cli.console import in_our_words
from twitchvault.errors import RateLimited, TwitchVaultError, Unauthorized, WrongType, WrongValue

if TYPE_CHECKING:
    from twitchvault.app import App
    from twitchvault.cli.peer_files import FoundPair

__all__ = ["Imported", "import_pair"]

TRIES: Final = 6
PAUSE: Final = 2.0
"""Seconds after a 429."""

Outcome = Literal["imported", "unvalidated", "unchanged", "newer", "refused"]


class Imported(NamedTuple):
    """What became of one pair, and why; `refused`: it was not stored."""

    client_id: str
    user_id: str | None
    login: str | None
    outcome: Outcome
    reason: str = ""


async def import_pair(app: App, pair: FoundPair) -> Imported:
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


async def _validate_and_store(app: App, pair: FoundPair) -> Imported:
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
    return Imported(client_id, user.user_id, user.login, "imported")


def _store_unvalidated(app: App, pair: FoundPair) -> Imported:
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
    return _outcome(app, pair, "unvalidated", f"{expired}: refreshed at first use")


def _foreign(app: App, pair: FoundPair, whose: str) -> Imported:
    return _outcome(app, pair, "refused", f"it belongs to {whose}")


def _outcome(app: App, pair: FoundPair, outcome: Outcome, reason: str) -> Imported:
    return Imported(app.http.client_id, pair.user_id, None, outcome, reason)
