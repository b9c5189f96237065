"""`twitchvault demo`."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated
from urllib.parse import quote

import typer

from twitchvault.app import App
from twitchvault.cli.console import say, warn


async def command(
    seconds: Annotated[
        int, typer.Option(metavar="N", min=1, max=3600, help="How long it runs.")
    ] = 10,
) -> None:
    """Let four processes share a token that lives two seconds.

    They run against a double of Twitch, on a store that is thrown away.
    """
    from twitchvault.testing import FakeTwitch  # noqa: PLC0415 - a server, for this command alone

    warn(f"Four processes call for {seconds} s; a token lives 2 s, at Twitch four hours ...")
    with TemporaryDirectory() as folder:
        async with FakeTwitch(user_token_lifetime=2.0, helix_limit=10**6) as twitch:
            pair = twitch.issue(twitch.register_client(public=True), twitch.add_user("alice"))
            store = f"sqlite:///{quote(str(Path(folder, 'tokens.db')))}"
            where = {"client_id": pair.client_id, "store": store}
            where |= {"id_url": twitch.id_url, "api_url": twitch.api_url}
            await _run(json.dumps([where, pair.access_token, pair.refresh_token, seconds]))
            counts = twitch.counts
    say(f"{counts.helix_calls} calls; the token had expired {counts.expiries} times.")
    say(f"{counts.exchanges} exchanges, {counts.replays} replays.")


async def _run(arguments: str) -> None:
    program = (sys.executable, "-c", f"from {__name__} import bot; bot()")
    bots = [
        await asyncio.create_subprocess_exec(*program, stdin=asyncio.subprocess.PIPE)
        for _ in range(4)
    ]
    try:
        await asyncio.gather(*(bot.communicate(arguments.encode()) for bot in bots))
    finally:
        for each in bots:
            with suppress(ProcessLookupError):  # it has ended
                each.kill()


def bot() -> None:
    """The life of one process; whoever started it ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    where, access_token, refresh_token, seconds = json.load(sys.stdin)

    async def call() -> None:
        async with App(**where) as app:
            user = await app.add_user(access_token, refresh_token)
            for _ in range(seconds * 20):
                await user.get_user()
                await asyncio.sleep(0.05)

    asyncio.run(call())
