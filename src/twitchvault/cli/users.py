"""The users in a store: read from the store alone, Twitch is not asked."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from rich.table import Table
from rich.text import Text

from twitchvault import inputs
from twitchvault.cli.console import out, warn
from twitchvault.errors import StoreError
from twitchvault.vault.record import decode

if TYPE_CHECKING:
    from twitchvault.stores import Entry, TokenStore

__all__ = ["StoredUser", "read_users", "show_users"]

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
    """The users of one application, or of all, in an open store; by application and name."""
    prefix = f"{inputs.client_id(client_id)}:" if client_id else ""
    users = [user async for entry in store.scan(prefix) if (user := _user(entry))]
    return sorted(users, key=lambda user: (user.client_id, user.name, user.user_id))


def _user(entry: Entry) -> StoredUser | None:
    """The user whose entry it is; None for an app token's, a seed's and a removed user's."""
    client_id, _, user_id = entry.key.partition(":")
    if user_id in {"", client_id}:
        return None
    try:
        record = decode(entry.value, user_id)
    except StoreError as error:
        return StoredUser(client_id, user_id, "damaged", str(error))
    if record.state == "removed":
        return None
    return StoredUser(
        client_id,
        user_id,
        record.state.replace("_", " "),
        record.reason,
        record.login,
        record.scopes or (),
        record.last_validated,
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
