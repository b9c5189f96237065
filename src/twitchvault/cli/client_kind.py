"""Whether an application is a public or a confidential client, and its secret the right one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twitchvault.errors import HTTPException
from twitchvault.identity import Identity

if TYPE_CHECKING:
    from twitchvault.http import HTTPClient

__all__ = ["MISSING", "WRONG", "ask_about_client"]

MISSING: Final = "missing client secret"
WRONG: Final = "invalid client secret"
_NO_TOKEN: Final = "no-refresh-token-but-a-question"  # noqa: S105


async def ask_about_client(
    http: HTTPClient, secret: str | None, id_url: str
) -> tuple[HTTPException | None, str]:
    """What Twitch answers to a refresh with a token that is none, and its message in lower case.

    Twitch looks at the client and its secret first, so that this spends nothing.
    """
    try:
        await Identity(http, http.client_id, secret, id_url).refresh(_NO_TOKEN)
    except HTTPException as error:
        return error, error.message.strip().lower()
    return None, ""
