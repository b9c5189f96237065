"""The options that commands share, and what they stand for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from twitchvault.cli.console import ask, fail

__all__ = [
    "ApiUrl",
    "ClientId",
    "IdUrl",
    "KeyFile",
    "Secret",
    "Store",
    "client_secret",
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
        "--client-id",
        envvar="TWITCHVAULT_CLIENT_ID",
        metavar="ID",
        help="From Twitch's developer console.",
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


def client_secret(asked: bool) -> str | None:
    """The client secret; None for a public client."""
    if asked:
        return ask("Client secret")
    return os.environ.get(SECRET_VARIABLE) or None
