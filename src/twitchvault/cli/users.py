"""The users in a store: read from the store alone, Twitch is not asked."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from rich.table import Table
from rich.text import Text

from twitchvault.app import App
from twitchvault.cli.console import out, warn

if TYPE_CHECKING:
    from twitchvault.stores import TokenStore

__all__ = ["StoredUser", "read_users", "show_users", "users_of"]

_COLOURS = {"live": "green", "needs login": "yellow", "damaged": "red"}


class StoredUser(NamedTuple):
    """One user of one application; `reason` says why the state is not "live"."""

    client_id: str
    user_id: str
    state: str
    reason: str = ""
    login: str | None = None
    scopes: tuple[str, ...] = ()
    last_validated: float | None = None

    @property
    def name(self) -> str:
        """The login name, or the id where it is not known."""
        return self.login or self.user_id


async def read_users(store: TokenStore, client_id: str | None = None) -> list[StoredUser]:
    """The users of one application, or of all, in an open store."""
    found: list[StoredUser] = []
    for name in [client_id] if client_id else await _client_ids(store):
        # A public client with nothing to maintain sends no request.
        async with App(name, store=store, maintain=False) as app:
            found += users_of(app)
    return found


async def _client_ids(store: TokenStore) -> list[str]:
    keys = [entry.key.partition(":") async for entry in store.scan()]
    return sorted({client_id for client_id, colon, _ in keys if colon})


def users_of(app: App) -> list[StoredUser]:
    """The users of an application, by name."""
    user_ids = {*app.tokens, *app.needs_login, *app.damaged} - {app.http.client_id}
    users = [_user(app, user_id) for user_id in user_ids]
    return sorted(users, key=lambda user: (user.name, user.user_id))


def _user(app: App, user_id: str) -> StoredUser:
    client_id = app.http.client_id
    if user_id in app.damaged:
        return StoredUser(client_id, user_id, "damaged", str(app.damaged[user_id]))
    reason = app.needs_login.get(user_id, "")
    return StoredUser(
        client_id,
        user_id,
        "needs login" if user_id in app.needs_login else "live",
        reason,
        app.get_user_by_id(user_id).login,
        app.users_scopes.get(user_id, ()),
        app.tokens_validity.get(user_id, (None,))[0],
    )


def show_users(users: list[StoredUser]) -> None:
    """Print a table for each application, and each reason on standard error."""
    if not users:
        out.print("Nobody is in the store.")
    for client_id, group in groupby(users, key=lambda user: user.client_id):
        out.print(Text.assemble("Application ", (client_id, "bold")))
        out.print(_table(list(group)))
    for user in users:
        if user.reason:
            warn(f"{user.name}: {user.reason}")


def _table(users: list[StoredUser]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("USER", "ID", "STATE", "VALIDATED", "SCOPES"):
        table.add_column(title, overflow="fold")
    for user in users:
        table.add_row(
            Text(user.name),
            Text(user.user_id),
            Text(user.state, _COLOURS[user.state]),
            _time(user.last_validated),
            Text(" ".join(user.scopes) or "-"),
        )
    return table


def _time(moment: float | None) -> str:
    if moment is None:
        return "never"
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M")
