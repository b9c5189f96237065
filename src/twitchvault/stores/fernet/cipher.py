"""What is inside a ciphertext, and why one is refused.

    format (1 byte, 0x01) | store id (16) | length of the key's name (2, big-endian) | name | value

The name and the store id are authenticated with the value and bind it to its place: an entry that
was moved to another key or another store is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twitchvault.errors import CorruptRecord, DecryptionError
from twitchvault.stores.base import Unreadable, is_encrypted

if TYPE_CHECKING:
    from twitchvault.errors import StoreError
    from twitchvault.stores.fernet.keys import KeyRing

STORE_ID_BYTES: Final = 16
_FORMAT: Final = b"\x01"
_LENGTH_BYTES: Final = 2


def parse(plain: bytes) -> tuple[bytes, str, bytes] | None:
    """Store id, key and value from the inside of a ciphertext; None if it is not of our form."""
    start = len(_FORMAT) + STORE_ID_BYTES + _LENGTH_BYTES
    end = start + int.from_bytes(plain[start - _LENGTH_BYTES : start])
    if plain[:1] != _FORMAT or len(plain) < max(start, end):
        return None
    try:
        return plain[1 : 1 + STORE_ID_BYTES], plain[start:end].decode(), plain[end:]
    except UnicodeDecodeError:
        return None


class EntryCipher:
    """Encrypts and decrypts the values of one store; `key_ring` may be replaced."""

    def __init__(self, key_ring: KeyRing, store_id: bytes) -> None:
        self.key_ring = key_ring
        self.store_id = store_id

    def encrypt(self, key: str, value: bytes) -> bytes:
        """The ciphertext of a value, under the first key."""
        return self.key_ring.encrypt(self._header(key) + value)

    def decrypt(self, key: str, token: bytes) -> bytes:
        """The value, or an `Unreadable` that says why it is refused."""
        found = self.key_ring.decrypt(token)
        if found is None:
            return token if isinstance(token, Unreadable) else _undecryptable(key, token)
        header = self._header(key)
        if found[1].startswith(header):
            return found[1][len(header) :]
        return Unreadable(self._misplaced(key, found[1]))

    def belongs(self, key: str, plain: bytes) -> bool:
        """Whether what is inside a ciphertext belongs under this key of this store."""
        return plain.startswith(self._header(key))

    def _header(self, key: str) -> bytes:
        name = key.encode()
        return _FORMAT + self.store_id + len(name).to_bytes(_LENGTH_BYTES) + name

    def _misplaced(self, key: str, plain: bytes) -> StoreError:
        entry = f"the entry of key {key!r}"
        if plain[:1] != _FORMAT and plain[1 : 1 + STORE_ID_BYTES] == self.store_id:
            msg = f"{entry} has format {plain[0]}, this version knows format {_FORMAT[0]}: "
            return CorruptRecord(msg + "upgrade twitchvault")
        if parse(plain) is None:
            return DecryptionError(f"{entry} was not written by a FernetStore")
        return DecryptionError(f"{entry} was encrypted for another key or store, and moved here")


def _undecryptable(key: str, token: bytes) -> Unreadable:
    if is_encrypted(token):
        why = "is not decrypted by any of the keys: it is damaged, or encrypted under another key"
    else:
        why = "is not encrypted, and refused for that: if it was stored before encryption was "
        why += "turned on, 'await store.encrypt_existing()' encrypts it"
    return Unreadable(DecryptionError(f"the entry of key {key!r} {why}"))
