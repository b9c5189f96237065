"""From what the user gives to keys that can be used. Needs the driver."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Given", "Key", "Keys", "Ring", "ring_of"]

Key: TypeAlias = str | bytes | Fernet | MultiFernet
Keys: TypeAlias = Key | Iterable[Key]
Given: TypeAlias = Keys | Callable[[], Keys | Awaitable[Keys]]

_PRINT: Final = 8
_LENGTH: Final = 44
_EXPECTED: Final = f"{_LENGTH} characters of url-safe base64, as Fernet.generate_key() makes them"


class Ring:
    """The keys in order: the first encrypts, all decrypt. `prints` tells them apart."""

    def __init__(self, fernets: dict[str, Fernet]) -> None:
        self.prints = tuple(fernets)
        self._fernets = tuple(fernets.values())
        self.encrypt = self._fernets[0].encrypt
        # A MultiFernet takes a token apart once for all keys; for one key it is only a detour.
        several = len(self._fernets) > 1
        self._decrypt = MultiFernet(self._fernets).decrypt if several else self._fernets[0].decrypt

    def __repr__(self) -> str:
        return f"<Ring: {', '.join(self.prints)}>"

    def __reduce_ex__(self, _: object) -> NoReturn:
        msg = "keys cannot be pickled"
        raise TypeError(msg)

    def decrypt(self, token: bytes) -> bytes | None:
        """What is inside; None if no key opens it."""
        try:
            return self._decrypt(token)
        except InvalidToken:
            return None

    def decrypt_all(self, tokens: Iterable[bytes]) -> list[bytes] | None:
        """What is inside of each, one after the other: in between with other work each would cost
        more. None if some do not open.
        """
        decrypt = self._decrypt
        try:
            return [decrypt(token) for token in tokens]  # quicker than `map` for Python's own code
        except InvalidToken:
            return None

    def find(self, token: bytes) -> tuple[int, bytes] | None:
        """The place of the key that opens it, and what is inside; None if none does."""
        for place, fernet in enumerate(self._fernets):
            try:
                return place, fernet.decrypt(token)
            except InvalidToken:
                continue
        return None


def ring_of(given: object) -> Ring:
    """The keys in what the user gave; `TypeError` or `ValueError`, without the key, if it is none.

    A key given twice counts once.
    """
    fernets: dict[str, Fernet] = {}
    for place, key in enumerate(_single_keys(given)):
        fernet = key if isinstance(key, Fernet) else _fernet(key, place)
        fernets.setdefault(_print(fernet, place), fernet)
    if not fernets:
        msg = "'keys' is empty: give at least one Fernet key"
        raise ValueError(msg)
    return Ring(fernets)


def _single_keys(given: object) -> Iterator[object]:
    if isinstance(given, str | bytes | Fernet | MultiFernet):
        given = (given,)
    if not isinstance(given, Iterable):
        msg = f"'keys' must be a Fernet key or several, or a callable, not {type(given).__name__}"
        raise TypeError(msg)
    for key in given:
        if isinstance(key, MultiFernet):
            yield from _parts(key)
        else:
            yield key


def _fernet(key: object, place: int) -> Fernet:
    if not isinstance(key, str | bytes):
        msg = f"'keys'[{place}] must be str, bytes, Fernet or MultiFernet, not {type(key).__name__}"
        raise TypeError(msg)
    text = key.strip()  # a file's last line ends
    # Python's base64 stops at the first '=': "new,old" would be taken for "new".
    if len(text) == _LENGTH:
        with suppress(ValueError):
            return Fernet(text)
    msg = f"'keys'[{place}] is not a Fernet key: expected {_EXPECTED}; this has {len(text)}"
    raise ValueError(msg)


def _print(fernet: Fernet, place: int) -> str:
    """The beginning of the key's SHA-256. A Fernet has no public way to its key."""
    try:
        key: bytes = fernet._signing_key + fernet._encryption_key  # noqa: SLF001
    except (AttributeError, TypeError):
        msg = f"'keys'[{place}] hides its key: give the key itself, as str or bytes"
        raise ValueError(msg) from None
    return hashlib.sha256(key).hexdigest()[:_PRINT]


def _parts(multi: MultiFernet) -> list[Fernet]:
    try:
        return list(multi._fernets)  # noqa: SLF001
    except (AttributeError, TypeError):
        msg = "this MultiFernet hides its keys: give the keys themselves, in a list"
        raise ValueError(msg) from None
