"""Twitch: within reach, the clock that it has, and what it says of the client."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from twitchvault.cli.checks import Check
from twitchvault.errors import HTTPException
from twitchvault.http import HTTPClient
from twitchvault.identity import Identity

if TYPE_CHECKING:
    from twitchvault.cli.options import AppOptions

__all__ = ["check_twitch"]

_NO_TOKEN: Final = "no-refresh-token-but-a-question"  # noqa: S105
_SKEW: Final = 30.0
"""Seconds by which a clock may be wrong: `Date` is in whole seconds, and an answer takes time."""
_SERVER_ERROR: Final = 500


async def check_twitch(options: AppOptions) -> list[Check]:
    """One request, with a token that is none: Twitch looks at the client first."""
    http = HTTPClient(client_id=options.required_client_id, trust_env=True)
    identity = Identity(http, options.required_client_id, options.client_secret, options.id_url)
    try:
        await identity.refresh(_NO_TOKEN)
    except HTTPException as error:
        answer = error
    else:
        return [Check("twitch", "problem", f"{options.id_url} is no identity service", "--id-url")]
    finally:
        await http.close()
    if not answer.status:
        advice = "look at the network, a proxy (HTTPS_PROXY), and the address"
        return [Check("twitch", "problem", f"{options.id_url}: {answer}", advice)]
    if answer.status >= _SERVER_ERROR:
        text = f"{options.id_url} answers {answer}"
        return [Check("twitch", "warning", text, "try again later")]
    reached = Check("twitch", "ok", f"{options.id_url} answers")
    return [reached, _clock(answer), _client(answer, options)]


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


def _client(answer: HTTPException, options: AppOptions) -> Check:
    message = answer.message.strip().lower()
    name = options.required_client_id
    if message == "missing client secret":
        text = f"{name} is a confidential client, and there is no secret: nothing can be refreshed"
        return Check("client", "problem", text, "set TWITCHVAULT_CLIENT_SECRET")
    if message == "invalid client secret":
        text = f"Twitch refuses the secret of {name}"
        return Check("client", "problem", text, "take the present one from the developer console")
    if message == "invalid client":
        text = f"Twitch does not know the client id {name}"
        return Check("client", "problem", text, "take it from the developer console")
    if options.client_secret is None:
        return Check("client", "ok", f"{name} is a public client")
    return Check("client", "ok", f"{name} is a confidential client, and its secret is right")
