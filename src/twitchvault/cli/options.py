"""The options that commands share, and what they stand for."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import quote

import platformdirs
import typer

from twitchvault.cli.console import fail
from twitchvault.errors import DecryptionError, StoreError
from twitchvault.stores import FernetStore, open_store
from twitchvault.stores.base import check_not_encrypted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twitchvault.stores import TokenStore

__all__ = [
    "ApiUrl",
    "ClientId",
    "IdUrl",
    "KeyFile",
    "Secret",
    "Store",
    "client_secret",
    "opened_store",
    "required_client_id",
]

SECRET_VARIABLE: Final = "TWITCHVAULT_CLIENT_SECRET"  # noqa: S105 - a name

Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="TWITCHVAULT_STORE",
        metavar="URL",
        help="sqlite:////path/tokens.db or redis://host; a file in your data folder if left out.",
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        envvar="TWITCHVAULT_KEY_FILE",
        metavar="PATH",
        help="The store is encrypted: a file with its Fernet keys, one a line, the first encrypts.",
    ),
]
ClientId = Annotated[
    str | None,
    typer.Option(
        "--client-id", envvar="TWITCHVAULT_CLIENT_ID", help="From Twitch's developer console."
    ),
]
Secret = Annotated[
    bool,
    typer.Option(
        "--secret",
        help=f"Ask for the client secret. Else it is taken from {SECRET_VARIABLE}, "
        "and without that there is none (a public client).",
    ),
]
IdUrl = Annotated[str, typer.Option("--id-url", metavar="URL", help="The identity service.")]
ApiUrl = Annotated[str, typer.Option("--api-url", metavar="URL", help="The Helix API.")]


def required_client_id(client_id: str | None) -> str:
    """The client id, which the command cannot do without."""
    if not client_id:
        fail("name the application: --client-id, or TWITCHVAULT_CLIENT_ID")
    return client_id


def client_secret(ask: bool) -> str | None:
    """The client secret; None for a public client."""
    if ask:
        answer: str = typer.prompt("Client secret", hide_input=True)
        return answer
    return os.environ.get(SECRET_VARIABLE) or None


@asynccontextmanager
async def opened_store(url: str | None, key_file: Path | None) -> AsyncIterator[TokenStore]:
    """The store that the options name, open for the length of the block."""
    store = open_store(url or _default_url())
    if key_file is not None:
        store = FernetStore(store, _keys(key_file))
    try:
        await store.open()
        await _check_keys_given(store)
        yield store
    finally:
        await store.close()


async def _check_keys_given(store: TokenStore) -> None:
    try:
        await check_not_encrypted(store)
    except DecryptionError:
        msg = "this store is encrypted: name the file with its keys, --key-file"
        raise StoreError(msg) from None


def _keys(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().split()
    except OSError as error:
        msg = f"the key file {str(file)!r} cannot be read: {error.strerror}"
        raise StoreError(msg) from None


def _default_url() -> str:
    folder = Path(platformdirs.user_data_dir("twitchvault"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"sqlite:///{quote(str(folder / 'tokens.db'))}"
