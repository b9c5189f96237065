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
from tests.http_servers import free_port
from tests.programs import Program, running

from .pages import ROOT, blocks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.environment import Environment

BOT = ROOT / "docs" / "examples" / "service" / "bot.py"

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
