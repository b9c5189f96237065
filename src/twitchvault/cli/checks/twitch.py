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

_SKEW: Final = 30.0
"""Seconds by which a clock may be wrong: `Date` is in whole seconds, and an answer takes time."""
_FORBIDDEN, _TOO_MANY, _SERVER_ERROR = 403, 429, 500
_NO_TOKEN: Final = "no-refresh-token-but-a-question"  # noqa: S105


async def ask_about_client(http: HTTPClient, options: AppOptions) -> HTTPException | None:
    """What Twitch answers to a refresh with a token that is none.

    Twitch looks at the client and its secret first, so that this spends nothing.
    """
    identity = Identity(http, http.client_id, options.client_secret, options.id_url)
    try:
        await identity.refresh(_NO_TOKEN)
    except HTTPException as error:
        return error
    return None


async def check_twitch(options: AppOptions) -> list[Check]:
    """What one request tells of Twitch, the clock and the client."""
    http = HTTPClient(client_id=options.required_client_id, trust_env=True)
    try:
        answer = await ask_about_client(http, options)
    finally:
        await http.close()
    if answer is None:
        return [Check("twitch", "problem", f"{options.id_url} is no identity service", "--id-url")]
    if not answer.status:
        advice = "look at the network, a proxy (HTTPS_PROXY), and the address"
        return [Check("twitch", "problem", f"{options.id_url}: {answer}", advice)]
    if is_passing(answer):
        text = f"{options.id_url} answers {answer}"
        return [Check("twitch", "warning", text, "try again later")]
    reached = Check("twitch", "ok", f"{options.id_url} answers")
    return [reached, _clock(answer), check_client(answer, options)]


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


def is_passing(answer: HTTPException) -> bool:
    """Whether it says nothing of the client: Twitch is away, or has too much to do."""
    return answer.status in {0, _TOO_MANY} or answer.status >= _SERVER_ERROR


def check_client(answer: HTTPException, options: AppOptions) -> Check:
    """Whether the client is known, and its secret the right one, or none where none is needed."""
    name, message = options.required_client_id, answer.message.strip().lower()
    if message == "missing client secret":
        text = f"{name} is a confidential client, and there is no secret: nothing can be refreshed"
        return Check("client", "problem", text, "use --secret, or set TWITCHVAULT_CLIENT_SECRET")
    # Not by its message: a word of it is replaced if the secret is that word.
    if answer.status == _FORBIDDEN and options.client_secret is not None:
        text = f"Twitch does not take the secret of {name}"
        return Check("client", "problem", text, "take the present one from the developer console")
    if message == "invalid client":
        text = f"Twitch does not know the client id {name}"
        return Check("client", "problem", text, "take it from the developer console")
    if message not in {"invalid refresh token", "invalid_grant"}:
        text = f"{options.id_url} answers {answer}, which is no answer of an identity service"
        return Check("client", "problem", text, "look at --id-url")
    if options.client_secret is None:
        return Check("client", "ok", f"{name} is a public client")
    return Check("client", "ok", f"{name} is a confidential client, and its secret is right")
