"""The commands: `login`, `list`, `check` and `remove`.

Exit codes: 0, all is well; 1, somebody has to sign in; 2, it could not be done.
"""

from __future__ import annotations

import asyncio
import os
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn, TypeVar
from urllib.parse import quote

import platformdirs
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from twitchvault.app import API_URL, ID_URL, App
from twitchvault.cli.screen import show_login
from twitchvault.cli.users import StoredUser, opened, read_users
from twitchvault.errors import AuthFailure, TwitchVaultError, Unauthorized
from twitchvault.oauth import DeviceCodeFlow
from twitchvault.stores.fernet import FernetStore
from twitchvault.stores.url import open_store
from twitchvault.vault.record import encode
from twitchvault.vault.transitions import removed

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from twitchvault.helix import UserAPI
    from twitchvault.stores.base import TokenStore

__all__ = ["run"]

T = TypeVar("T")

SECRET_VARIABLE: Final = "TWITCHVAULT_CLIENT_SECRET"  # noqa: S105 - a name
SOMEBODY_NEEDS_LOGIN: Final = 1
FAILED: Final = 2
INTERRUPTED: Final = 130

commands = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

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


def run() -> None:
    """Carry out the command line."""
    commands(prog_name="twitchvault")


@commands.callback()
def _about() -> None:
    """Sign Twitch users in and look after their tokens; no token is ever shown."""


@commands.command()
def login(
    client_id: ClientId = None,
    secret: Secret = False,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="Repeat it for several.")
    ] = None,
    store: Store = None,
    key_file: KeyFile = None,
    id_url: IdUrl = ID_URL,
    api_url: ApiUrl = API_URL,
) -> None:
    """Sign a user in by device code and store the tokens."""
    known, hidden, place = _known(client_id), _secret(secret), _place(store, key_file)

    async def work() -> None:
        async with (
            opened(place),
            DeviceCodeFlow(
                known, hidden, store=place, maintain=False, id_url=id_url, api_url=api_url
            ) as flow,
        ):
            await _login(flow, scope or [])

    _do(work())


@commands.command("list")
def list_users(client_id: ClientId = None, store: Store = None, key_file: KeyFile = None) -> None:
    """Show who is in the store; Twitch is not asked."""
    _show(_do(_read(_place(store, key_file), client_id)))


@commands.command()
def check(
    client_id: ClientId = None,
    secret: Secret = False,
    store: Store = None,
    key_file: KeyFile = None,
    id_url: IdUrl = ID_URL,
    api_url: ApiUrl = API_URL,
) -> None:
    """Validate every user's token, renew it if need be, and say who has to sign in again."""
    known, hidden, place = _known(client_id), _secret(secret), _place(store, key_file)

    async def work() -> dict[str, TwitchVaultError]:
        users = [user for user in await _read(place, known) if user.record is not None]
        async with (
            opened(place),
            App(known, hidden, store=place, maintain=False, id_url=id_url, api_url=api_url) as app,
        ):
            return await _check(app, [user.user_id for user in users])

    troubles = _do(work())
    users = _do(_read(place, known))
    _show(users)
    for user_id, trouble in troubles.items():
        err.print(Text(f"User {user_id!r} could not be checked: {trouble}"))
    if troubles:
        raise typer.Exit(FAILED)
    lost = [user.name for user in users if user.needs_login]
    if lost:
        err.print(Text(f"Sign in again: {', '.join(lost)}"))
        raise typer.Exit(SOMEBODY_NEEDS_LOGIN)


@commands.command()
def remove(
    user: Annotated[str, typer.Argument(help="A user's id or login name.")],
    client_id: ClientId = None,
    store: Store = None,
    key_file: KeyFile = None,
) -> None:
    """Remove a user's tokens from the store; nothing is revoked at Twitch."""
    gone = _do(_remove(_place(store, key_file), client_id, user))
    out.print(Text(f"Removed {gone.name} ({gone.user_id}) of application {gone.client_id}."))
    out.print("The tokens still live at Twitch: the user can disconnect the application there.")


async def _login(flow: DeviceCodeFlow, scopes: list[str]) -> None:
    code = await flow.request_device_code(scopes)
    show_login(out, code)
    out.print(f"Waiting for you, {code.expires_in // 60} minutes at most ...")
    token = await flow.wait_for_device_token(
        code.device_code, interval=code.interval, timeout=code.expires_in
    )
    user = await flow.add_user(token.access_token, token.refresh_token)
    out.print(Text(f"Signed in: {user.login} ({user.user_id})."))
    missing = sorted(set(scopes) - set(user.scopes))
    if missing:
        err.print(Text(f"Not granted: {' '.join(missing)}"))


