"""The check entry, rotation, and encrypting what is in plaintext.

The check entry tells a wrong key when the store is opened. It is encrypted like any other. The
store id, random and made with it, is inside every ciphertext of the store. Its value says whether
plaintext may be left.

Entries are rewritten by compare-and-set while others go on working. So nobody's write is lost, and
breaking off anywhere leaves entries that are either old or new, and the same call goes on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from twitchvault.errors import DecryptionError, StoreError, VersionConflict
from twitchvault.stores.base import ENCRYPTION_CHECK_KEY, Unreadable, is_encrypted
from twitchvault.stores.fernet.cipher import STORE_ID_BYTES, EntryCipher, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twitchvault.stores.base import Entry, TokenStore
    from twitchvault.stores.fernet.keys import KeyRing

BATCH: Final = 100
_PASSES: Final = 10
_READY: Final = b"ready"
_ENCRYPTING: Final = b"encrypting"
_WRONG_KEY: Final = (
    "none of the keys decrypts this store, and nothing was written: give the key that it was "
    "encrypted with, alone or behind a new one, as in FernetStore(inner, [new, old])"
)
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
_PLAINTEXT_COMES: Final = (
    "entries in plaintext keep coming: end the programs that write to this store without "
    "encryption, then call 'await store.encrypt_existing()' again"
)


class CheckEntry(NamedTuple):
    """What the check entry says; not `ready`: entries in plaintext may be left."""

    store_id: bytes
    ready: bool
    version: int


@dataclass(frozen=True)
class EncryptionReport:
    """How a store stands after `rotate` or `encrypt_existing`. `str(report)` says it in words.

    `by_key`: how many entries stand under which key, by a last scan, the check entry included; a
    key is named by the first 8 hexadecimal digits of its SHA-256, and the first one comes first.
    `rewritten`: how many this call has rewritten.
    `left`: entries that were left because no key decrypts them or because they belong elsewhere.
    """

    by_key: Mapping[str, int]
    rewritten: int
    left: tuple[str, ...]

    @property
    def old_keys_unused(self) -> bool:
        """Whether no entry stands under any key but the first. Then the others can be dropped,
        provided that every process has the first key first by now.
        """
        return not any(list(self.by_key.values())[1:])

    def __str__(self) -> str:
        first, *old = self.by_key
        text = f"Entries rewritten: {self.rewritten}; under key {first}: {self.by_key[first]}."
        if not self.old_keys_unused:
            used = [f"{self.by_key[key]} under {key}" for key in old if self.by_key[key]]
            text += f" Keep the old keys: {', '.join(used)}."
        elif old:
            text += f" Once every process has {first} as its first key, drop {', '.join(old)}."
        if self.left:
            text += f" {len(self.left)} left as they are, because no key decrypts them or they "
            text += f"belong elsewhere, such as {self.left[0]!r}."
        return text


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
        msg = "encryption is not finished: call 'await store.encrypt_existing()' again"
        raise DecryptionError(msg)
    return check


async def begin_encrypting(inner: TokenStore, key_ring: KeyRing) -> CheckEntry | None:
    """The check entry, made if there is none, whatever the store holds."""
    if check := await read(inner, key_ring):
        return check
    cipher = EntryCipher(key_ring, await _store_id(inner, key_ring))
    return await _create(inner, cipher, _ENCRYPTING)


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
    await _put_check(inner, cipher, state, 0)
    return await read(inner, cipher.key_ring)


async def _put_check(inner: TokenStore, cipher: EntryCipher, state: bytes, expect: int) -> None:
    with suppress(VersionConflict):  # another process was faster: its check entry stands
        value = cipher.encrypt(ENCRYPTION_CHECK_KEY, state)
        await inner.put(ENCRYPTION_CHECK_KEY, value, expect=expect)


async def _refuse_unless_empty(inner: TokenStore) -> None:
    async with aclosing(in_batches(inner)) as batches:
        async for batch in batches:
            # A process that opened the store meanwhile made the check entry before all others.
            if batch and await inner.get(ENCRYPTION_CHECK_KEY) is None:
                text = _NO_CHECK if is_encrypted(batch[0].value) else _PLAINTEXT
                raise DecryptionError(text.format(key=batch[0].key, check=ENCRYPTION_CHECK_KEY))


async def _store_id(inner: TokenStore, key_ring: KeyRing) -> bytes:
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


async def rotate(inner: TokenStore, cipher: EntryCipher) -> EncryptionReport:
    """Bring all entries under the first key."""
    rewritten, clean = await _rewrite(inner, partial(_rotated, cipher))
    check = await inner.get(ENCRYPTION_CHECK_KEY)
    # Last: as long as another entry needs an old key, `open` has to ask for that key.
    if clean and check and (value := _rotated(cipher, check)):
        rewritten += await _write(inner, [(check, value)])
    return await _report(inner, cipher, rewritten)


async def encrypt_plaintext(inner: TokenStore, cipher: EntryCipher) -> EncryptionReport:
    """Encrypt what is in plaintext."""
    rewritten, clean = await _rewrite(inner, partial(_encrypted, cipher))
    if not clean:
        raise StoreError(_PLAINTEXT_COMES)
    check = await read(inner, cipher.key_ring)
    if check and not check.ready:
        await _put_check(inner, cipher, _READY, check.version)
    return await _report(inner, cipher, rewritten)


def _rotated(cipher: EntryCipher, entry: Entry) -> bytes | None:
    found = cipher.key_ring.decrypt(entry.value)
    if found and found[0] != cipher.key_ring.names[0] and cipher.belongs(entry.key, found[1]):
        return cipher.key_ring.encrypt(found[1])
    return None


def _encrypted(cipher: EntryCipher, entry: Entry) -> bytes | None:
    if is_encrypted(entry.value) or isinstance(entry.value, Unreadable):
        return None
    return cipher.encrypt(entry.key, entry.value)


async def _rewrite(inner: TokenStore, change: Callable[[Entry], bytes | None]) -> tuple[int, bool]:
    """How many entries were rewritten, and whether a last pass found none to rewrite."""
    rewritten = 0
    for _ in range(_PASSES):
        found = 0
        async with aclosing(in_batches(inner)) as batches:
            async for batch in batches:
                new = [(entry, value) for entry in batch if (value := change(entry)) is not None]
                found += len(new)
                rewritten += await _write(inner, new)
        if not found:
            return rewritten, True
    return rewritten, False


async def _write(inner: TokenStore, batch: list[tuple[Entry, bytes]]) -> int:
    """Write all at the same time, which many stores do in one go; how many were not overtaken."""
    puts = (inner.put(entry.key, value, expect=entry.version) for entry, value in batch)
    results = await asyncio.gather(*puts, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, VersionConflict):
            raise result
    return sum(isinstance(result, int) for result in results)


async def _report(inner: TokenStore, cipher: EntryCipher, rewritten: int) -> EncryptionReport:
    counts = dict.fromkeys(cipher.key_ring.names, 0)
    left: list[str] = []
    check = await inner.get(ENCRYPTION_CHECK_KEY)
    async with aclosing(in_batches(inner)) as batches:
        async for batch in batches:
            for key, _, value in batch:
                found = cipher.key_ring.decrypt(value)
                if found:
                    counts[found[0]] += 1
                if not found or not cipher.belongs(key, found[1]):
                    left.append(key)
    if check and (found := cipher.key_ring.decrypt(check.value)):
        counts[found[0]] += 1
    return EncryptionReport(MappingProxyType(counts), rewritten, tuple(left))
