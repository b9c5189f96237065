"""Rotation, and encrypting what is in plaintext: entries rewritten while others go on working.

Each entry is rewritten by compare-and-set. So nobody's write is lost, and breaking off anywhere
leaves a store in which every entry is either old or new, and the same call goes on.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreError, VersionConflict
from twitchvault.stores.base import Unreadable
from twitchvault.stores.fernet import check
from twitchvault.stores.fernet.seal import RESERVED, is_token
from twitchvault.stores.fernet.walk import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twitchvault.stores.base import Entry, TokenStore
    from twitchvault.stores.fernet.seal import Seal
    from twitchvault.stores.fernet.session import Session

__all__ = ["EncryptionReport", "encrypt_plaintext", "rotate"]

_PASSES: Final = 10
_SHOWN: Final = 5
_PLAINTEXT_COMES: Final = (
    "entries in plaintext keep coming: end the programs that write to this store without "
    "encryption, then call 'await store.encrypt_existing()' again"
)


@dataclass(frozen=True)
class EncryptionReport:
    """How a store stands after `rotate` or `encrypt_existing`. `str(report)` says it in words.

    `by_key`: how many entries stand under which key, as a last look over all of them found it; a
    key is named by the first 8 hexadecimal digits of the SHA-256 of its 32 bytes, and the one that
    encrypts comes first. The store's own check entry is counted with the others.
    `rewritten`: how many this call has rewritten.
    `left`: the keys of entries that were left as they are, because none of the keys opens them or
    because they belong elsewhere.
    """

    by_key: Mapping[str, int]
    rewritten: int
    left: tuple[str, ...]

    @property
    def old_keys_unused(self) -> bool:
        """Whether no entry stands under any key but the first.

        Then the others can be dropped, provided that every process has the first key first by now:
        one that has not goes on writing under an old one.
        """
        return not any(list(self.by_key.values())[1:])

    def __str__(self) -> str:
        first, *old = self.by_key
        text = f"{self.rewritten} entries rewritten; {self.by_key[first]} stand under key {first}. "
        text += self._about_old(first, old)
        if self.left:
            shown = ", ".join(map(repr, self.left[:_SHOWN]))
            more = f" and {len(self.left) - _SHOWN} more" if len(self.left) > _SHOWN else ""
            text += " Left as they are, because no key opens them or they belong elsewhere: "
            text += f"{shown}{more}."
        return text

    def _about_old(self, first: str, old: list[str]) -> str:
        used = [f"{self.by_key[key]} under {key}" for key in old if self.by_key[key]]
        if used:
            return f"Keep the old keys: {', '.join(used)}."
        if not old:
            return "No other key was given."
        return f"Once every process has {first} as its first key, drop {', '.join(old)}."


async def rotate(session: Session) -> EncryptionReport:
    """Bring all entries under the first key."""
    await session.load()
    inner, seal = session.inner, session.seal
    rewritten, clean = await _rewrite(inner, lambda entry: _resealed(seal, entry))
    if clean:  # not before: without it the old key is still asked for at every opening
        rewritten += await check.reseal(inner, seal.ring)
    return await _report(inner, seal, rewritten)


async def encrypt_plaintext(session: Session) -> EncryptionReport:
    """Encrypt what is in plaintext."""
    inner, seal = session.inner, session.seal
    rewritten, clean = await _rewrite(inner, lambda entry: _sealed(seal, entry))
    if not clean:
        raise StoreError(_PLAINTEXT_COMES)
    await check.finish(inner, seal.ring)
    return await _report(inner, seal, rewritten)


def _resealed(seal: Seal, entry: Entry) -> bytes | None:
    found = seal.ring.find(entry.value)
    if found is None or found[0] == 0 or not seal.fits(entry.key, found[1]):
        return None
    return seal.ring.encrypt(found[1])


def _sealed(seal: Seal, entry: Entry) -> bytes | None:
    if is_token(entry.value) or isinstance(entry.value, Unreadable):
        return None
    return seal.close(entry.key, entry.value)


async def _rewrite(inner: TokenStore, change: Callable[[Entry], bytes | None]) -> tuple[int, bool]:
    """How many entries were rewritten, and whether a last pass found none to rewrite."""
    rewritten = 0
    for _ in range(_PASSES):
        found, done = await _one_pass(inner, change)
        rewritten += done
        if not found:
            return rewritten, True
    return rewritten, False


async def _one_pass(inner: TokenStore, change: Callable[[Entry], bytes | None]) -> tuple[int, int]:
    """How many entries were to be rewritten, and how many of them were."""
    found = done = 0
    async with aclosing(walk(inner)) as pieces:
        async for piece in pieces:
            users = (entry for entry in piece if entry.key != RESERVED)
            new = [(e, value) for e in users if (value := change(e)) is not None]
            found += len(new)
            done += await _write(inner, new)
    return found, done


async def _write(inner: TokenStore, batch: list[tuple[Entry, bytes]]) -> int:
    """Write all at the same time, which many stores do in one go; how many were not overtaken."""
    puts = (inner.put(entry.key, value, expect=entry.version) for entry, value in batch)
    results = await asyncio.gather(*puts, return_exceptions=True)
    done = 0
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, VersionConflict):
            raise result
        done += isinstance(result, int)
    return done


async def _report(inner: TokenStore, seal: Seal, rewritten: int) -> EncryptionReport:
    counts = dict.fromkeys(seal.ring.prints, 0)
    left: list[str] = []
    async with aclosing(walk(inner)) as pieces:
        async for piece in pieces:
            for entry in piece:
                found = seal.ring.find(entry.value)
                if found is not None:
                    counts[seal.ring.prints[found[0]]] += 1
                if found is None or not seal.fits(entry.key, found[1]):
                    left.append(entry.key)
    return EncryptionReport(MappingProxyType(counts), rewritten, tuple(left))
