"""The store that a command works on: opened, never made by accident, and named."""

from __future__ import annotations

import os
import stat
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote, unquote

import aiohttp
import platformdirs

from twitchvault.app import App
from twitchvault.cli.console import fail, in_our_words, warn
from twitchvault.errors import DecryptionError, StoreError, WrongValue
from twitchvault.stores import FernetStore, open_store
from twitchvault.stores.base import ENCRYPTION_CHECK_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twitchvault.cli.options import AppOptions, StoreOptions
    from twitchvault.stores import TokenStore

__all__ = ["opened_app", "opened_store", "store_name"]

Flow = TypeVar("Flow", bound=App)

OTHERS: Final = 0o077
_PLAIN: Final = "this store is not encrypted: leave --key-file out"


@asynccontextmanager
async def opened_app(
    options: AppOptions, store: TokenStore, kind: type[Flow]
) -> AsyncIterator[Flow]:
    """An authorized app or flow of that kind on an open store; it does no upkeep."""
    async with (
        # A session of its own, because it has to go through the proxy that the environment names.
        aiohttp.ClientSession(
            trust_env=True,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "twitchvault"},
        ) as session,
        kind(
            options.required_client_id,
            options.client_secret,
            store=store,
            maintain=False,
            id_url=options.id_url,
            api_url=options.api_url,
            session=session,
        ) as app,
    ):
        yield app


@asynccontextmanager
async def opened_store(options: StoreOptions, *, make: bool = False) -> AsyncIterator[TokenStore]:
    """The store that the options name, open for the length of the block; its name is printed.

    `make`: one that is not there is made, and one that is empty becomes encrypted.
    """
    url, key_file = options.store or _default_url(make), options.key_file
    store = inner = _store(url)
    if key_file is not None:
        store = _encrypted(inner, key_file)
    if not make:
        _check_there(url)
    try:
        await inner.open()
        await _unlock(inner, store, key_file, make)
        warn(f"Store: {store_name(options)}")
        yield store
    finally:
        await store.close()


async def _unlock(inner: TokenStore, store: TokenStore, key_file: Path | None, make: bool) -> None:
    """Open `store`, which encrypts `inner` if there is a key file; end if that is not right."""
    is_encrypted = await inner.get(ENCRYPTION_CHECK_KEY) is not None
    if key_file is None:
        if is_encrypted:
            fail("this store is encrypted: name the file with its keys, --key-file")
        return
    if not is_encrypted and not make:
        fail(_PLAIN)
    try:
        await store.open()
    except DecryptionError as error:
        text = str(error)
        if text.startswith("none of the keys"):
            text = f"none of the keys in {str(key_file)!r} decrypts this store: name another file"
        fail(_PLAIN if not is_encrypted else text)
    _warn_if_readable(key_file)


def _store(url: str) -> TokenStore:
    if url.lower().startswith("memory:"):
        fail("a store in memory ends with the command: name another one, --store")
    return open_store(url)


def _encrypted(inner: TokenStore, key_file: Path) -> TokenStore:
    keys = _keys(key_file)
    try:
        return FernetStore(inner, keys)
    except WrongValue as error:
        text = in_our_words(str(error))
    raise StoreError(f"the key file {str(key_file)!r}: {text}")


def _keys(file: Path) -> list[bytes]:
    try:
        keys = file.read_bytes().split()
    except OSError as error:
        fail(f"the key file {str(file)!r} cannot be read: {error.strerror}")
    if not keys:
        fail(f"the key file {str(file)!r} is empty: it holds Fernet keys, one a line")
    return keys


def _warn_if_readable(file: Path) -> None:
    try:
        mode = file.stat().st_mode
    except OSError:
        return  # it was there when it was read
    if os.name == "posix" and stat.S_ISREG(mode) and mode & OTHERS:
        warn(
            f"{str(file)!r} holds keys that other users of this machine can read (it has mode "
            f"{stat.S_IMODE(mode):o}): 'chmod 600' it"
        )


def _default_url(make: bool) -> str:
    folder = Path(platformdirs.user_data_dir("twitchvault"))
    if make:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"sqlite:///{quote(str(folder / 'tokens.db'))}"


def _file(url: str) -> Path | None:
    scheme, _, rest = url.partition("://")
    return Path(unquote(rest[1:])).absolute() if scheme.lower() == "sqlite" else None


def _check_there(url: str) -> None:
    """End the command if the store is a file that is not there: opening would make it."""
    file = _file(url)
    if file is None:
        return
    try:
        is_there = file.stat().st_size > 0
    except OSError as error:
        is_there = not isinstance(error, FileNotFoundError | NotADirectoryError)
    if not is_there:
        fail(f"there is no store in {str(file)!r}: name another one, --store, or sign in first")


def store_name(options: StoreOptions) -> str:
    """What a person calls the store: its file, or its URL without what may be a password."""
    url = options.store or _default_url(make=False)
    file = _file(url)
    if file is not None:
        return str(file)
    scheme, _, rest = url.partition("://")
    user, _, place = rest.rpartition("@")
    # Behind a '?' the '@' may belong to a password, whose end would be shown.
    return f"{scheme}://{'...' if '?' in user else place.partition('?')[0]}"
