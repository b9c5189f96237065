"""The check entry, which tells a wrong key when the store is opened, and scans without it.

It is encrypted like any other. The store id, random and made with it, is inside every ciphertext of
the store. Its value says whether plaintext may be left.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from twitchvault.errors import DecryptionError, VersionConflict
from twitchvault.stores.base import ENCRYPTION_CHECK_KEY, is_encrypted
from twitchvault.stores.fernet.cipher import STORE_ID_BYTES, EntryCipher, parse

if TYPE_CHECKING:
    from twitchvault.stores.base import Entry, TokenStore
    from twitchvault.stores.fernet.keys import KeyRing

BATCH: Final = 100
_READY: Final = b"ready"
_ENCRYPTING: Final = b"encrypting"

_WRONG_KEY: Final = (
    "none of the keys decrypts this store, and nothing was written: give the key that it was "
    "encrypted with, alone or behind a new one, as in FernetStore(inner, [new, old])"
)
_UNFINISHED: Final = "encryption is not finished: call 'await store.encrypt_existing()' again"
_PLAINTEXT: Final = (
    "this store holds entries in plaintext, such as {key!r}, and nothing was written: "
    "'await store.encrypt_existing()' encrypts them, or name another store"
)
_NO_CHECK: Final = (
    "this store holds encrypted entries, such as {key!r}, but its check entry {check!r} is gone: "
    "'await store.encrypt_existing()' makes it anew if the keys decrypt all of them"
)
_FOREIGN: Final = (
    "the entry of key {key!r} is encrypted already, but not by a FernetStore with these keys for "
    "this place: nothing was written; give its key too, or delete it from the inner store"
)


class CheckEntry(NamedTuple):
    """What the check entry says; not `ready`: entries in plaintext may be left."""

    store_id: bytes
    ready: bool
    version: int


async def in_batches(store: TokenStore, prefix: str = "") -> AsyncGenerator[list[Entry], None]:
    """A scan without the check entry, 100 entries at a time; the last batch may be empty."""
    scan = store.scan(prefix)
    batch: list[Entry] = []
    try:
        async for entry in scan:
            if entry.key != ENCRYPTION_CHECK_KEY:
                batch.append(entry)
            if len(batch) == BATCH:
                yield batch
                batch = []
                await asyncio.sleep(0)
    finally:
        if isinstance(scan, AsyncGenerator):
            await scan.aclose()
    yield batch


async def open_or_create(inner: TokenStore, key_ring: KeyRing) -> CheckEntry | None:
    """The check entry, made if the store is empty; `DecryptionError` if the store is not ready."""
    check = await read(inner, key_ring)
    if check is None:
        await _refuse_unless_empty(inner)
        check = await _create(inner, EntryCipher(key_ring, os.urandom(STORE_ID_BYTES)), _READY)
    if check and not check.ready:
        raise DecryptionError(_UNFINISHED)
    return check


async def begin_encrypting(inner: TokenStore, key_ring: KeyRing) -> CheckEntry | None:
    """The check entry, made if there is none, whatever the store holds."""
    if check := await read(inner, key_ring):
        return check
    cipher = EntryCipher(key_ring, await _store_id(inner, key_ring))
    return await _create(inner, cipher, _ENCRYPTING)


async def finish_encrypting(inner: TokenStore, cipher: EntryCipher) -> None:
    """Nothing in plaintext is left."""
    check = await read(inner, cipher.key_ring)
    if check and not check.ready:
        value = cipher.encrypt(ENCRYPTION_CHECK_KEY, _READY)
        with suppress(VersionConflict):  # another process has finished, too
            await inner.put(ENCRYPTION_CHECK_KEY, value, expect=check.version)


async def read(inner: TokenStore, key_ring: KeyRing) -> CheckEntry | None:
    """The check entry, or None if there is none. `DecryptionError` if no key decrypts it."""
    entry = await inner.get(ENCRYPTION_CHECK_KEY)
    if entry is None:
        return None
    found = key_ring.decrypt(entry.value)
    parts = parse(found[1]) if found else None
    if parts is None or parts[1] != ENCRYPTION_CHECK_KEY:
        raise DecryptionError(_WRONG_KEY)
    return CheckEntry(store_id=parts[0], ready=parts[2] != _ENCRYPTING, version=entry.version)


async def _create(inner: TokenStore, cipher: EntryCipher, state: bytes) -> CheckEntry | None:
    with suppress(VersionConflict):  # another process was faster: its check entry stands
        value = cipher.encrypt(ENCRYPTION_CHECK_KEY, state)
        await inner.put(ENCRYPTION_CHECK_KEY, value, expect=0)
    return await read(inner, cipher.key_ring)


async def _refuse_unless_empty(inner: TokenStore) -> None:
    async with aclosing(in_batches(inner)) as batches:
        async for batch in batches:
            # A process that opened the store meanwhile made the check entry before all others.
            if batch and await inner.get(ENCRYPTION_CHECK_KEY) is None:
                text = _NO_CHECK if is_encrypted(batch[0].value) else _PLAINTEXT
                raise DecryptionError(text.format(key=batch[0].key, check=ENCRYPTION_CHECK_KEY))


async def _store_id(inner: TokenStore, key_ring: KeyRing) -> bytes:
    """The store id in the entries that are encrypted already, else a new one."""
    known: bytes | None = None
    async with aclosing(in_batches(inner)) as batches:
        async for batch in batches:
            for key, _, value in batch:
                if is_encrypted(value):
                    found = key_ring.decrypt(value)
                    parts = parse(found[1]) if found else None
                    if parts is None or parts[1] != key or known not in (None, parts[0]):
                        raise DecryptionError(_FOREIGN.format(key=key))
                    known = parts[0]
    return known or os.urandom(STORE_ID_BYTES)
