"""Rotation, and encrypting what is in plaintext: entries rewritten while others go on working.

Each entry is rewritten by compare-and-set. So nobody's write is lost, and breaking off anywhere
leaves a store in which every entry is either old or new, and the same call goes on.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreError, VersionConflict
from twitchvault.stores.base import ENCRYPTION_CHECK_KEY, Unreadable, is_encrypted
from twitchvault.stores.fernet.check_entry import finish_encrypting, in_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twitchvault.stores.base import Entry, TokenStore
    from twitchvault.stores.fernet.cipher import EntryCipher

__all__ = ["EncryptionReport", "encrypt_plaintext", "rotate"]

_PASSES: Final = 10
_PLAINTEXT_COMES: Final = (
    "entries in plaintext keep coming: end the programs that write to this store without "
    "encryption, then call 'await store.encrypt_existing()' again"
)


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
    await finish_encrypting(inner, cipher)
    return await _report(inner, cipher, rewritten)


def _rotated(cipher: EntryCipher, entry: Entry) -> bytes | None:
    """The ciphertext under the first key, or None if the entry is to be left as it is."""
    found = cipher.key_ring.decrypt(entry.value)
    if found and found[0] != cipher.key_ring.names[0] and cipher.belongs(entry.key, found[1]):
        return cipher.key_ring.encrypt(found[1])
    return None


def _encrypted(cipher: EntryCipher, entry: Entry) -> bytes | None:
    """The ciphertext, or None if the entry is to be left as it is."""
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
