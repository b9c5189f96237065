"""The store that a command works on: opened, never made by accident, and named."""

from __future__ import annotations

import os
import stat
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import unquote

from twitchvault.app import App
from twitchvault.cli.console import fail, in_our_words, warn
from twitchvault.environment import default_store, encrypted, make_store, variable
from twitchvault.errors import DecryptionError, StoreError, WrongValue
from twitchvault.stores.base import ENCRYPTION_CHECK_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twitchvault.cli.options import AppOptions, StoreOptions
    from twitchvault.stores import TokenStore

Flow = TypeVar("Flow", bound=App)

OTHERS: Final = 0o077
_NO_KEYS: Final = "is encrypted: name the file with its keys by --key-file, or set TWITCHVAULT_KEYS"
_PLAIN: Final = "is not encrypted: run 'twitchvault encrypt' first, or leave the keys out"


@asynccontextmanager
async def opened_app(
    options: AppOptions, store: TokenStore, kind: type[Flow]
) -> AsyncIterator[Flow]:
    """An authorized app or flow of that kind on an open store; it does no upkeep."""
    async with kind(
        options.required_client_id,
        options.client_secret,
        store=store,
        maintain=False,
        id_url=options.id_url,
        api_url=options.api_url,
        trust_env=True,
    ) as app:
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
    inner = _store(options, make)
    store = inner if raw or options.keys is None else encrypted(inner, options.keys)
    if not make and not store_is_there(options):
        fail(f"there is no store in {store_name(options)!r}: name another one, or sign in first")
    try:
        await inner.open()
        if not raw and not await _unlock(inner, store, options, make, plain):
            store = inner
        if options.keys is not None:
            _warn_if_readable(options.keys.path)
        if title:
            namespace = f", namespace {options.namespace!r}" if options.namespace else ""
            warn(f"{title}: {store_name(options)}{namespace}")
        yield store
    finally:
        await inner.close()


async def _unlock(
    inner: TokenStore, store: TokenStore, options: StoreOptions, make: bool, plain: bool
) -> bool:
    """Open `store`, which encrypts `inner` if there are keys; raise if that is not right.

    False if it is to be used without encryption.
    """
    name, keys = repr(store_name(options)), options.keys
    is_encrypted = await inner.get(ENCRYPTION_CHECK_KEY) is not None
    if keys is None:
        if is_encrypted:
            raise StoreError(f"{name} {_NO_KEYS}")
        return False
    if is_encrypted:
        await _open_encrypted(store, name, keys.source)
        return True
    if make:
        with suppress(DecryptionError):  # there are entries in plaintext
            await store.open()
            return True
    if not plain:
        raise StoreError(f"{name} {_PLAIN}")
    return False


async def _open_encrypted(store: TokenStore, name: str, source: str) -> None:
    try:
        await store.open()
    except DecryptionError as error:
        if not str(error).startswith("none of the keys"):
            raise
        msg = f"none of the keys in {source} decrypts {name}: name other keys"
        raise DecryptionError(msg) from None


def _store(options: StoreOptions, make: bool) -> TokenStore:
    url = options.store or default_store(make=make)
    if url.lower().startswith("memory:"):
        text = "a store in memory ends with the command: name one that stays"
        fail(_with_source(text, options))
    return make_inner(options, url)


def make_inner(options: StoreOptions, url: str) -> TokenStore:
    """The store of that URL as it lies there, not open; an error says which variable holds it."""
    try:
        return make_store(url, namespace=options.namespace)
    except WrongValue as error:
        raise WrongValue(_with_source(in_our_words(str(error)), options)) from None


def _with_source(text: str, options: StoreOptions) -> str:
    """The fault of a URL, with the variable that holds it, which nobody sees in the command."""
    source = options.store_source
    is_named = source == "--store" or text.startswith((source, variable("NAMESPACE")))
    return text if is_named else f"{source}: {text}"


def _warn_if_readable(file: Path | None) -> None:
    if file is None or os.name != "posix":
        return
    with suppress(OSError):  # it was there when it was read
        mode = file.stat().st_mode
        if stat.S_ISREG(mode) and mode & OTHERS:
            warn(
                f"{str(file)!r} holds keys that other users of this machine can read (it has mode "
                f"{stat.S_IMODE(mode):o}): 'chmod 600' it"
            )


def store_url(options: StoreOptions) -> str:
    """The URL of the store, which may hold a password."""
    return options.store or default_store()


def store_file(options: StoreOptions) -> Path | None:
    """The file that the store is; None if it is no file."""
    scheme, _, rest = store_url(options).partition("://")
    return Path(unquote(rest[1:])).absolute() if scheme.lower() == "sqlite" else None


def store_is_there(options: StoreOptions) -> bool:
    """Whether opening the store would not make it; a server is always there."""
    file = store_file(options)
    if file is None:
        return True
    try:
        return file.stat().st_size > 0
    except (OSError, ValueError) as error:  # ValueError: what no file can be called
        return not isinstance(error, FileNotFoundError | NotADirectoryError)


def store_name(options: StoreOptions) -> str:
    """What a person calls the store: its file, or its URL without what may be a password."""
    file = store_file(options)
    if file is not None:
        return str(file)
    scheme, _, rest = store_url(options).partition("://")
    user, _, place = rest.rpartition("@")
    # Behind a '?' the '@' may belong to a password, whose end would be shown.
    return f"{scheme}://{'...' if '?' in user else place.partition('?')[0]}"
