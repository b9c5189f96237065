"""From a URL to a store."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Final

from twitchvault.errors import (
    MissingDriver,
    StoreError,
    TwitchVaultError,
    WrongType,
    WrongValue,
    scrub_traceback,
)
from twitchvault.stores.base import TokenStore

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

__all__ = ["ENTRY_POINT_GROUP", "open_store"]

ENTRY_POINT_GROUP: Final = "twitchvault.stores"
"""An installed package registers a store here: the entry's name is the scheme, its object is called
with the whole URL and returns a `TokenStore` that is not open.
"""
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@scrub_traceback
def open_store(url: str) -> TokenStore:
    """The store of a URL, not opened yet: `await store.open()` does that.

    Raises `ValueError` for anything that is no URL of a store known here, without showing what may
    be a password, and `MissingDriver` if the package that a store needs is not installed.
    """
    if not isinstance(url, str):
        raise WrongType(f"'url' must be a str, not {type(url).__name__}")
    found = _SCHEME.match(url)
    if found is None:
        raise WrongValue(f"'url' has no scheme: {_expected()}")
    scheme = found[1].lower()
    for example, module in _examples().items():
        if scheme == example.partition("://")[0]:
            store: TokenStore = import_module(module).from_url(url)
            return store
    return _registered(scheme, url)


def _registered(scheme: str, url: str) -> TokenStore:
    points = {_package(p): p for p in _entry_points().select(name=scheme)}
    if not points:
        raise WrongValue(f"'{scheme}://...' names no store known here: {_expected()}")
    if len(points) > 1:
        msg = f"'{scheme}://...' is registered by several packages, {', '.join(sorted(points))}: "
        raise WrongValue(msg + "uninstall all but one")
    ((package, point),) = points.items()
    try:
        make = point.load()
    except Exception as error:
        kind = MissingDriver if isinstance(error, ImportError) else StoreError
        msg = f"{package}, which makes '{scheme}://...', cannot be imported: {error}"
        raise kind(msg) from None
    try:
        store = make(url)
    except TwitchVaultError:
        raise
    except Exception as error:  # its text might hold a password
        msg = f"{package} failed to make a store of '{scheme}://...': {type(error).__name__}"
        raise StoreError(msg) from None
    if not isinstance(store, TokenStore):
        msg = f"{package} made a {type(store).__name__} of '{scheme}://...', which is no TokenStore"
        raise WrongType(msg)
    return store


def _entry_points() -> EntryPoints:
    from importlib.metadata import entry_points  # noqa: PLC0415 - a fourth of our own import time

    return entry_points(group=ENTRY_POINT_GROUP)


def _package(point: EntryPoint) -> str:
    return f"the package {point.dist.name!r}" if point.dist else f"the module {point.module!r}"


def _examples() -> dict[str, str]:
    """URLs of the stores that come with the package, and the module of each."""
    from twitchvault.stores import BACKENDS  # noqa: PLC0415 - it imports this module

    return {url: backend.module for backend in BACKENDS.values() for url in backend.urls}


def _expected() -> str:
    urls = [*_examples()]
    ours = {url.partition("://")[0] for url in urls}
    registered = {point.name for point in _entry_points()} - ours
    forms = ", ".join(map(repr, [*urls, *(f"{name}://..." for name in sorted(registered))]))
    return f"expected one of {forms}; for any other store, pass the store object itself"
