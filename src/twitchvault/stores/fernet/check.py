"""The key check entry: by it a wrong key is told when the store is opened.

It stands under a reserved key and is sealed like any other entry. The store id, random and made
with it, is inside every ciphertext of the store. Its value is the store's state.
"""

from __future__ import annotations

import os
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from twitchvault.errors import DecryptionError, VersionConflict
from twitchvault.stores.fernet.seal import ID_BYTES, RESERVED, Seal, is_token, parse
from twitchvault.stores.fernet.walk import walk

if TYPE_CHECKING:
    from twitchvault.stores.base import Entry, TokenStore
    from twitchvault.stores.fernet.keys import Ring

__all__ = ["Check", "finish", "read", "reseal", "unlock", "unlock_plaintext"]

_READY: Final = b"ready"
_ENCRYPTING: Final = b"encrypting"

_WRONG_KEY: Final = (
    "none of the keys opens this store, and nothing was written: give the key that it was "
    "encrypted with, alone or behind a new one, as in FernetStore(inner, [new, old])"
)
_UNFINISHED: Final = (
    "encrypting this store was begun and not finished: call 'await store.encrypt_existing()' again"
)
_PLAINTEXT: Final = (
    "this store holds entries in plaintext, such as {key!r}, and nothing was written: "
    "'await store.encrypt_existing()' encrypts them, or name another store"
)
_NO_CHECK: Final = (
    "this store holds encrypted entries, such as {key!r}, but its check entry {check!r} is gone: "
    "'await store.encrypt_existing()' makes it anew if the keys open all of them"
)
_FOREIGN: Final = (
    "the entry of key {key!r} is encrypted already, but not by a FernetStore with these keys for "
    "this place: nothing was written; give its key too, or delete it from the inner store"
)


class Check(NamedTuple):
    """What the check entry says."""

    store_id: bytes
    ready: bool
    version: int


async def unlock(inner: TokenStore, ring: Ring) -> Check:
    """What the check entry says; makes it if the store is empty. `DecryptionError` if not."""
    while True:
        check = await read(inner, ring)
        if check is None:
            await _refuse_unless_empty(inner)
            await _make(inner, ring, os.urandom(ID_BYTES), _READY)
        elif check.ready:
            return check
        else:
            raise DecryptionError(_UNFINISHED)


async def unlock_plaintext(inner: TokenStore, ring: Ring) -> Check:
    """As `unlock`, for a store in plaintext: `finish` says that no entry is any more."""
    while (check := await read(inner, ring)) is None:
        await _make(inner, ring, await _known_id(inner, ring), _ENCRYPTING)
    return check


async def finish(inner: TokenStore, ring: Ring) -> None:
    """Nothing in plaintext is left."""
    while (check := await read(inner, ring)) is not None and not check.ready:
        with suppress(VersionConflict):
            value = Seal(ring, check.store_id).close(RESERVED, _READY)
            await inner.put(RESERVED, value, expect=check.version)


async def reseal(inner: TokenStore, ring: Ring) -> bool:
    """Bring the check entry under the first key; True if it was not."""
    while (entry := await inner.get(RESERVED)) is not None:
        found = ring.find(entry.value)
        if found is None or found[0] == 0:
            break
        with suppress(VersionConflict):
            await inner.put(RESERVED, ring.encrypt(found[1]), expect=entry.version)
            return True
    return False


async def read(inner: TokenStore, ring: Ring) -> Check | None:
    """What the check entry says, or None if there is none. `DecryptionError` if no key opens it."""
    entry = await inner.get(RESERVED)
    if entry is None:
        return None
    plain = ring.decrypt(entry.value)
    parts = None if plain is None else parse(plain)
    if parts is None or parts[1] != RESERVED:
        raise DecryptionError(_WRONG_KEY)
    return Check(parts[0], parts[2] != _ENCRYPTING, entry.version)


async def _make(inner: TokenStore, ring: Ring, store_id: bytes, state: bytes) -> None:
    with suppress(VersionConflict):  # another process was faster: its check entry stands
        await inner.put(RESERVED, Seal(ring, store_id).close(RESERVED, state), expect=0)


async def _refuse_unless_empty(inner: TokenStore) -> None:
    async with aclosing(walk(inner)) as pieces:
        async for piece in pieces:
            # Another process that opened the store meanwhile made the check entry before all
            # others.
            if await inner.get(RESERVED) is not None:
                return
            text = _NO_CHECK if is_token(piece.values[0]) else _PLAINTEXT
            raise DecryptionError(text.format(key=piece.keys[0], check=RESERVED))


async def _known_id(inner: TokenStore, ring: Ring) -> bytes:
    """The store id in the entries that are encrypted already, else a new one."""
    known: bytes | None = None
    async with aclosing(walk(inner)) as pieces:
        async for piece in pieces:
            for entry in piece:
                if is_token(entry.value) and entry.key != RESERVED:
                    known = _id_inside(entry, ring, known)
    return known or os.urandom(ID_BYTES)


def _id_inside(entry: Entry, ring: Ring, known: bytes | None) -> bytes:
    plain = ring.decrypt(entry.value)
    parts = None if plain is None else parse(plain)
    if parts is None or parts[1] != entry.key or parts[0] != (known or parts[0]):
        raise DecryptionError(_FOREIGN.format(key=entry.key))
    return parts[0]
