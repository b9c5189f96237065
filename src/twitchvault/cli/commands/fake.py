"""`twitchvault fake`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import typer

from twitchvault.cli.commands.login import PORT
from twitchvault.cli.console import fail, say, unusable_port, warn

_USERS: Final = ("alice", "bob")
_REDIRECT_URIS: Final = (
    f"http://localhost:{PORT}/callback",
    "http://localhost:3000",
    "http://localhost:3000/callback",
)


async def command(
    port: Annotated[
        int,
        typer.Option(metavar="PORT", min=0, max=65535, help="Where to listen; 0 takes a free one."),
    ] = 8080,
    user: Annotated[
        list[str] | None,
        typer.Option(
            "--user", metavar="LOGIN", help="Add a user of this login name; may be repeated."
        ),
    ] = None,
    confidential: Annotated[
        bool, typer.Option("--confidential", help="An application with a secret.")
    ] = False,
    approve: Annotated[
        bool, typer.Option("--approve", help="Every login is approved at once, by the first user.")
    ] = False,
) -> None:
    """Run a double of Twitch to try things with.

    It prints the variables that lead the command there.
    """
    from twitchvault.testing import FakeTwitch  # noqa: PLC0415 - a server, for this command alone

    twitch = FakeTwitch(port, control=True, device_interval=1)
    try:
        users = [twitch.add_user(login) for login in user or _USERS]
    except ValueError as error:
        fail(f"--user: {error}")
    client = twitch.register_client(
        public=not confidential,
        denied_device="access_denied",
        redirect_uris=_REDIRECT_URIS,
    )
    if approve:
        twitch.auto_approve(users[0])
        twitch.auto_consent(users[0])
    try:
        await twitch.start()
    except OSError as error:
        fail(unusable_port(port, error))
    async with twitch:
        say(f"export TWITCHVAULT_CLIENT_ID={client.client_id}")
        if client.client_secret is not None:
            say(f"export TWITCHVAULT_CLIENT_SECRET={client.client_secret}")
        say(f"export TWITCHVAULT_ID_URL={twitch.id_url}")
        say(f"export TWITCHVAULT_API_URL={twitch.api_url}")
        warn(f"Users and the codes that wait: {twitch.url}/ - Ctrl-C ends the double.")
        await asyncio.Event().wait()
