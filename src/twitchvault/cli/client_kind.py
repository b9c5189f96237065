"""Whether an application is a public or a confidential client, and its secret the right one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twitchvault.errors import BadRequest, Forbidden, HTTPException
from twitchvault.identity import Identity

if TYPE_CHECKING:
    from twitchvault.http import HTTPClient

__all__ = ["MISSING", "secret_refused"]

MISSING: Final = "missing client secret"
_NO_TOKEN: Final = "no-refresh-token-but-a-question"  # noqa: S105


async def secret_refused(http: HTTPClient, secret: str | None, id_url: str) -> str | None:
    """What Twitch has against refreshing this client's tokens with that secret, or without one.

    `MISSING`: the client is a confidential one. None also if the answer says nothing of it. Twitch
    looks at the secret first, so that asking with a token which is none spends nothing.
    """
    try:
        await Identity(http, http.client_id, secret, id_url).refresh(_NO_TOKEN)
    except Forbidden as error:
        return error.message
    except BadRequest as error:
        text = error.message.strip().lower()
        return text if text == MISSING else None
    except HTTPException:
        pass
    return None
