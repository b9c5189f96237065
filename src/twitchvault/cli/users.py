"""The users in a store, read from the store alone, and work on each of them."""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.table import Table
from rich.text import Text

from twitchvault import inputs
from twitchvault.cli.console import (
    age,
    at_terminal,
    fail,
    in_our_words,
    least_width,
    out,
    printable,
    progress,
    rfc3339,
    say,
    say_json,
    say_row,
    warn,
)
from twitchvault.cli.results import Result
from twitchvault.cli.store import store_name
from twitchvault.cli.transfer import holder_of
from twitchvault.errors import StoreError, TwitchVaultError
from twitchvault.vault.record import decode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twitchvault.cli.options import StoreOptions
    from twitchvault.cli.results import Outcome
    from twitchvault.stores import Entry, TokenStore
    from twitchvault.vault.record import Record

COLOURS: Final = {"live": "green", "needs_login": "yellow", "damaged": "red"}
_NOBODY: Final = "Nobody is in the store."
_AT_ONCE: Final = 5
"""Requests on their way at the same time: Twitch answers some hundred at once with 429."""


class StoredUser(NamedTuple):
    """One user of one application; `reason` says why the state is not "live"."""

    client_id: str
    user_id: str
    state: str
    reason: str = ""
    login: str | None = None
    scopes: tuple[str, ...] = ()
    last_validated: float | None = None
    expires_at: float | None = None
    record: Record | None = None

    @property
    def name(self) -> str:
        """The login name, or the id where it is not known."""
        return self.login or self.user_id

    def as_dict(self) -> dict[str, Any]:
        """The user in the JSON documents."""
        return {
            "client_id": self.client_id,
            "user_id": self.user_id,
            "login": self.login,
            "state": self.state,
            "reason": self.reason or None,
            "scopes": list(self.scopes),
            "last_validated": rfc3339(self.last_validated),
            "expires_at": rfc3339(self.expires_at),
        }

    def became(self, outcome: Outcome, reason: str = "") -> Result:
        """What became of the user."""
        return Result(self.client_id, self.user_id, self.login, outcome, reason)


async def read_users(store: TokenStore, client_id: str | None = None) -> list[StoredUser]:
    """The users of one application, or of all, in an open store; by application and name."""
    prefix = f"{inputs.client_id(client_id)}:" if client_id else ""
    users = [user async for entry in store.scan(prefix) if (user := stored_user(entry))]
    return sorted(users, key=lambda user: (user.client_id, user.name, user.user_id))


def stored_user(entry: Entry) -> StoredUser | None:
    """The user whose entry it is; None for an app token's, a seed's and a removed user's."""
    holder = holder_of(entry.key)
    if holder is None or holder.user_id is None or holder.is_app:
        return None
    client_id, user_id = holder.client_id, holder.user_id
    try:
        record = decode(entry.value, user_id)
    except StoreError as error:
        return StoredUser(client_id, user_id, "damaged", in_our_words(str(error)))
    if record.state == "removed":
        return None
    validated, lifetime = record.last_validated, record.expires_in
    return StoredUser(
        client_id,
        user_id,
        record.state,
        record.reason,
        record.login,
        record.scopes or (),
        validated,
        validated + lifetime if validated and lifetime else None,
        record,
    )


def one_user(name: str, users: list[StoredUser]) -> StoredUser:
    """The user with that id or login name; ends the command if there is none, or several."""
    found = [user for user in users if name == user.user_id]
    found = found or [user for user in users if name.lower() == user.login]
    if not found:
        fail(f"no user {name!r} in the store; 'twitchvault list' shows who is there")
    if len(found) > 1:
        clients = ", ".join(user.client_id for user in found)
        fail(f"{name!r} has tokens of several applications: add --client-id ({clients})")
    return found[0]


def chosen_users(name: str | None, every: bool, users: list[StoredUser]) -> list[StoredUser]:
    """One user, or with --all every user; ends the command unless it is one of the two."""
    if (name is None) != every:
        fail("name one user, or use --all")
    if every and not users:
        warn(_NOBODY)
    return users if name is None else [one_user(name, users)]


async def for_each(
    text: str, users: list[StoredUser], work: Callable[[StoredUser], Awaitable[object]]
) -> dict[str, TwitchVaultError]:
    """Do `work` for each user, with a progress bar; user id → the error of those that failed."""
    errors: dict[str, TwitchVaultError] = {}
    waiting = iter(users)

    async def worker() -> None:
        for user in waiting:
            try:
                await work(user)
            except TwitchVaultError as error:
                errors[user.user_id] = error
            step()

    with progress(text, len(users)) as step:
        await asyncio.gather(*(worker() for _ in range(_AT_ONCE)))
    return errors


def show_users(users: list[StoredUser], options: StoreOptions, json: bool) -> None:
    """Print one JSON document, a table for each application or, into a pipe, a line for each."""
    if json:
        say_json({"store": store_name(options), "users": [user.as_dict() for user in users]})
        return
    if not users:
        warn(_NOBODY)
    if not at_terminal():
        for user in users:
            times = rfc3339(user.last_validated), rfc3339(user.expires_at)
            rest = user.client_id, " ".join(user.scopes), user.reason
            say_row(user.name, user.user_id, user.state, *times, *rest)
        return
    for client_id, group in groupby(users, key=lambda user: user.client_id):
        out.print(Text.assemble("Application ", (printable(client_id), "bold")), soft_wrap=True)
        table = table_of(list(group), "SCOPES", lambda user: " ".join(user.scopes) or "-")
        if (width := least_width(table)) > out.width:
            table.width = width  # so nothing is cut: the terminal breaks the lines as it likes
        out.print(table, crop=False)
    for user in users:
        if user.reason:
            say(f"{user.name}: {user.reason}")


def table_of(users: list[StoredUser], title: str, last: Callable[[StoredUser], str]) -> Table:
    """A line for each user, with a last column of that title."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("USER", "ID", "STATE", "VALIDATED"):
        table.add_column(name, no_wrap=True)
    table.add_column(title)
    for user in users:
        name, state = printable(user.name), Text(user.state, COLOURS[user.state])
        validated = age(user.last_validated)
        table.add_row(name, printable(user.user_id), state, validated, printable(last(user)))
    return table