async def _read(place: TokenStore, client_id: str | None) -> list[StoredUser]:
    async with opened(place) as store:
        return await read_users(store, client_id)


async def _check(app: App, user_ids: list[str]) -> dict[str, TwitchVaultError]:
    """Validate everybody; who could not be checked, and why. The store learns the rest."""
    troubles: dict[str, TwitchVaultError] = {}
    for user_id in user_ids:
        try:
            await _validate(app.get_user_by_id(user_id))
        except TwitchVaultError as error:
            troubles[user_id] = error
    return troubles


async def _validate(user: UserAPI) -> None:
    try:
        await user.validate()
    except Unauthorized:
        try:
            await user.renew(user.token)
            await user.validate()
        except AuthFailure:
            return  # the record says so now


async def _remove(place: TokenStore, client_id: str | None, name: str) -> StoredUser:
    async with opened(place) as store:
        users = await read_users(store, client_id)
        found = [user for user in users if name in {user.user_id, user.name}]
        if not found:
            _fail(f"no user {name!r} in the store; 'twitchvault list' shows who is there")
        if len(found) > 1:
            clients = ", ".join(user.client_id for user in found)
            _fail(f"{name!r} has tokens of several applications: add --client-id ({clients})")
        await _take_out(store, found[0])
        return found[0]


async def _take_out(store: TokenStore, user: StoredUser) -> None:
    """As `remove_token` does: what was spent stays remembered."""
    after = None if user.record is None else removed(user.record)
    if after is None:
        await store.delete(user.key)
    else:
        await store.put(user.key, encode(after), expect=user.version)


def _show(users: list[StoredUser]) -> None:
    if not users:
        out.print("Nobody is in the store.")
    for client_id, group in groupby(users, key=lambda user: user.client_id):
        out.print(Text.assemble("Application ", (client_id, "bold")))
        out.print(_table(list(group)))
    for user in users:
        reason = user.problem or (user.record.reason if user.record else "")
        if reason:
            err.print(Text(f"{user.name}: {reason}"))


def _table(users: list[StoredUser]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("USER", "ID", "STATE", "VALIDATED", "SCOPES"):
        table.add_column(title, overflow="fold")
    for user in users:
        record = user.record
        table.add_row(
            Text(user.name),
            Text(user.user_id),
            _state(user),
            "-" if record is None else _time(record.last_validated),
            Text(" ".join((record and record.scopes) or ()) or "-"),
        )
    return table


def _state(user: StoredUser) -> Text:
    if user.record is None:
        return Text("damaged", "red")
    return Text("needs login", "yellow") if user.needs_login else Text("live", "green")


def _time(moment: float | None) -> str:
    if moment is None:
        return "never"
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M")


def _known(client_id: str | None) -> str:
    if not client_id:
        _fail("name the application: --client-id, or TWITCHVAULT_CLIENT_ID")
    return client_id


def _secret(ask: bool) -> str | None:
    if ask:
        answer: str = typer.prompt("Client secret", hide_input=True)
        return answer
    return os.environ.get(SECRET_VARIABLE) or None


def _place(store: str | None, key_file: Path | None) -> TokenStore:
    """The store that the options name, not open yet."""
    url = _url(store)
    try:
        return open_store(url) if key_file is None else FernetStore(url, _keys(key_file))
    except (TwitchVaultError, ValueError) as error:
        _fail(str(error))


def _keys(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().split()
    except OSError as error:
        _fail(f"the key file {str(file)!r} cannot be read: {error.strerror}")


def _url(store: str | None) -> str:
    if store:
        return store
    folder = Path(platformdirs.user_data_dir("twitchvault"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"sqlite:///{quote(str(folder / 'tokens.db'))}"


def _do(work: Coroutine[None, None, T]) -> T:
    """Run it; what goes wrong is one line on stderr and the exit code."""
    try:
        return asyncio.run(work)
    except (TwitchVaultError, ValueError, TimeoutError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        err.print("Stopped.")
        raise typer.Exit(INTERRUPTED) from None


def _fail(text: str) -> NoReturn:
    err.print(Text(f"twitchvault: {text}"))
    raise typer.Exit(FAILED)
