"""The demo from its first line to its verdict."""

from __future__ import annotations

import asyncio
import stat
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.console import Console
from rich.live import Live

from twitchvault.cli.demo.board import Finding, board, show_findings
from twitchvault.cli.demo.bot import Orders, Report
from twitchvault.cli.demo.crew import Crew
from twitchvault.cli.demo.expiry import LIFETIME, Expiry
from twitchvault.cli.demo.place import DemoError, Place, make_store
from twitchvault.cli.demo.signin import CALLBACK, by_code, by_device
from twitchvault.errors import TwitchVaultError
from twitchvault.oauth import AuthorizationCodeGrantFlow, DeviceCodeFlow
from twitchvault.testing.fake import FakeTwitchProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twitchvault.testing.fake import Client, Counts, User

__all__ = ["SECONDS", "findings", "play"]

SECONDS: Final = 20.0
SIZE: Final = 4
BROKEN: Final = 1
FAILED: Final = 2
INTERRUPTED: Final = 130
PRIVATE: Final = 0o600

_APPROVE_AFTER: Final = 2.5
_LIVE_EVERY: Final = 0.2
_PLAIN_EVERY: Final = 5.0


class Cast(NamedTuple):
    """Who plays: the double, an application registered there, and its users."""

    twitch: FakeTwitchProcess
    client: Client
    users: tuple[User, User]


def play(kind: str = "sqlite", seconds: float = SECONDS) -> int:
    """Play it all and return the exit code: 0 if every promise was kept."""
    console = Console(highlight=False)
    try:
        with _folder() as folder:
            kept = asyncio.run(_play(console, kind, seconds, folder))
    except KeyboardInterrupt:
        console.print("\nStopped.")
        return INTERRUPTED
    except (DemoError, TwitchVaultError) as error:
        text = f"The demo cannot go on: {error}"
        Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)
        return FAILED
    return 0 if kept else BROKEN


@contextmanager
def _folder() -> Iterator[Path]:
    """A private folder that stays, so that one can look at what is in it."""
    folder = Path(tempfile.mkdtemp(prefix="twitchvault-demo-"))
    try:
        yield folder
    finally:
        with suppress(OSError):
            folder.rmdir()  # only if it is empty


async def _play(console: Console, kind: str, seconds: float, folder: Path) -> bool:
    async with make_store(kind, folder) as place, FakeTwitchProcess() as twitch:
        console.print("[bold]twitchvault demo.[/] A double plays Twitch, on this machine.")
        cast = await _cast(twitch)
        orders = await _sign_in(console, cast, place)
        _explain(console, place)
        async with Crew(SIZE, orders) as crew:
            expiry = await _work(console, cast, crew, seconds)
            reports = await crew.finish()
            counts = await twitch.counts()
            console.print(board(crew.bots, cast.users, counts))
        found = [*findings(reports, counts, expiry.count), *_privacy(place)]
    console.print("\n[bold]4[/]  The verdict, by Twitch's own count.")
    show_findings(console, found)
    _say_where(console, place)
    return all(finding.kept for finding in found)


async def _cast(twitch: FakeTwitchProcess) -> Cast:
    """As strict as Twitch is with public clients: a spent refresh token cuts the connection."""
    client = await twitch.register_client(
        name="The demo", redirect_uris=[CALLBACK], punish_replay=True
    )
    users = await twitch.add_user("alice"), await twitch.add_user("bob")
    await twitch.configure(device_interval=1, helix_limit=1_000_000_000)
    await twitch.auto_approve(users[0], after=_APPROVE_AFTER)
    await twitch.auto_consent(users[1])
    return Cast(twitch, client, users)


