"""Twitch: within reach, the clock that it has, and what it says of the client."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from twitchvault.cli.checks import Check
from twitchvault.cli.client_kind import MISSING, WRONG, ask_about_client
from twitchvault.http import HTTPClient

if TYPE_CHECKING:
    from twitchvault.cli.options import AppOptions
    from twitchvault.errors import HTTPException

__all__ = ["check_twitch"]

_SKEW: Final = 30.0
"""Seconds by which a clock may be wrong: `Date` is in whole seconds, and an answer takes time."""
_SERVER_ERROR: Final = 500


async def check_twitch(options: AppOptions) -> list[Check]:
    """One request, with a token that is none: Twitch looks at the client first."""
    http = HTTPClient(client_id=options.required_client_id, trust_env=True)
    try:
        answer, message = await ask_about_client(http, options.client_secret, options.id_url)
    finally:
        await http.close()
    if answer is None:
        return [Check("twitch", "problem", f"{options.id_url} is no identity service", "--id-url")]
    if not answer.status:
        advice = "look at the network, a proxy (HTTPS_PROXY), and the address"
        return [Check("twitch", "problem", f"{options.id_url}: {answer}", advice)]
    if answer.status >= _SERVER_ERROR:
        text = f"{options.id_url} answers {answer}"
        return [Check("twitch", "warning", text, "try again later")]
    reached = Check("twitch", "ok", f"{options.id_url} answers")
    return [reached, _clock(answer), _client(message, options)]


def _clock(answer: HTTPException) -> Check:
    try:
        theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return Check("clock", "ok", "not compared: the answer has no date")
    off = time.time() - theirs
    if abs(off) <= _SKEW:
        return Check("clock", "ok", f"within {_SKEW:.0f} s of Twitch's")
    direction = "ahead of" if off > 0 else "behind"
    text = f"{abs(off):.0f} s {direction} Twitch's: tokens seem to expire at other times"
    return Check("clock", "warning", text, "let NTP set it")


def _client(message: str, options: AppOptions) -> Check:
    name = options.required_client_id
    if message == MISSING:
        text = f"{name} is a confidential client, and there is no secret: nothing can be refreshed"
        return Check("client", "problem", text, "set TWITCHVAULT_CLIENT_SECRET")
    if message == WRONG:
        text = f"Twitch refuses the secret of {name}"
        return Check("client", "problem", text, "take the present one from the developer console")
    if message == "invalid client":
        text = f"Twitch does not know the client id {name}"
        return Check("client", "problem", text, "take it from the developer console")
    if options.client_secret is None:
        return Check("client", "ok", f"{name} is a public client")
    return Check("client", "ok", f"{name} is a confidential client, and its secret is right")
