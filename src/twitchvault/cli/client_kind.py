"""Whether an application is a public or a confidential client."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from twitchvault.errors import BadRequest, HTTPException
from twitchvault.identity import Identity

if TYPE_CHECKING:
    from twitchvault.http import HTTPClient

__all__ = ["needs_secret"]

_NO_TOKEN: Final = "no-refresh-token-but-a-question"  # noqa: S105
_ANSWER: Final = "missing client secret"


async def needs_secret(http: HTTPClient, id_url: str) -> bool:
    """Whether Twitch refreshes this client's tokens only with a secret.

    Twitch looks at the secret first, so that asking with a token which is none spends nothing.
    False also if the answer says nothing of it.
    """
    with suppress(HTTPException):
        try:
            await Identity(http, http.client_id, None, id_url).refresh(_NO_TOKEN)
        except BadRequest as error:
            return error.message.strip().lower() == _ANSWER
    return False
