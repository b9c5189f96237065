"""OpenID Connect: the id tokens of the code flow, and the keys that they are signed with."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from .messages import Answer, Call, encode
from .model import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .logins import CodeLogin
    from .model import User
    from .state import State

OPENID: Final = "openid"
EMAIL: Final = "user:read:email"
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
        now, client_id, request = int(self._state.now()), login.client.client_id, login.id_token
        profile = _profile(login.user, email=EMAIL in login.scopes)
        claims = {name: value for name, value in profile.items() if name in request.claims}
        claims |= {
            "iss": f"{base}/oauth2",
            "sub": login.user.user_id,
            "aud": client_id,
            "azp": client_id,
            "iat": now,
            "exp": now + int(self._state.settings.id_token_lifetime),
        }
        token = self._signer.sign(claims | ({"nonce": request.nonce} if request.nonce else {}))
        self._state.secrets.add(token)
        return token

    def keys(self, _: Call) -> Answer:
        """GET /oauth2/keys."""
        return Answer(200, encode(self._signer.key_set()))

    @cached_property
    def _signer(self) -> Signer:
        try:
            return Signer()
        except ImportError:
            text = "the double signs id tokens by PyJWT: pip install 'twitchvault[openid]'"
            raise Refusal(501, text) from None


class Signer:
    """Signs with a key that it makes for itself. It needs the extra `openid`."""

    def __init__(self) -> None:
        import jwt  # noqa: PLC0415 - on use, as the extra may be missing
        from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415
        from jwt.algorithms import RSAAlgorithm  # noqa: PLC0415

        self._jwt, self._to_jwk = jwt, RSAAlgorithm.to_jwk
        self._key = rsa.generate_private_key(65537, KEY_BITS)

    def sign(self, claims: Mapping[str, object]) -> str:
        """A signed token of these claims."""
        return self._jwt.encode(dict(claims), self._key, ALGORITHM, headers={"kid": KEY_ID})

    def key_set(self) -> dict[str, object]:
        """The public half, as a JSON Web Key Set."""
        public = self._to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [public | {"alg": ALGORITHM, "kid": KEY_ID, "use": "sig"}]}


def _profile(user: User, *, email: bool) -> dict[str, object]:
    profile: dict[str, object] = {
        "preferred_username": user.display_name,
        "picture": f"https://static-cdn.jtvnw.net/{user.user_id}-profile_image-300x300.png",
        "updated_at": "2026-01-01T00:00:00Z",
    }
    address = {"email": f"{user.login}@example.com", "email_verified": True}
    return profile | (address if email else {})
