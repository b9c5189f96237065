"""The installed command, run as a person runs it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from twitchvault.testing import FakeTwitch
    from twitchvault.testing.fake import Client

COMMAND: Final = Path(sys.executable).parent / "twitchvault"


@dataclass(frozen=True)
class Outcome:
    """What a run has left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Shell:
    """A folder, a double, and a client registered there."""

    folder: Path
    twitch: FakeTwitch
    client: Client

    @property
    def store(self) -> str:
        """The store that the commands use."""
        return f"sqlite:///{self.folder / 'tokens.db'}"

    @property
    def places(self) -> tuple[str, ...]:
        """The options that lead to the double."""
        return ("--id-url", self.twitch.id_url, "--api-url", self.twitch.api_url)

    async def start(self, *arguments: str, **variables: str) -> asyncio.subprocess.Process:
        """Start the command in its own session, with no terminal."""
        settings = {
            "TWITCHVAULT_STORE": self.store,
            "TWITCHVAULT_CLIENT_ID": self.client.client_id,
            "XDG_DATA_HOME": str(self.folder),
            "COLUMNS": "200",
        }
        if self.client.client_secret is not None:
            settings["TWITCHVAULT_CLIENT_SECRET"] = self.client.client_secret
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            COMMAND,
            *arguments,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env={**kept, **settings, **variables},
            start_new_session=True,
        )

    async def run(self, *arguments: str, typed: str = "", **variables: str) -> Outcome:
        """Run it to its end; nothing it says may hold a secret."""
        process = await self.start(*arguments, **variables)
        return await self.end(process, typed)

    async def end(self, process: asyncio.subprocess.Process, typed: str = "") -> Outcome:
        """Wait for its end; nothing it says may hold a secret."""
        async with asyncio.timeout(30):
            out, err = await process.communicate(typed.encode())
        assert process.returncode is not None
        outcome = Outcome(process.returncode, out.decode(), err.decode())
        for secret in self.twitch.secrets:
            assert secret not in outcome.out + outcome.err
        assert "Traceback" not in outcome.err, outcome.err
        return outcome

    async def interrupt(self, process: asyncio.subprocess.Process, after: str) -> Outcome:
        """Press Ctrl-C once it has said something."""
        assert process.stdout is not None
        async with asyncio.timeout(30):
            while after not in (line := await process.stdout.readline()).decode():
                assert line, "it has ended before"
        process.send_signal(signal.SIGINT)
        return await self.end(process)
