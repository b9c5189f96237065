"""A flow in a bot of discord.py, which signs in at a server of ours in Discord's place."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.test_utils import TestServer

from .conftest import ELSEWHERE, PROGRAMS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import Place

AT_THE_SERVER = """
import sys
import warnings
with warnings.catch_warnings():  # its import of audioop
    warnings.simplefilter("ignore", DeprecationWarning)
    import discord.gateway
import runpy
import yarl

url = yarl.URL(sys.argv[2])
discord.http.Route.BASE = str(url)
discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = url / "gateway"
runpy.run_path(sys.argv[1], run_name="__main__")
"""
BOT: Final = {"id": "7", "username": "bot", "discriminator": "0000", "avatar": None, "flags": 0}
APPLICATION: Final = BOT | {
    **dict.fromkeys(("description", "verify_key"), ""),
    **dict.fromkeys(("icon", "team", "bot_public", "bot_require_code_grant")),
    "name": "bot",
    "owner": BOT,
}


async def gateway(request: web.Request) -> web.WebSocketResponse:
    """Let a bot in that says who it is, and keep it until it goes."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_json({"op": 10, "d": {"heartbeat_interval": 40_000}})
    async for message in socket:
        if message.json()["op"] == 2:
            ready = {"v": 10, "user": BOT, "guilds": [], "session_id": "1"}
            ready |= {"resume_gateway_url": "ws://localhost", "application": BOT}
            await socket.send_json({"op": 0, "t": "READY", "s": 1, "d": ready})
    return socket


async def answer(request: web.Request) -> web.Response:
    """An answer as Discord gives it: discord.py takes no other content type."""
    content = BOT if request.path == "/users/@me" else APPLICATION
    return web.Response(body=json.dumps(content).encode(), content_type="application/json")


@asynccontextmanager
async def discord_server() -> AsyncIterator[str]:
    """The address of a server with what a bot asks for until it is ready."""
    app = web.Application()
    app.router.add_get("/users/@me", answer)
    app.router.add_get("/oauth2/applications/@me", answer)
    app.router.add_get("/gateway", gateway)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def test_a_bot(place: Place) -> None:
    """Its events run on the loop of the flow."""
    place.write("at_the_server.py", AT_THE_SERVER)
    async with (
        discord_server() as url,
        place.running("-W", "error", "at_the_server.py", "discord_bot.py", url) as running,
    ):
        await running.has_written("Alice\n")
    assert place.twitch.counts.exchanges == 1


async def test_a_flow_that_was_opened_before_run(place: Place) -> None:
    """`run` starts a loop of its own: every event gets the clear error, and the log shows it."""
    place.write("at_the_server.py", AT_THE_SERVER)
    begin, _, _ = PROGRAMS["discord_bot.py"].partition("async def main")
    wrong = (
        "app = App.from_env(maintain=False)\n"
        "asyncio.run(app.authorize())\n"
        "Bot(app).run(os.environ['DISCORD_TOKEN'])\n"
    )
    place.write("wrong_bot.py", begin + wrong)
    async with (
        discord_server() as url,
        place.running("at_the_server.py", "wrong_bot.py", url) as running,
    ):
        await running.has_written(f"WrongEventLoop: {ELSEWHERE}")
    assert place.twitch.counts.exchanges == 0
