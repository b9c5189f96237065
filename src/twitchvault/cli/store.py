"""The store that a command works on: opened, never made by accident, and named."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from twitchvault.app import App
from twitchvault.cli.checks.files import check_mode
from twitchvault.cli.console import fail, in_our_words, warn
from twitchvault.environment import default_store, encrypted, make_store, variable
from twitchvault.errors import DecryptionError, StoreError, WrongValue
from twitchvault.stores.base import ENCRYPTION_CHECK_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twitchvault.cli.options import AppOptions, StoreOptions
    from twitchvault.stores import TokenStore

_NO_KEYS: Final = "is encrypted: name the file with its keys by --key-file, or set TWITCHVAULT_KEYS"
_PLAIN: Final = "is not encrypted: run 'twitchvault encrypt' first, or leave the keys out"


def make_app(options: AppOptions, store: TokenStore) -> App:
    """An app on an open store; it does no upkeep."""
    return App(
        options.required_client_id,
        options.client_secret,
        store=store,
        maintain=False,
        id_url=options.id_url,
        api_url=options.api_url,
        trust_env=True,
    )


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
    if options.keys is not None and not raw:
        encrypted(inner, options.keys)  # a key that is none is said before anything is made
    if not make and not store_is_there(options):
        fail(f"there is no store in {store_name(options)!r}: name another one, or sign in first")
    try:
        await inner.open()
        store = inner if raw else await unlocked(inner, options, make=make, plain=plain)
        if options.keys is not None and options.keys.path is not None:
            check = check_mode("key file", options.keys.path)
            warn(f"twitchvault: {check.text}: {check.advice}") if check.advice else None
        if title:
            namespace = f", namespace {options.namespace!r}" if options.namespace else ""
            warn(f"{title}: {store_name(options)}{namespace}")
        yield store
    finally:
        await inner.close()


async def unlocked(
    inner: TokenStore, options: StoreOptions, *, make: bool = False, plain: bool = False
) -> TokenStore:
    """An open store as a program reads it; an error says at its end what to do about the keys."""
    name, keys = repr(store_name(options)), options.keys
    is_encrypted = await inner.get(ENCRYPTION_CHECK_KEY) is not None
    if keys is None:
        if is_encrypted:
            raise StoreError(f"{name} {_NO_KEYS}")
        return inner
    store = encrypted(inner, keys)
    try:
        if is_encrypted or make:
            await store.open()
            return store
    except DecryptionError as error:
        if is_encrypted and str(error).startswith("none of the keys"):
            msg = f"none of the keys in {keys.source} decrypts {name}: name other keys"
            raise DecryptionError(msg) from None
        if is_encrypted:
            raise
    if not plain:  # there are entries in plaintext, or may be
        raise StoreError(f"{name} {_PLAIN}")
    return inner


def _store(options: StoreOptions, make: bool) -> TokenStore:
    url = options.store or default_store(make=make)
    if url.lower().startswith("memory:"):
        text = "a store in memory ends with the command: name one that stays"
        fail(_with_source(text, options))
    return make_inner(options, url)


def make_inner(options: StoreOptions, url: str) -> TokenStore:
    """The store of that URL as it lies there, not open; an error says where the URL stands."""
    try:
        return make_store(url, namespace=options.namespace)
    except WrongValue as error:
        raise WrongValue(_with_source(in_our_words(str(error)), options)) from None


def _with_source(text: str, options: StoreOptions) -> str:
    """The fault of a URL, with the variable or the argument that holds it."""
    source = options.store_source
    text = text.replace("--store", source, 1)
    is_named = source == "--store" or text.startswith((source, variable("NAMESPACE")))
    return text if is_named else f"{source}: {text}"


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
