"""The key that id tokens are signed with. It needs the extra `openid`, so it is imported on use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

if TYPE_CHECKING:
    from collections.abc import Mapping

ALGORITHM: Final = "RS256"
KEY_ID: Final = "1"
KEY_BITS: Final = 2048


class Signer:
    """Signs with a key that it makes for itself."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(65537, KEY_BITS)

    def sign(self, claims: Mapping[str, object]) -> str:
        """A signed token of these claims."""
        return jwt.encode(dict(claims), self._key, ALGORITHM, headers={"kid": KEY_ID})

    def key_set(self) -> dict[str, object]:
        """The public half, as a JSON Web Key Set."""
        public = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [public | {"alg": ALGORITHM, "kid": KEY_ID, "use": "sig"}]}
