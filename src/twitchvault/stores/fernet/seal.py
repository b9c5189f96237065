"""What is inside a ciphertext, and why one is refused.

    format (1 byte, 0x01) | store id (16) | length of the key's name (2, big-endian) | name | value

The name and the store id bind a ciphertext to its place: moved to another key or another store it
does not open. They are authenticated with the value, and cost no second pass over it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from twitchvault.errors import CorruptRecord, DecryptionError
from twitchvault.stores.base import Entry, Unreadable
from twitchvault.stores.pages import Page

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable

    from twitchvault.errors import StoreError
    from twitchvault.stores.fernet.keys import Ring

__all__ = ["ID_BYTES", "RESERVED", "Seal", "is_token", "no_key", "parse"]

RESERVED: Final = "twitchvault/fernet"
"""The store's own key; those of the vault have a ':' or '/seed/' after the client id."""

ID_BYTES: Final = 16
_FORMAT: Final = b"\x01"
_LENGTH_BYTES: Final = 2
# Every Fernet token until the year 2106: 0x80, and four zero bytes of its time.
_TOKEN: Final = b"gAAAAA"


class Seal:
    """Closes and opens the values of one store."""

    def __init__(self, ring: Ring, store_id: bytes) -> None:
        self.ring = ring
        self.store_id = store_id
        self._head: Callable[[int], bytes] = cache(
            lambda size: _FORMAT + store_id + size.to_bytes(_LENGTH_BYTES)
        )

    def close(self, key: str, value: bytes) -> bytes:
        """The ciphertext of a value, under the first key."""
        return self.ring.encrypt(self._header(key) + value)

    def open(self, key: str, token: bytes) -> bytes | None:
        """The value, an `Unreadable`, or None: it is encrypted, and no key opens it."""
        return self._value(key, token, self.ring.decrypt(token))

    async def open_pages(
        self, pages: AsyncIterable[Page], shut: list[Entry]
    ) -> AsyncGenerator[Page, None]:
        """As `open_all`, page by page."""
        async for page in pages:
            yield self.open_all(page, shut)

    def open_all(self, page: Page, shut: list[Entry]) -> Page:
        """The users' entries opened; those that no key opens are put into `shut` instead."""
        plains = self.ring.decrypt_all(page.values)
        head = self._head
        headers = [head(len(name)) + name for name in map(str.encode, page.keys)]
        if plains and RESERVED not in page.keys:
            values = list(map(bytes.removeprefix, plains, headers))
            # Each has become shorter by its whole header, or some do not belong here.
            if sum(map(len, plains)) - sum(map(len, values)) == sum(map(len, headers)):
                return Page(page.keys, page.versions, values)
        opened = []
        for entry in page:
            key, version, token = entry
            if key == RESERVED:
                continue
            if (value := self.open(key, token)) is None:
                shut.append(entry)
            else:
                opened.append(Entry(key, version, value))
        return Page.of(opened)

    def fits(self, key: str, plain: bytes) -> bool:
        """Whether the inside of a ciphertext belongs under this key of this store."""
        return plain.startswith(self._header(key))

    def _value(self, key: str, token: bytes, plain: bytes | None) -> bytes | None:
        if plain is None:
            return None if is_token(token) else _not_encrypted(key, token)
        header = self._header(key)
        if plain.startswith(header):
            return plain[len(header) :]
        return Unreadable(self._misfit(key, plain))

    def _header(self, key: str) -> bytes:
        name = key.encode()
        return self._head(len(name)) + name

    def _misfit(self, key: str, plain: bytes) -> StoreError:
        what = f"the entry of key {key!r}"
        if plain[:1] != _FORMAT:
            if plain[1 : 1 + ID_BYTES] == self.store_id:
                msg = f"{what} has format {plain[0]}, this version knows format {_FORMAT[0]}: "
                return CorruptRecord(msg + "upgrade twitchvault")
            return DecryptionError(f"{what} was not written by a FernetStore")
        parts = parse(plain)
        if parts is None:
            return DecryptionError(f"{what} was not written by a FernetStore")
        store_id, name, _ = parts
        if store_id != self.store_id:
            return DecryptionError(f"{what} was encrypted for another store with the same key")
        return DecryptionError(f"{what} was encrypted for another key, {name!r}, and moved here")


def parse(plain: bytes) -> tuple[bytes, str, bytes] | None:
    """Store id, name and value from the inside of a ciphertext; None if it is not of our form."""
    start = len(_FORMAT) + ID_BYTES + _LENGTH_BYTES
    end = start + int.from_bytes(plain[start - _LENGTH_BYTES : start])
    if plain[:1] != _FORMAT or len(plain) < max(start, end):
        return None
    try:
        name = plain[start:end].decode()
    except UnicodeDecodeError:
        return None
    return plain[1 : 1 + ID_BYTES], name, plain[end:]


def is_token(value: bytes) -> bool:
    """Whether a value looks like a Fernet token, whatever its key."""
    return value.startswith(_TOKEN)


def no_key(key: str, note: str = "") -> Unreadable:
    """Stands for a value that no key opens."""
    msg = f"the entry of key {key!r} is not opened by any of the keys: it is damaged, or encrypted "
    return Unreadable(DecryptionError(f"{msg}under another key{note}"))


def _not_encrypted(key: str, value: bytes) -> Unreadable:
    if isinstance(value, Unreadable):
        return value
    msg = f"the entry of key {key!r} is not encrypted, and refused for that: if it was stored "
    msg += "before encryption was turned on, 'await store.encrypt_existing()' encrypts it"
    return Unreadable(DecryptionError(msg))
