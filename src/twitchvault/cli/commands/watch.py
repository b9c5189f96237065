"""`twitchvault watch`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from twitchvault import inputs
from twitchvault.cli.console import (
    at_terminal,
    end_without_reader,
    out,
    printable,
    rfc3339,
    say_json,
    say_row,
)
from twitchvault.cli.options import StoreOptions  # noqa: TC001 - typer reads it
from twitchvault.cli.store import opened_store
from twitchvault.cli.users import COLOURS, table_of
from twitchvault.cli.watching import Event, Picture, following

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_COLOURS: Final = {
    **COLOURS,
    "refreshed": "cyan",
    "refresh_failed": "yellow",
    "scopes_lost": "yellow",
    "removed": "red",
}
_ROOM: Final = 5
"""Lines of a terminal that are no user's and no event's."""


async def command(
    options: StoreOptions,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object on each line.")] = False,
) -> None:
    """Show what happens to the tokens, until Ctrl-C.

    Whichever process does it; the users come first.
    """
    prefix = f"{inputs.client_id(options.client_id)}:" if options.client_id else ""
    picture = Picture()
    async with opened_store(options) as store, following(store, prefix, picture) as wait:
        if at_terminal() and not json:
            await _show_live(picture, wait)
        else:
            end_without_reader()
            await _print_all(picture, wait, _print_json if json else _print_row)


async def _print_all(
    picture: Picture, wait: Callable[[], Awaitable[list[Event]]], show: Callable[[Event], None]
) -> None:
    """A line for each user as it is now, then one for each event."""
    for user in picture.users.values():
        show(Event(None, "", user, user.reason))
    while True:
        for event in await wait():
            show(event)


def _print_row(event: Event) -> None:
    user = event.user
    what = event.kind or user.state
    say_row(rfc3339(event.at) or "", what, user.name, user.user_id, user.client_id, event.reason)


def _print_json(event: Event) -> None:
    what = {"at": rfc3339(event.at), "kind": event.kind or None, "reason": event.reason or None}
    say_json({**what, "user": event.user.as_dict()}, indent=None)


async def _show_live(picture: Picture, wait: Callable[[], Awaitable[list[Event]]]) -> None:
    """Draw it at each event, and each second, because ages grow."""
    with Live(get_renderable=lambda: _draw(picture), console=out, refresh_per_second=1) as live:
        while True:
            await wait()
            live.refresh()


def _draw(picture: Picture) -> Group:
    """What is known just now; also called by the thread that draws each second."""
    everybody, events = list(picture.users.values()), list(picture.events)
    everybody.sort(key=lambda user: (user.client_id, user.name))
    room = max(out.size.height - len(events) - _ROOM, 1)
    users = table_of(everybody[:room], "EXPIRES", lambda user: Text(_clock(user.expires_at)))
    hidden = len(everybody) - room
    more = [Text(f"... and {hidden} more", "dim")] if hidden > 0 else []
    return Group(users, *more, Text(), *map(_line, events))


def _line(event: Event) -> Text:
    line = Text(f"{_clock(event.at)}  ", no_wrap=True, overflow="ellipsis")
    line.append(f"{event.kind:15}", _COLOURS.get(event.kind, ""))
    line.append(printable(event.user.name))
    if event.reason:
        line.append(f"  {printable(event.reason)}", "dim")
    line.truncate(out.width - 1)  # a full line is two to some terminals
    return line


def _clock(moment: float | None) -> str:
    """The time of day, here."""
    if moment is None:
        return "-"
    return datetime.fromtimestamp(moment).astimezone().strftime("%H:%M:%S")
