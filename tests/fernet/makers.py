"""Stores as the contract wants them, and what all tests here say about stores."""

from __future__ import annotations

import hashlib
import traceback
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING

from tests.stores.custom_store import FileStore
from twitchvault.stores import Entry, FernetStore, MemoryStore, RedisStore, SQLiteStore, TokenStore

if TYPE_CHECKING:
    from pathlib import Path

KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
NEW = "bmV3IG5ldyBuZXcgbmV3IG5ldyBuZXcgbmV3IG5ldy4="
WRONG = "d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3I="
CHECK = "twitchvault/fernet"


def over_sqlite(path: Path) -> FernetStore:
    """A store in a file."""
    return FernetStore(SQLiteStore(path), KEY)


def over_custom(path: Path) -> FernetStore:
    """A store over one that somebody wrote for themselves."""
    return FernetStore(FileStore(path), [KEY])


def over_redis(url: str, namespace: str) -> FernetStore:
    """A store in a namespace of a server."""
    return FernetStore(RedisStore(url, namespace=namespace), KEY)


def over_memory(inner: MemoryStore) -> FernetStore:
    """A store over a dict."""
    return FernetStore(inner, KEY)


def name_of(key: str) -> str:
    """The name of a key in reports."""
    return hashlib.sha256(urlsafe_b64decode(key)).hexdigest()[:8]


async def content(store: TokenStore) -> dict[str, Entry]:
    """All entries by key."""
    return {entry.key: entry async for entry in store.scan()}


async def values(store: TokenStore) -> dict[str, bytes]:
    """All values by key."""
    return {entry.key: entry.value async for entry in store.scan()}


async def swap(inner: TokenStore, key: str, value: bytes) -> None:
    """Put bytes there, as somebody who can write to the store would."""
    await inner.put(key, value)


async def token(inner: TokenStore, key: str) -> bytes:
    """What the inner store holds."""
    entry = await inner.get(key)
    assert entry
    return entry.value


def shown(error: BaseException) -> str:
    """All that an exception shows, causes and contexts included."""
    return "".join(traceback.format_exception(error)) + repr(error)


def all_bytes(folder: Path) -> bytes:
    """What stands in the files of a folder."""
    return b"".join(file.read_bytes() for file in folder.iterdir())


def names_in(folder: Path) -> list[str]:
    """The names of the files in a folder."""
    return sorted(file.name for file in folder.iterdir())
