"""`twitchvault show`."""

from __future__ import annotations

from typing import Annotated

import typer

from twitchvault.cli.console import at_terminal, say, say_json
from twitchvault.cli.options import Json, StoreOptions  # noqa: TC001 - typer reads them
from twitchvault.cli.store import opened_store
from twitchvault.cli.times import age, rfc3339
from twitchvault.cli.users import StoredUser, one_user, read_users

__all__ = ["command"]


async def command(
    user: Annotated[str, typer.Argument(metavar="USER", help="An id or a login name.")],
    options: StoreOptions,
    json: Json = False,
) -> None:
    """Show what is known of a user, and what happened to the tokens; Twitch is not asked."""
    async with opened_store(options) as store:
        found = one_user(user, await read_users(store, options.client_id))
    if json:
        say_json(found.as_dict())
    else:
        _show(found)


def _show(user: StoredUser) -> None:
    lines = {
        "user": f"{user.name} ({user.user_id})",
        "application": user.client_id,
        "state": user.state,
        "reason": user.reason,
        "scopes": " ".join(user.scopes),
        "validated": _time(user.last_validated),
        "expires": _time(user.expires_at) if user.expires_at else "",
    }
    for name, text in lines.items():
        say(f"{name + ':':13}{text or '-'}")


def _time(moment: float | None) -> str:
    return age(moment) if at_terminal() else rfc3339(moment) or "-"
