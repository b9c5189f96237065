"""The bots of the page "Running it", as a service manager runs them: real processes and servers."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.environment import REFRESH, until, within
from tests.programs import Program, running
from tests.redis_store import servers
from twitchvault import App, FernetStore, RedisStore

from .pages import ROOT, blocks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.environment import Environment

BOT = ROOT / "docs" / "examples" / "service" / "bot.py"
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
NEW = "bmV3IG5ldyBuZXcgbmV3IG5ldyBuZXcgbmV3IG5ldy4="

DAY = [
    "bot a round failed; trying on, each second: 503: the refresh of user",
    "the feed tries again until it goes on",
    "has to sign in again: Twitch refused the refresh token (400: Invalid refresh token)",
]
"""What an operator reads in the morning: all that happened, once each."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGTERM")


class Bot:
    """A running bot and its health page."""

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self._url = f"http://127.0.0.1:{port}/health"

    async def health(self) -> dict[str, Any]:
        """What its health page says; empty while there is none."""
        try:
            async with aiohttp.ClientSession() as http, http.get(self._url) as answer:
                return dict(json.loads(await answer.text()))
        except aiohttp.ClientConnectionError:
            return {}

    async def is_up(self) -> bool:
        """Whether the page says that the store is reachable."""
        return bool((await self.health()).get("store_reachable"))

    async def is_closing(self) -> bool:
        """Whether it has taken its page down, as it does first when it ends."""
        return not await self.health()

    def warnings(self) -> list[str]:
        """What it logged at WARNING and above."""
        return [line for line in self.program.output.splitlines() if not line.startswith("INFO ")]


@asynccontextmanager
async def bot(env: Environment, folder: Path, **settings: str) -> AsyncIterator[Bot]:
    """The example, started with nothing but these settings in its environment."""
    port = servers.free_port()
    variables = {
        "TWITCHVAULT_CLIENT_ID": env.client.client_id,
        "TWITCHVAULT_ID_URL": env.twitch.id_url,
        "TWITCHVAULT_API_URL": env.twitch.api_url,
        "BOT_HEALTH_PORT": str(port),
    }
    variables |= {f"TWITCHVAULT_{name}": value for name, value in settings.items()}
    async with running(str(BOT), cwd=folder, env=variables) as program:
        service = Bot(program, port)
        await until(service.is_up)
        yield service


async def test_sigterm_during_a_refresh(env: Environment, tmp_path: Path) -> None:
    """The bot waits for the answer that is on its way, stores the new pair, and ends with 0."""
    url = f"sqlite:///{tmp_path / 'tokens.db'}"
    async with env.app(store=url) as app:
        user = await env.login(app)
    async with bot(env, tmp_path, STORE=url) as service:
        gate = env.twitch.hold(REFRESH, when="after")
        env.twitch.expire_access(env.alice)
        await within(gate.reached())
        stopping = asyncio.create_task(service.program.stop())
        await until(service.is_closing)
        gate.release()
        assert await within(stopping) == 0
        assert service.program.output == "INFO bot 1 users\n"
    async with env.app(store=url) as app:
        assert app.get_token(user.user_id) == env.live()
    counts = env.twitch.counts
    assert (counts.exchanges, counts.replays) == (1, 0)


async def test_sigterm_of_the_short_program(tmp_path: Path) -> None:
    """It ends with 0, and SQLite's log is gone, as it is only after `close()`."""
    page = ROOT / "docs" / "production.md"
    (text,) = [block.text for block in blocks(page, "python") if block.file == "bot.py"]
    (tmp_path / "bot.py").write_text(text, encoding="utf-8")
    async with running("bot.py", cwd=tmp_path, env=os.environ) as program:
        await program.has_written("0 users\n")
        assert (tmp_path / "tokens.db-wal").exists()
        assert await program.stop() == 0
    assert program.output == "0 users\n"
    assert not (tmp_path / "tokens.db-wal").exists()


@asynccontextmanager
async def app_on(env: Environment, server: servers.Server, *keys: str) -> AsyncIterator[App]:
    """A process beside the bot, with these keys."""
    store = FernetStore(RedisStore(server.url, namespace="day"), list(keys))
    async with env.app(store=store) as app:
        yield app
    await store.close()


async def twitch_is_away(env: Environment, service: Bot) -> None:
    """Refreshes fail until the bot has said so; then one of them succeeds."""
    env.twitch.fail(REFRESH, status=503, times=None)
    env.twitch.expire_access(env.alice)
    await service.program.has_written("a round failed")
    env.twitch.clear_faults()
    await until(lambda: env.twitch.counts.exchanges == 1)
    await until(lambda: env.log("helix")[-1].status == 200)  # what it has got is stored


async def redis_is_away(server: servers.Server, service: Bot) -> None:
    """The server is gone until the bot has said so."""
    server.kill()
    await service.program.has_written("the feed tries again")
    assert not await service.is_up()
    server.start()
    await server.ready()
    await until(service.is_up)


async def test_a_day_in_the_life(env: Environment, tmp_path: Path) -> None:
    """Secrets in files, Twitch away, Redis away, a user cut off, the key rotated, restarts.

    No token is lost or sent twice, and the log says at WARNING what happened, and nothing else.
    """
    env.client = env.confidential
    secret, keys = tmp_path / "secret", tmp_path / "keys"
    secret.write_text(f"{env.client.client_secret}\n")
    keys.write_text(f"{KEY}\n")
    server = servers.Server(*servers.DURABLE)
    files = {"CLIENT_SECRET_FILE": str(secret), "KEYS_FILE": str(keys)}
    settings = {"STORE": server.url, "NAMESPACE": "day", **files}
    with servers.running(server):
        await server.ready()
        async with app_on(env, server, KEY) as app:
            await env.login(app)
            await env.login(app, env.bob)
        async with bot(env, tmp_path, **settings) as service:
            await twitch_is_away(env, service)
            await redis_is_away(server, service)
            env.twitch.disconnect(env.client, env.bob)
            await service.program.has_written("has to sign in again")
            users = (await service.health())["users"]
            assert await service.program.stop() == 0
        assert users == {"live": 1, "needs_login": 1, "damaged": 0}
        # A validation may have been on its way into the store just then.
        lines = [line for line in service.warnings() if "not in the store yet" not in line]
        for line, expected in zip(lines, DAY, strict=True):
            assert expected in line
        keys.write_text(f"{NEW}\n{KEY}\n")
        async with bot(env, tmp_path, **settings) as service:
            rotating = FernetStore(RedisStore(server.url, namespace="day"), [NEW, KEY])
            await rotating.open()
            assert (await rotating.rotate()).old_keys_unused
            await rotating.close()
            assert await service.program.stop() == 0
        keys.write_text(f"{NEW}\n")
        async with bot(env, tmp_path, **settings) as service:
            env.twitch.expire_access(env.alice)
            await until(lambda: env.twitch.counts.exchanges == 2)
            assert await service.program.stop() == 0
        assert service.warnings() == []
        async with app_on(env, server, NEW) as app:
            assert app.get_token(env.alice.user_id) == env.live()
    assert env.twitch.counts.replays == 0
