"""Token stores: durable, versioned maps from a key to opaque bytes, shared by all who open them.

The protocols and `MemoryStore` are here at once; a backend with a driver is imported on first use.
Whoever adds a backend adds it to this file, three times.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from twitchvault.stores.base import Change, Entry, Feed, TokenStore, Watchable
from twitchvault.stores.memory import MemoryStore
from twitchvault.stores.url import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

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


class Backend(NamedTuple):
    """Where a store is, and examples of its URLs.

    The module is imported on first use. If it has URLs, its function `from_url` makes a store of
    one.
    """

    module: str
    urls: tuple[str, ...] = ()


BACKENDS: Final[Mapping[str, Backend]] = MappingProxyType(
    {
        "MemoryStore": Backend("twitchvault.stores.memory", ("memory://",)),
        "SQLiteStore": Backend(
            "twitchvault.stores.sqlite",
            ("sqlite:///relative.db", "sqlite:////absolute.db", "sqlite:///C:/path.db"),
        ),
        "RedisStore": Backend(
            "twitchvault.stores.redis", ("redis://...", "rediss://...", "unix://...")
        ),
        "FernetStore": Backend("twitchvault.stores.fernet"),
    }
)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in BACKENDS:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(BACKENDS[name].module), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
