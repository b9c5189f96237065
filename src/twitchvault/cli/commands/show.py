"""`twitchvault show`."""

from __future__ import annotations

from typing import Annotated

import typer

from twitchvault.cli.console import age, at_terminal, rfc3339, say, say_json
from twitchvault.cli.options import Json, StoreOptions  # noqa: TC001 - typer reads them
from twitchvault.cli.store import opened_store
from twitchvault.cli.users import StoredUser, one_user, read_users
from twitchvault.vault.history import HistoryEntry, entries_of


async def command(
    user: Annotated[str, typer.Argument(metavar="USER", help="An id or a login name.")],
    options: StoreOptions,
    json: Json = False,
) -> None:
    """Show what is known of a user; Twitch is not asked.

    The history says what happened to the tokens, and by which process.
    """
    async with opened_store(options) as store:
        found = one_user(user, await read_users(store, options.client_id))
    history = entries_of(found.record)
    if json:
        say_json({**found.as_dict(), "history": list(map(_as_dict, history))})
    else:
        _show(found, history)


def _as_dict(entry: HistoryEntry) -> dict[str, object]:
    return {**entry._asdict(), "at": rfc3339(entry.at), "reason": entry.reason or None}


def _show(user: StoredUser, history: tuple[HistoryEntry, ...]) -> None:
    lines = [
        ("user", f"{user.name} ({user.user_id})"),
        ("application", user.client_id),
        ("state", user.state),
        ("reason", user.reason),
        ("scopes", " ".join(user.scopes)),
        ("validated", _time(user.last_validated)),
        ("expires", _time(user.expires_at) if user.expires_at else ""),
    ]
    for name, text in lines:
        say(f"{name + ':':13}{text or '-'}")
    between = "\n  " if at_terminal() else "  "
    for number, entry in enumerate(history):
        label = "" if number and at_terminal() else "history:"
        for line in between.join(_parts(entry)).splitlines():
            say(f"{label:13}{line}")
            label = ""


def _parts(entry: HistoryEntry) -> list[str]:
    """What happened, to which pair, and why; at a terminal each has a line."""
    what = f"{_time(entry.at)}  {entry.kind}  by {entry.host}/{entry.pid}"
    pair = f"pair {entry.before or '-'} -> {entry.after or '-'}"
    return [what, pair, entry.reason] if entry.reason else [what, pair]


def _time(moment: float | None) -> str:
    return age(moment) if at_terminal() else rfc3339(moment) or "-"
