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

__all__ = ["opened_app", "opened_store", "store_is_there", "store_name"]

Flow = TypeVar("Flow", bound=App)

OTHERS: Final = 0o077
_PLAIN: Final = (
    "this store is not encrypted: encrypt it, 'twitchvault encrypt', or leave the keys out"
)


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
async def opened_store(
    options: StoreOptions,
    *,
    make: bool = False,
    plain: bool = False,
    raw: bool = False,
    title: str = "Store",
) -> AsyncIterator[TokenStore]:
    """The store that the options name, open for the length of the block.

    Its name is printed behind `title`, unless that is empty.

    `make`: one that is not there is made, and one that is empty becomes encrypted.
    `plain`: a store with entries in plaintext is opened without the keys, not refused.
    `raw`: the entries as they lie, encrypted or not.
    """
    url = options.store or _default_url(make)
    if not make and not store_is_there(options):
        fail(
            f"there is no store in {store_name(options)!r}: name another one, --store, or sign in "
            "first"
        )
    inner = _store(url)
    try:
        store = inner if raw or options.key_file is None else _encrypted(inner, options.key_file)
        await inner.open()
        if not raw and not await _unlock(inner, store, options.key_file, make, plain):
            store = inner
        if title:
            warn(f"{title}: {store_name(options)}")
        yield store
    finally:
        await inner.close()


async def _unlock(
    inner: TokenStore, store: TokenStore, key_file: Path | None, make: bool, plain: bool
) -> bool:
    """Open `store`, which encrypts `inner` if there is a key file; end if that is not right.

    False if it is to be used without encryption.
    """
    is_encrypted = await inner.get(ENCRYPTION_CHECK_KEY) is not None
    if key_file is None:
        if is_encrypted:
            fail("this store is encrypted: name the file with its keys, --key-file")
        return False
    if not is_encrypted and not make:
        return fail(_PLAIN) if not plain else False
    try:
        await store.open()
    except DecryptionError as error:
        if not is_encrypted:
            return fail(_PLAIN) if not plain else False
        text = str(error)
        if text.startswith("none of the keys"):
            text = f"none of the keys in {str(key_file)!r} decrypts this store: name another file"
        fail(text)
    _warn_if_readable(key_file)
    return True


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
    if not folder.is_absolute():
        fail("you have no home folder: name a store, --store or TWITCHVAULT_STORE")
    if make:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"sqlite:///{quote(str(folder / 'tokens.db'))}"


def _file(url: str) -> Path | None:
    scheme, _, rest = url.partition("://")
    return Path(unquote(rest[1:])).absolute() if scheme.lower() == "sqlite" else None


def store_is_there(options: StoreOptions) -> bool:
    """Whether opening the store would not make it; a server is always there."""
    file = _file(options.store or _default_url(make=False))
    if file is None:
        return True
    try:
        return file.stat().st_size > 0
    except (OSError, ValueError) as error:  # ValueError: what no file can be called
        return not isinstance(error, FileNotFoundError | NotADirectoryError)


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
