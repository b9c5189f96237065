"""From what the user gives to a key ring. Needs the package `cryptography`."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, TypeAlias

from twitchvault.errors import StoreError, StoreUnavailable, WrongType, WrongValue
from twitchvault.stores.base import missing_driver

try:
    from cryptography.fernet import Fernet, InvalidToken
except ImportError:
    raise missing_driver("FernetStore", "cryptography", "fernet") from None

Keys: TypeAlias = str | bytes | Sequence[str | bytes]
KeysCallable: TypeAlias = Callable[[], Keys | Awaitable[Keys]]

_TIMEOUT: Final = 30.0
_KEY_LENGTH: Final = 44


class KeyRing:
    """Fernet keys in order: the first encrypts, all decrypt. `TypeError` or `ValueError`, without
    showing the key, for what is none. A key is named by the beginning of the SHA-256 of its bytes.
    """

    def __init__(self, given: object) -> None:
        keys = [given] if isinstance(given, str | bytes) else given
        if not isinstance(keys, list | tuple):
            msg = "'keys' must be a Fernet key, a list or tuple of keys, or a callable, not "
            msg += f"{type(keys).__name__}: their order counts, the first one encrypts"
            raise WrongType(msg)
        if not keys:
            raise WrongValue("'keys' is empty: give at least one Fernet key")
        self._fernets = dict(_named_fernet(key, place) for place, key in enumerate(keys))
        self.names = tuple(self._fernets)
        self.encrypt = self._fernets[self.names[0]].encrypt

    def decrypt(self, token: bytes) -> tuple[str, bytes] | None:
        """The name of the key that decrypts it, and what is inside; None if none does."""
        for name, fernet in self._fernets.items():
            try:
                return name, fernet.decrypt(token)
            except InvalidToken:
                continue
        return None


async def load(keys: KeyRing | KeysCallable) -> KeyRing:
    """The keys as of now. `StoreUnavailable` if the callable fails or takes too long."""
    if isinstance(keys, KeyRing):
        return keys
    try:
        async with asyncio.timeout(_TIMEOUT):
            # A plain function may talk to a key service and would hold up the loop.
            given = keys() if inspect.iscoroutinefunction(keys) else await asyncio.to_thread(keys)
            if inspect.isawaitable(given):
                given = await given
    except StoreError:
        raise
    except Exception as error:  # its text might hold a key
        msg = f"the callable 'keys' gave no keys within {_TIMEOUT:.0f} s: {type(error).__name__}"
        raise StoreUnavailable(msg) from None
    return KeyRing(given)


def _named_fernet(key: object, place: int) -> tuple[str, Fernet]:
    if not isinstance(key, str | bytes):
        raise WrongType(f"'keys'[{place}] must be str or bytes, not {type(key).__name__}")
    text = key.strip()  # the last line of a file ends with a newline
    # Python's base64 stops at the first '=': "new,old" would be taken for "new".
    if len(text) == _KEY_LENGTH:
        with suppress(ValueError):
            return hashlib.sha256(urlsafe_b64decode(text)).hexdigest()[:8], Fernet(text)
    msg = f"'keys'[{place}] is not a Fernet key: expected {_KEY_LENGTH} characters of url-safe "
    msg += f"base64, as Fernet.generate_key() makes them; this has {len(text)}"
    raise WrongValue(msg)
