"""The bots of the page "Running it", as a service manager runs them: real processes and servers."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.environment import REFRESH, until, within
from tests.redis_store.servers import Server, free_port, running
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
    """A running bot; `log` is what it wrote so far."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.log: list[str] = []
        self._url = f"http://127.0.0.1:{port}/health"
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log.append(line.decode().rstrip())

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
        return [line for line in self.log if not line.startswith("INFO ")]

    def has_logged(self, words: str) -> bool:
        """Whether a line has these words."""
        return any(words in line for line in self.log)

    async def stop(self) -> int:
        """Send SIGTERM and wait for the end."""
        self.process.send_signal(signal.SIGTERM)
        await within(self._reading)
        return await within(self.process.wait())

    async def kill(self) -> None:
        """End it in any case."""
        if self.process.returncode is None:
            self.process.kill()
        await within(self._reading)
        await within(self.process.wait())


@asynccontextmanager
async def bot(env: Environment, folder: Path, **settings: str) -> AsyncIterator[Bot]:
    """The example, started with nothing but these settings in its environment."""
    port = free_port()
    variables = {
        "TWITCHVAULT_CLIENT_ID": env.client.client_id,
        "TWITCHVAULT_ID_URL": env.twitch.id_url,
        "TWITCHVAULT_API_URL": env.twitch.api_url,
        "BOT_HEALTH_PORT": str(port),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(BOT),
        cwd=folder,
        env=variables | {f"TWITCHVAULT_{name}": value for name, value in settings.items()},
        stderr=PIPE,
    )
    running_bot = Bot(process, port)
    try:
        await until(running_bot.is_up)
        yield running_bot
    finally:
        await running_bot.kill()


async def test_sigterm_during_a_refresh(env: Environment, tmp_path: Path) -> None:
    """The bot waits for the answer that is on its way, stores the new pair, and ends with 0."""
    url = f"sqlite:///{tmp_path / 'tokens.db'}"
    async with env.app(store=url) as app:
        user = await env.login(app)
    async with bot(env, tmp_path, STORE=url) as service:
        gate = env.twitch.hold(REFRESH, when="after")
        env.twitch.expire_access(env.alice)
        await within(gate.reached())
        stopping = asyncio.create_task(service.stop())
        await until(service.is_closing)
        gate.release()
        assert await within(stopping) == 0
        assert service.log == ["INFO bot 1 users"]
    async with env.app(store=url) as app:
        assert app.get_token(user.user_id) == env.live()
    counts = env.twitch.counts
    assert (counts.exchanges, counts.replays) == (1, 0)


async def test_sigterm_of_the_short_program(tmp_path: Path) -> None:
    """It ends with 0, and SQLite's log is gone, as it is only after `close()`."""
    page = ROOT / "docs" / "production.md"
    (text,) = [block.text for block in blocks(page, "python") if block.file == "bot.py"]
    (tmp_path / "bot.py").write_text(text, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "bot.py", cwd=tmp_path, stdout=PIPE, stderr=PIPE
    )
    service = Bot(process, 0)
    try:
        assert process.stdout is not None
        assert await within(process.stdout.readline()) == b"0 users\n"
        assert (tmp_path / "tokens.db-wal").exists()
        assert await service.stop() == 0
    finally:
        await service.kill()
    assert service.log == []
    assert not (tmp_path / "tokens.db-wal").exists()


@asynccontextmanager
async def app_on(env: Environment, server: Server, *keys: str) -> AsyncIterator[App]:
    """A process beside the bot, with these keys."""
    store = FernetStore(RedisStore(server.url, namespace="day"), list(keys))
    async with env.app(store=store) as app:
        yield app
    await store.close()


async def twitch_is_away(env: Environment, service: Bot) -> None:
    """Refreshes fail until the bot has said so; then one of them succeeds."""
    env.twitch.fail(REFRESH, status=503, times=None)
    env.twitch.expire_access(env.alice)
    await until(lambda: service.has_logged("a round failed"))
    env.twitch.clear_faults()
    await until(lambda: env.twitch.counts.exchanges == 1)
    await until(lambda: env.log("helix")[-1].status == 200)  # what it has got is stored


async def redis_is_away(server: Server, service: Bot) -> None:
    """The server is gone until the bot has said so."""
    server.kill()
    await until(lambda: service.has_logged("the feed tries again"))
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
    server = Server("--appendonly", "yes", "--appendfsync", "always")
    files = {"CLIENT_SECRET_FILE": str(secret), "KEYS_FILE": str(keys)}
    settings = {"STORE": server.url, "NAMESPACE": "day", **files}
    with running(server):
        await server.ready()
        async with app_on(env, server, KEY) as app:
            await env.login(app)
            await env.login(app, env.bob)
        async with bot(env, tmp_path, **settings) as service:
            await twitch_is_away(env, service)
            await redis_is_away(server, service)
            env.twitch.disconnect(env.client, env.bob)
            await until(lambda: service.has_logged("has to sign in again"))
            users = (await service.health())["users"]
            assert await service.stop() == 0
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
            assert await service.stop() == 0
        keys.write_text(f"{NEW}\n")
        async with bot(env, tmp_path, **settings) as service:
            env.twitch.expire_access(env.alice)
            await until(lambda: env.twitch.counts.exchanges == 2)
            assert await service.stop() == 0
        assert service.warnings() == []
        async with app_on(env, server, NEW) as app:
            assert app.get_token(env.alice.user_id) == env.live()
    assert env.twitch.counts.replays == 0
