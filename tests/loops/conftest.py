"""A folder with the programs of the page "Event loops and threads", and the double they run on."""

from __future__ import annotations

import os
from asyncio.subprocess import DEVNULL
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import aiohttp
import pytest

from tests.docs.pages import ROOT, blocks
from tests.environment import until
from tests.http_servers import free_port
from tests.programs import PATIENCE, Program, running
from twitchvault import App
from twitchvault.testing import FakeTwitch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """A folder with the programs and an expired token, which is exchanged once or not at all."""
    async with FakeTwitch(seed=3) as twitch:
        place = Place(tmp_path, twitch)
        await place.fill()
        yield place
        assert twitch.counts.replays == 0
        assert twitch.counts.exchanges <= 1


PAGE: Final = ROOT / "docs" / "loops-and-threads.md"
PROGRAMS: Final = {block.file or "": block.text for block in blocks(PAGE, "python")}
ELSEWHERE, FORKED, NO_LOOP = (block.text.strip() for block in blocks(PAGE, "text"))
"""What the page says that the errors say."""


class Place:
    """The folder; alice's tokens, which have expired, are in the store that the programs use."""

    def __init__(self, folder: Path, twitch: FakeTwitch) -> None:
        self.folder = folder
        self.twitch = twitch
        self.alice = twitch.add_user("alice", user_id="1001")
        self.settings = {
            "TWITCHVAULT_CLIENT_ID": "CLIENT_ID",
            "TWITCHVAULT_STORE": "sqlite:///tokens.db",
            "TWITCHVAULT_ID_URL": twitch.id_url,
            "TWITCHVAULT_API_URL": twitch.api_url,
            "DISCORD_TOKEN": "discord-token",
        }

    async def fill(self) -> None:
        """Write the programs and the tokens."""
        for file, text in PROGRAMS.items():
            self.write(file, text)
        client = self.twitch.register_client(client_id="CLIENT_ID", public=True)
        pair = self.twitch.issue(client, self.alice, ["chat:read"])
        store = f"sqlite:///{(self.folder / 'tokens.db').as_posix()}"
        async with App(
            client.client_id,
            store=store,
            maintain=False,
            id_url=self.twitch.id_url,
            api_url=self.twitch.api_url,
        ) as app:
            await app.add_user(pair.access_token, pair.refresh_token)
        self.twitch.expire_access(self.alice)

    def write(self, file: str, text: str) -> str:
        """Save a program; its name."""
        (self.folder / file).write_text(text, encoding="utf-8")
        return file

    def running(
        self, *arguments: str, stdin: int = DEVNULL
    ) -> AbstractAsyncContextManager[Program]:
        """Python with these arguments, in the folder; ended when the test is."""
        return running(*arguments, cwd=self.folder, env=os.environ | self.settings, stdin=stdin)

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Run Python with these arguments to its end; the exit code, and all that it wrote."""
        async with self.running(*arguments) as program:
            return await program.ended(), program.output

    @asynccontextmanager
    async def serving(self, *arguments: str) -> AsyncIterator[Server]:
        """A server; `{port}` in the arguments is where it listens."""
        port = free_port()
        words = [word.format(port=port) for word in arguments]
        async with self.running(*words) as program, aiohttp.ClientSession() as browser:
            yield Server(program, f"http://127.0.0.1:{port}", browser)


class Server:
    """A program that serves pages."""

    def __init__(self, program: Program, url: str, browser: aiohttp.ClientSession) -> None:
        self.program = program
        self._url = url
        self._browser = browser

    async def get(self, path: str) -> tuple[int, str]:
        """The status of a page and its text; waits until the server listens."""
        found: list[tuple[int, str]] = []

        async def asked() -> bool:
            assert self.program.process.returncode is None, self.program.output
            with suppress(aiohttp.ClientConnectionError):
                async with self._browser.get(f"{self._url}{path}") as answer:
                    found.append((answer.status, (await answer.text()).strip('"')))
            return bool(found)

        await until(asked, PATIENCE)
        return found[0]
