"""The options that commands share, and the variables that stand for them."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from twitchvault.app import API_URL, ID_URL
from twitchvault.cli.console import ask, fail, run, take_from
from twitchvault.environment import key_file, keys, setting, variable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
OneUser = Annotated[str | None, typer.Argument(metavar="USER", help="An id or a login name.")]
EveryUser = Annotated[bool, typer.Option("--all", help="Every user in the store.")]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="sqlite:////path/tokens.db or redis://host; or TWITCHVAULT_STORE; "
        "else a file in your data folder.",
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="The store is encrypted: a file with its Fernet keys, one a line, the first "
        "encrypts; or TWITCHVAULT_KEYS_FILE, TWITCHVAULT_KEYS.",
    ),
]


@dataclass
class StoreOptions:
    """The store that a command works on, and the application whose users it looks at.

    None as a client id: those of every application. Made before an event loop runs.
    """

    client_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="From Twitch's developer console; or TWITCHVAULT_CLIENT_ID."
        ),
    ] = None
    store: StoreUrl = None
    key_file: KeyFile = None

    def __post_init__(self) -> None:
        self.client_id = _first(self.client_id, "CLIENT_ID")
        given, self.store = self.store, _first(self.store, "STORE")
        is_set = given is None and self.store is not None
        self.store_source = _source("STORE") if is_set else "--store"
        self.namespace = setting("NAMESPACE")
        self.keys = keys() if self.key_file is None else key_file(self.key_file)


@dataclass
class AppOptions(StoreOptions):
    """An application and its store: for commands that ask Twitch."""

    secret: Annotated[
        bool,
        typer.Option(
            "--secret",
            help="Ask for the client secret. Else it is TWITCHVAULT_CLIENT_SECRET, and without "
            "that there is none (a public client).",
        ),
    ] = False
    id_url: Annotated[
        str, typer.Option(metavar="URL", help="The identity service; or TWITCHVAULT_ID_URL.")
    ] = cast("str", None)
    api_url: Annotated[
        str, typer.Option(metavar="URL", help="The Helix API; or TWITCHVAULT_API_URL.")
    ] = cast("str", None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.client_id is None:
            fail("name the application: --client-id, or TWITCHVAULT_CLIENT_ID")
        self.required_client_id = self.client_id
        self.client_secret = ask("Client secret") if self.secret else setting("CLIENT_SECRET")
        self.id_url = _first(self.id_url, "ID_URL") or ID_URL
        self.api_url = _first(self.api_url, "API_URL") or API_URL


def _first(option: str | None, name: str) -> str | None:
    """The option, else what the environment says, which errors then name."""
    called = f"--{name.lower().replace('_', '-')}"
    if option == "":
        fail(f"{called} is empty: give it a value, or leave it out")
    if option is not None:
        return option
    value = setting(name)
    if value is not None:
        take_from(called, _source(name))
    return value


def _source(name: str) -> str:
    """Where the environment holds a setting."""
    if variable(name) in os.environ:
        return variable(name)
    return f"the content of {variable(f'{name}_FILE')}"


def as_command(function: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """What typer runs: in place of the parameter `options` it has an option for each field of it.

    The function is a coroutine function; what it raises becomes one line and an exit code.
    """
    parameters = dict(inspect.signature(function, eval_str=True).parameters)
    made = parameters.pop("options").annotation if "options" in parameters else None
    shared = inspect.signature(made, eval_str=True).parameters if made else {}

    @wraps(function)
    def called(**values: Any) -> None:  # noqa: ANN401
        def begin() -> Coroutine[Any, Any, None]:
            if made:
                values["options"] = made(**{name: values.pop(name) for name in shared})
            return function(**values)

        run(begin)

    every = {**parameters, **shared}
    called.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in every.values()]
    )
    called.__annotations__ = {name: parameter.annotation for name, parameter in every.items()}
    return called
