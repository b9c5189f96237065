"""`twitchvault watch`: the users in a store and what happens to them, in whatever process."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

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
from twitchvault.cli.users import COLOURS, StoredUser, stored_user, table_of
from twitchvault.stores.base import Change, Entry, Feed, Watchable
from twitchvault.vault.events import changes_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from twitchvault.stores import TokenStore

EVENTS: Final = 12
SCAN_EVERY: Final = 1.0
"""Seconds between two looks at a store that cannot be watched."""

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

    The users come first, then each event, whichever process it comes from.
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
    say_row(rfc3339(event.at), what, user.name, user.user_id, user.client_id, event.reason)


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
    users = table_of(everybody[:room], "EXPIRES", lambda user: _clock(user.expires_at))
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


class Event(NamedTuple):
    """What happened to a user, as in `VaultEvent`, and when it was seen.

    For a user as it was at first there is neither.
    """

    at: float | None
    kind: str
    user: StoredUser
    reason: str = ""


class Picture:
    """Every user as last seen, and the last events."""

    def __init__(self) -> None:
        self.users: dict[str, StoredUser] = {}
        self.events: deque[Event] = deque(maxlen=EVENTS)
        self._versions: dict[str, int] = {}

    def apply(self, changes: Iterable[Change | Entry], *, quiet: bool = False) -> list[Event]:
        """Take changes in; the events that they are. `quiet`: it was so before."""
        events: list[Event] = []
        for change in changes:
            if change.version > self._versions.get(change.key, 0):
                self._versions[change.key] = change.version
                events += self._learn(change)
        if quiet:
            return []
        self.events += events
        return events

    def compare(self, entries: Iterable[Entry], *, lost: bool = False) -> list[Event]:
        """Take in all that a store holds now; the events that lie in between.

        `lost`: the store has lost data, and its versions may begin anew.
        """
        found = {entry.key: entry for entry in entries}
        missing = self.users.keys() - found.keys()
        gone = self.apply([Change(key, self._versions[key] + 1, None) for key in missing])
        if lost:
            gone = [event._replace(reason="the store has lost it") for event in gone]
            self._versions.clear()
        return gone + self.apply(found.values())

    def _learn(self, change: Change | Entry) -> list[Event]:
        key, version, value = change
        known = self.users.pop(key, None)
        before = known and known.record
        user = None if value is None else stored_user(Entry(key, version, value))
        if user is not None and user.state == "damaged":
            self.users[key] = user._replace(record=before)  # what comes next is compared with it
            return [Event(time.time(), "damaged", user, user.reason)]
        if user is not None:
            self.users[key] = user
        subject = user or (known and known._replace(state="removed", reason=""))
        if subject is None:
            return []
        found = changes_of(before, user and user.record, is_app=False)
        return [Event(time.time(), kind, subject, reason) for kind, reason in found]


async def _changes(feed: Feed, lost: asyncio.Event) -> list[Change] | None:
    """The next changes; None if the store has lost data first."""
    changed, loss = asyncio.ensure_future(feed.wait()), asyncio.ensure_future(lost.wait())
    try:
        await asyncio.wait((changed, loss), return_when=asyncio.FIRST_COMPLETED)
    finally:
        changed.cancel()
        loss.cancel()
        await asyncio.wait((changed, loss))
    if not changed.cancelled():
        return changed.result()
    lost.clear()
    return None


@asynccontextmanager
async def following(
    store: TokenStore, prefix: str, picture: Picture
) -> AsyncIterator[Callable[[], Awaitable[list[Event]]]]:
    """Fill the picture; what it yields waits for the next events, which may be none."""

    async def entries() -> list[Entry]:
        return [entry async for entry in store.scan(prefix)]

    if isinstance(store, Watchable):
        async with store.watch(prefix) as feed:
            picture.apply(await entries(), quiet=True)
            lost = asyncio.Event()
            if on_loss := getattr(feed, "on_loss", None):
                on_loss(lost.set)

            async def wait() -> list[Event]:
                changes = await _changes(feed, lost)
                if changes is not None:
                    return picture.apply(changes)
                return picture.compare(await entries(), lost=True)

            yield wait
    else:
        picture.apply(await entries(), quiet=True)

        async def scan() -> list[Event]:
            await asyncio.sleep(SCAN_EVERY)
            return picture.compare(await entries())

        yield scan