async def _sign_in(console: Console, cast: Cast, place: Place) -> Orders:
    twitch, client = cast.twitch, cast.client
    assert client.client_secret is not None
    async with DeviceCodeFlow(
        client.client_id,
        client.client_secret,
        store=place.url,
        id_url=twitch.id_url,
        api_url=twitch.api_url,
    ) as flow:
        console.print("\n[bold]1[/]  alice signs in by device code: on any screen she has.")
        alice = await by_device(flow, console)
        console.print(f"   She has approved. Her scopes: {', '.join(alice.scopes)}")
        console.print("\n[bold]2[/]  bob signs in by authorization code: in his browser.")
        bob = await by_code(AuthorizationCodeGrantFlow.from_app(flow), console)
        return Orders(
            client.client_id,
            client.client_secret,
            twitch.id_url,
            twitch.api_url,
            place.url,
            (alice.user_id, bob.user_id),
        )


def _explain(console: Console, place: Place) -> None:
    console.print(
        f"\n[bold]3[/]  Four processes share {place.name} and nothing else.\n"
        "   Each calls Twitch for both users, some 40 times a second.\n"
        f"   {LIFETIME:.0f} seconds after all have a token, Twitch lets it expire.\n"
        "   Then one process exchanges the refresh token, which is good for one use,\n"
        "   and all go on with the new pair.\n"
    )


async def _work(console: Console, cast: Cast, crew: Crew, seconds: float) -> Expiry:
    """Let tokens expire under the crew for so long, and show what it does."""
    expiry = Expiry(cast.twitch, cast.client, crew)
    first, second = cast.users
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(expiry.run(first))
            group.create_task(expiry.run(second, LIFETIME / 2))
            await _watch(console, cast, crew, seconds)
            expiry.stop()
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return expiry


async def _watch(console: Console, cast: Cast, crew: Crew, seconds: float) -> None:
    end = time.monotonic() + seconds
    if not console.is_terminal:
        while time.monotonic() < end - _PLAIN_EVERY:
            await asyncio.sleep(_PLAIN_EVERY)
            console.print(board(crew.bots, cast.users, await cast.twitch.counts()))
        await asyncio.sleep(end - time.monotonic())
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while time.monotonic() < end:
            table = board(crew.bots, cast.users, await cast.twitch.counts())
            live.update(table, refresh=True)
            await asyncio.sleep(_LIVE_EVERY)


def findings(reports: list[Report], counts: Counts, expired: int) -> list[Finding]:
    """What was promised, by what the processes and the double have counted.

    `expired`: how many tokens the demo has let expire.
    """
    calls, failed = sum(r.calls for r in reports), sum(r.failed for r in reports)
    refreshed = [report.refreshed for report in reports]
    trouble = next((f" ({r.trouble})" for r in reports if r.trouble), "")
    return [
        Finding(
            0 < expired == counts.expiries == counts.exchanges,
            f"{counts.expiries} access tokens expired ({expired} were due), "
            f"{counts.exchanges} exchanges: one for each",
        ),
        Finding(
            sum(refreshed) == counts.exchanges,
            f"{' + '.join(map(str, refreshed))} = {sum(refreshed)} refreshes in the processes",
        ),
        Finding(
            counts.replays == counts.refused_refreshes == 0,
            f"{counts.replays} replays of a spent refresh token",
        ),
        Finding(
            failed == 0 and len(reports) == SIZE and all(r.calls for r in reports),
            f"{calls:,} calls, {failed} failed{trouble}",
        ),
    ]


def _privacy(place: Place) -> list[Finding]:
    if place.file is None:
        return []
    mode = stat.S_IMODE(place.file.stat().st_mode)
    return [Finding(mode == PRIVATE, f"the file's mode is {mode:04o}: for you alone")]


def _say_where(console: Console, place: Place) -> None:
    if place.file is None:
        console.print(f"\nThe server has ended; its data stay in {place.folder}", soft_wrap=True)
        return
    console.print("\nThe file stays where it is, tokens and all. See who is in it:", soft_wrap=True)
    console.print(f"   twitchvault list --store {place.url}", soft_wrap=True, markup=False)
