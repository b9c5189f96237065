"""From a URL to a store."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote

from twitchvault.errors import MissingDriver, StoreError, TwitchVaultError, scrub_traceback
from twitchvault.stores.base import TokenStore
from twitchvault.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.metadata import EntryPoint

__all__ = ["ENTRY_POINT_GROUP", "SCHEMES", "Scheme", "open_store"]

ENTRY_POINT_GROUP: Final = "twitchvault.stores"
"""An installed package registers a store here: the entry's name is the scheme, its object is called
with the whole URL and returns a `TokenStore` that is not open.
"""
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


@scrub_traceback
def open_store(url: str) -> TokenStore:
    """The store of a URL, not opened yet: `await store.open()` does that.

    `SCHEMES` lists the forms of a URL; installed packages may register others. Raises `ValueError`
    for anything else, without showing what may be a password, and `MissingDriver` if the package
    that a store needs is not installed.
    """
    if not isinstance(url, str):
        msg = f"'url' must be a str, not {type(url).__name__}"
        raise TypeError(msg)
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError(f"'url' has no scheme: {_expected()}")
    name = found[1].lower()
    if scheme := SCHEMES.get(name):
        return scheme.make(url, found[2])
    return _registered(name, url)


def _memory(_: str, rest: str) -> TokenStore:
    if rest:
        raise ValueError("a 'memory' URL is 'memory://' and nothing after it")
    return MemoryStore()


def _sqlite(_: str, rest: str) -> TokenStore:
    from twitchvault.stores.sqlite import SQLiteStore  # noqa: PLC0415

    if not rest.startswith("/") or len(rest) == 1:
        msg = "a 'sqlite' URL has three slashes and a path, 'sqlite:///relative.db' or "
        msg += "'sqlite:///C:/path.db', or four, 'sqlite:////absolute.db'"
        raise ValueError(msg)
    if "?" in rest or "#" in rest:
        msg = "a 'sqlite' URL takes no '?' options and no '#' part: give options to "
        msg += "SQLiteStore(path), and write '%3F' or '%23' if the file's name holds such a sign"
        raise ValueError(msg)
    return SQLiteStore(unquote(rest[1:]))


def _redis(url: str, _: str) -> TokenStore:
    from twitchvault.stores.redis import RedisStore  # noqa: PLC0415

    return RedisStore(url)


class Scheme(NamedTuple):
    """The URLs of one scheme: examples, and what makes a store of the URL and its rest."""

    examples: tuple[str, ...]
    make: Callable[[str, str], TokenStore]


SCHEMES: Final[Mapping[str, Scheme]] = MappingProxyType(
    {
        "memory": Scheme(("memory://",), _memory),
        "sqlite": Scheme(
            ("sqlite:///relative.db", "sqlite:////absolute.db", "sqlite:///C:/path.db"), _sqlite
        ),
        "redis": Scheme(("redis://...",), _redis),
        "rediss": Scheme(("rediss://...",), _redis),
        "unix": Scheme(("unix://...",), _redis),
    }
)
"""The URLs that need no other package's registration."""


def _registered(name: str, url: str) -> TokenStore:
    points = {_package(point): point for point in entry_points(group=ENTRY_POINT_GROUP, name=name)}
    if not points:
        raise ValueError(f"'{name}://...' names no store known here: {_expected()}")
    if len(points) > 1:
        msg = f"'{name}://...' is registered by several packages, {', '.join(sorted(points))}: "
        raise ValueError(msg + "uninstall all but one")
    ((package, point),) = points.items()
    try:
        make = point.load()
    except Exception as error:
        kind = MissingDriver if isinstance(error, ImportError) else StoreError
        raise kind(f"{package}, which makes '{name}://...', cannot be imported: {error}") from None
    try:
        store = make(url)
    except TwitchVaultError:
        raise
    except Exception as error:  # its text might hold a password
        msg = f"{package} failed to make a store of '{name}://...': {type(error).__name__}"
        raise StoreError(msg) from None
    if not isinstance(store, TokenStore):
        msg = f"{package} made a {type(store).__name__} of '{name}://...', which is no TokenStore"
        raise TypeError(msg)
    return store


def _package(point: EntryPoint) -> str:
    return f"the package {point.dist.name!r}" if point.dist else f"the module {point.module!r}"


def _expected() -> str:
    examples = [example for scheme in SCHEMES.values() for example in scheme.examples]
    registered = {point.name for point in entry_points(group=ENTRY_POINT_GROUP)} - SCHEMES.keys()
    forms = ", ".join(map(repr, [*examples, *(f"{name}://..." for name in sorted(registered))]))
    return f"expected one of {forms}; for any other store, pass the store object itself"
