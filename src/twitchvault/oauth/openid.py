"""OpenID Connect: what an id token says, once it is known to be good.

It needs the extra `openid`, so it is imported on use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from twitchvault.errors import AuthFailure
from twitchvault.models import IdToken
from twitchvault.stores.base import missing_driver

try:
    import cryptography  # noqa: F401 - PyJWT checks the signature with it
    import jwt
except ImportError:
    raise missing_driver("check_id_token", "pyjwt[crypto]", "openid") from None

if TYPE_CHECKING:
    from twitchvault.identity import Identity
    from twitchvault.models import Token

__all__ = ["check"]

ALGORITHM: Final = "RS256"
CLOCK_SKEW: Final = 60.0
"""Seconds by which this machine's clock and Twitch's may differ."""
_REQUIRED: Final = ("iss", "sub", "aud", "exp", "iat")


async def check(token: Token, nonce: str | None, identity: Identity) -> IdToken:
    """The claims of the id token that came with `token`; `AuthFailure` if it is not good.

    It is good if the identity service has signed it, now, for this client and this nonce: see
    OpenID Connect Core 1.0, section 3.1.3.7.
    """
    id_token = token.raw.get("id_token")
    if not isinstance(id_token, str):
        raise AuthFailure("the answer holds no id token: ask for the scope 'openid'")
    keys = await identity.keys()
    try:
        claims = _verified(id_token, keys, identity)
        if claims.get("azp", identity.client_id) != identity.client_id:
            raise jwt.InvalidAudienceError("it was issued to another application")
        if claims.get("nonce") != nonce:
            raise jwt.InvalidTokenError("its nonce is not the one of this login")
        return IdToken.from_answer(claims)
    except ValidationError:
        reason = "its subject is no user id"
    except (jwt.PyJWTError, TypeError, ValueError) as error:  # the latter for a key that is none
        reason = str(error)
    # Raised out here, it carries no trace of the original, which can hold the claims.
    raise AuthFailure(f"the id token is not good: {reason}")


def _verified(id_token: str, keys: list[dict[str, Any]], identity: Identity) -> dict[str, Any]:
    key_id = jwt.get_unverified_header(id_token).get("kid")
    key = next((key for key in keys if key.get("kid") == key_id), None)
    if key is None:
        raise jwt.InvalidKeyError("none of the published keys has signed it")
    claims: dict[str, Any] = jwt.decode(
        id_token,
        jwt.PyJWK(key, ALGORITHM),
        algorithms=[ALGORITHM],
        audience=identity.client_id,
        issuer=identity.issuers,
        leeway=CLOCK_SKEW,
        options={"require": list(_REQUIRED)},
    )
    return claims
