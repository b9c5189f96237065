"""Token stores: durable, versioned maps from a key to opaque bytes, shared by all who open them.

The protocols and `MemoryStore` are here at once; a backend with a driver is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from twitchvault.stores.base import Change, Entry, Feed, TokenStore, Watchable
from twitchvault.stores.memory import MemoryStore
from twitchvault.stores.url import open_store

if TYPE_CHECKING:
    from twitchvault.stores.fernet import FernetStore
    from twitchvault.stores.redis import RedisStore
    from twitchvault.stores.sqlite import SQLiteStore

__all__ = [
    "Change",
    "Entry",
    "Feed",
    "FernetStore",
    "MemoryStore",
    "RedisStore",
    "SQLiteStore",
    "TokenStore",
    "Watchable",
    "open_store",
]

_LAZY: Final = {
    "FernetStore": "twitchvault.stores.fernet",
    "RedisStore": "twitchvault.stores.redis",
    "SQLiteStore": "twitchvault.stores.sqlite",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _LAZY:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
