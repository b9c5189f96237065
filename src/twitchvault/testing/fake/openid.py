"""OpenID Connect: the id tokens of the code flow, and the keys that they are signed with."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from .messages import Answer, Call, encode
from .model import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from .logins import CodeLogin
    from .state import State

OPENID: Final = "openid"
ALGORITHM: Final = "RS256"
KEY_ID: Final = "1"
KEY_BITS: Final = 2048


class IdTokenRequest(NamedTuple):
    """What a request for consent wants to be in the id token."""

    nonce: str = ""
    claims: frozenset[str] = frozenset()

    @classmethod
    def of(cls, params: Mapping[str, str]) -> IdTokenRequest:
        """The request in the parameters `nonce` and `claims`."""
        try:
            claims = json.loads(params.get("claims") or "{}")
            return cls(params.get("nonce", ""), frozenset(claims.get("id_token") or ()))
        except (ValueError, TypeError, AttributeError):
            raise Refusal(400, "invalid claims") from None


class IdTokens:
    """Makes id tokens, and publishes the key."""

    def __init__(self, state: State) -> None:
        self._state = state

    def issue(self, login: CodeLogin, base: str) -> str:
        """The id token of a login at the double whose root is `base`."""
        now, client_id = int(self._state.now()), login.request.client.client_id
        wanted, profile = login.request.id_token, _profile(login)
        claims = {name: value for name, value in profile.items() if name in wanted.claims}
        claims |= {
            "iss": f"{base}/oauth2",
            "sub": login.user.user_id,
            "aud": client_id,
            "azp": client_id,
            "iat": now,
            "exp": now + int(self._state.settings.id_token_lifetime),
        }
        claims |= {"nonce": wanted.nonce} if wanted.nonce else {}
        key = self._key
        import jwt  # noqa: PLC0415 - on use, as the extra may be missing

        token = jwt.encode(claims, key, ALGORITHM, headers={"kid": KEY_ID})
        self._state.secrets.add(token)
        return token

    def keys(self, _: Call) -> Answer:
        """GET /oauth2/keys: the public half, as a JSON Web Key Set."""
        key = self._key.public_key()
        from jwt.algorithms import RSAAlgorithm  # noqa: PLC0415 - as above

        public = RSAAlgorithm.to_jwk(key, as_dict=True)
        public |= {"alg": ALGORITHM, "kid": KEY_ID, "use": "sig"}
        return Answer(200, encode({"keys": [public]}))

    @cached_property
    def _key(self) -> RSAPrivateKey:
        """What signs, made on first use; a refusal where the extra `openid` is missing."""
        try:
            import jwt.algorithms  # noqa: F401, PLC0415
            from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415
        except ImportError:
            text = "the double signs id tokens by PyJWT: pip install 'twitchvault[openid]'"
            raise Refusal(501, text) from None
        return rsa.generate_private_key(65537, KEY_BITS)


def _profile(login: CodeLogin) -> dict[str, object]:
    user = login.user
    profile: dict[str, object] = {
        "preferred_username": user.display_name,
        "picture": f"https://static-cdn.jtvnw.net/{user.user_id}-profile_image-300x300.png",
        "updated_at": "2026-01-01T00:00:00Z",
    }
    if "user:read:email" in login.request.scopes:
        profile |= {"email": f"{user.login}@example.com", "email_verified": True}
    return profile
