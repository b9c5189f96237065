"""Keys, and what the tests here ask of stores."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet, InvalidToken

from twitchvault.stores import Entry, FernetStore, TokenStore
from twitchvault.stores.base import ENCRYPTION_CHECK_KEY as CHECK

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CHECK", "KEY", "NEW", "WRONG"]

KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
NEW = "bmV3IG5ldyBuZXcgbmV3IG5ldyBuZXcgbmV3IG5ldy4="
WRONG = "d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3I="


async def opened(inner: TokenStore, *keys: str) -> FernetStore:
    """An open store over `inner`, with these keys or the usual one."""
    store = FernetStore(inner, keys or KEY)
    await store.open()
    return store


def name_of(key: str) -> str:
    """The name of a key in reports."""
    return hashlib.sha256(urlsafe_b64decode(key)).hexdigest()[:8]


def decrypts(key: str, value: bytes) -> bool:
    """Whether this key decrypts what a store holds."""
    try:
        return bool(Fernet(key).decrypt(value))
    except InvalidToken:
        return False


async def content(store: TokenStore) -> dict[str, Entry]:
    """All entries by key."""
    return {entry.key: entry async for entry in store.scan()}


async def values(store: TokenStore) -> dict[str, bytes]:
    """All values by key."""
    return {entry.key: entry.value async for entry in store.scan()}


async def token(inner: TokenStore, key: str) -> bytes:
    """What the inner store holds."""
    entry = await inner.get(key)
    assert entry
    return entry.value


def names_in(folder: Path) -> list[str]:
    """The names of the files in a folder."""
    return sorted(file.name for file in folder.iterdir())
