"""From what the user gives to keys that can be used. Needs the driver."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from cryptography.fernet import Fernet, MultiFernet

from twitchvault.stores.fernet.opener import Opener, unpacked

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

    def __init__(self, fernets: dict[bytes, Fernet]) -> None:
        self.prints = tuple(hashlib.sha256(key).hexdigest()[:_PRINT] for key in fernets)
        self.encrypt = next(iter(fernets.values())).encrypt
        self._openers = tuple(map(Opener, fernets))

    def __repr__(self) -> str:
        return f"<Ring: {', '.join(self.prints)}>"

    def __reduce_ex__(self, _: object) -> NoReturn:
        msg = "keys cannot be pickled"
        raise TypeError(msg)

    def decrypt(self, token: bytes) -> bytes | None:
        """What is inside; None if no key opens it."""
        found = self.find(token)
        return None if found is None else found[1]

    def find(self, token: bytes) -> tuple[int, bytes] | None:
        """The place of the key that opens it, and what is inside; None if none does."""
        data = unpacked(token)
        if data is not None:
            for place, opener in enumerate(self._openers):
                plain = opener.open(data)
                if plain is not None:
                    return place, plain
        return None


def ring_of(given: object) -> Ring:
    """The keys in what the user gave; `TypeError` or `ValueError`, without the key, if it is none.

    A key given twice counts once.
    """
    fernets: dict[bytes, Fernet] = {}
    for place, key in enumerate(_single_keys(given)):
        fernet = key if isinstance(key, Fernet) else _fernet(key, place)
        fernets.setdefault(_inside(fernet, place), fernet)
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


def _inside(fernet: Fernet, place: int) -> bytes:
    """The 32 bytes of the key. A Fernet has no public way to them."""
    try:
        key: bytes = fernet._signing_key + fernet._encryption_key  # noqa: SLF001
    except (AttributeError, TypeError):
        msg = f"'keys'[{place}] hides its key: give the key itself, as str or bytes"
        raise ValueError(msg) from None
    return key


def _parts(multi: MultiFernet) -> list[Fernet]:
    try:
        return list(multi._fernets)  # noqa: SLF001
    except (AttributeError, TypeError):
        msg = "this MultiFernet hides its keys: give the keys themselves, in a list"
        raise ValueError(msg) from None
