"""The command, run as a person runs it: in a process of its own, without a terminal.

The process is forked from one that has imported everything; that the installed command starts by
itself is shown where the pages' commands are run.
"""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.spawning import fork
from twitchvault import App, open_store
from twitchvault.cli import main

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

    from twitchvault.testing import FakeTwitch
    from twitchvault.testing.fake import Client, Pair

    Stream = tuple[StreamReader, StreamWriter]


def _read_all(terminal: int) -> str:
    parts: list[bytes] = []
    with suppress(OSError):  # nobody has it open any more
        while part := os.read(terminal, 65_536):
            parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode()


def row(text: str, name: str) -> list[str]:
    """The words of the line that begins with a user's name."""
    return next(line.split() for line in text.splitlines() if line.startswith(f"{name} "))


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
    def file(self) -> Path:
        """Where the commands keep tokens."""
        return self.folder / "tokens.db"

    @property
    def store(self) -> str:
        """The store that the commands use."""
        return f"sqlite:///{self.file}"

    def named(self, text: str) -> str:
        """What a command prints: the store's name, and this text."""
        return f"Store: {self.file}\n{text}"

    @property
    def urls(self) -> tuple[str, ...]:
        """The options that lead to the double."""
        return ("--id-url", self.twitch.id_url, "--api-url", self.twitch.api_url)

    async def sign_in(self, login: str, scope: str = "chat:read") -> Pair:
        """A user whose pair is in the store."""
        pair = self.twitch.issue(self.client, login, [scope])
        async with App(
            self.client.client_id,
            store=self.store,
            id_url=self.twitch.id_url,
            api_url=self.twitch.api_url,
        ) as app:
            await app.add_user(pair.access_token, pair.refresh_token)
        return pair

    async def leave_empty(self) -> None:
        """A store in which nobody is."""
        store = open_store(self.store)
        await store.open()
        await store.close()

    async def damage(self, key: str) -> None:
        """Put something into the store that is no record."""
        store = open_store(self.store)
        await store.open()
        await store.put(key, b"garbage")
        await store.close()

    async def run_at_terminal(self, *arguments: str) -> str:
        """Run it to its end at a terminal of 100 columns; what that shows."""
        terminal, inside = pty.openpty()
        code = "from twitchvault.cli import main; main()"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, *arguments),
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env={**self.environment, "TERM": "xterm", "COLUMNS": "100", "LANG": "C.UTF-8"},
        )
        os.close(inside)
        async with asyncio.timeout(30):
            text = await asyncio.to_thread(_read_all, terminal)
            assert await process.wait() == 0, text
        return text

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the command sees."""
        settings = {
            "TWITCHVAULT_STORE": self.store,
            "TWITCHVAULT_CLIENT_ID": self.client.client_id,
            "XDG_DATA_HOME": str(self.folder),
            "COLUMNS": "200",
        }
        if self.client.client_secret is not None:
            settings["TWITCHVAULT_CLIENT_SECRET"] = self.client.client_secret
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {**inherited, **settings}

    async def start(self, *arguments: str, **variables: str) -> Command:
        """Start the command in its own session, with no terminal."""
        return await Command.start(arguments, {**self.environment, **variables})

    async def run(self, *arguments: str, typed: str = "", **variables: str) -> Outcome:
        """Run it to its end; nothing it says may hold a secret."""
        command = await self.start(*arguments, **variables)
        return await self.end(command, typed)

    async def end(self, command: Command, typed: str = "") -> Outcome:
        """Wait for its end; nothing it says may hold a secret."""
        async with asyncio.timeout(30):
            outcome = await command.end(typed)
        for secret in self.twitch.secrets:
            assert secret not in outcome.out + outcome.err
        assert "Traceback" not in outcome.err, outcome.err
        return outcome

    async def interrupt(self, command: Command, after: str) -> Outcome:
        """Press Ctrl-C once it has said something."""
        async with asyncio.timeout(30):
            while after not in (line := await command.readline()):
                assert line, "it has ended before"
        command.interrupt()
        return await self.end(command)


class Command:
    """One run of the command."""

    def __init__(self, process: ForkServerProcess, streams: list[Stream]) -> None:
        self._process = process
        self._stdout, self._stderr = streams[0][0], streams[1][0]
        self._writers = [writer for _, writer in streams]

    @classmethod
    async def start(cls, arguments: tuple[str, ...], variables: dict[str, str]) -> Command:
        """Start it."""
        ours, theirs = zip(*(socket.socketpair() for _ in range(3)), strict=True)
        process = fork(_run, arguments, variables, *theirs)
        for end in theirs:
            end.close()
        return cls(process, [await asyncio.open_connection(sock=end) for end in ours])

    async def readline(self) -> str:
        """The next line that it prints; empty when it has ended."""
        return (await self._stdout.readline()).decode()

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGINT)

    async def kill(self) -> None:
        """`kill -9`, and wait for the end."""
        self._process.kill()
        await asyncio.to_thread(self._process.join)
        for writer in self._writers:
            writer.close()

    async def end(self, typed: str) -> Outcome:
        """Type something, and wait for its end."""
        self._writers[-1].write(typed.encode())
        self._writers[-1].write_eof()
        try:
            out, err = await asyncio.gather(self._stdout.read(), self._stderr.read())
            await asyncio.to_thread(self._process.join)
        finally:
            self._process.kill()
            for writer in self._writers:
                writer.close()
        assert self._process.exitcode is not None
        return Outcome(self._process.exitcode, out.decode(), err.decode())


def _run(arguments: tuple[str, ...], variables: dict[str, str], *streams: socket.socket) -> None:
    os.setsid()
    for number, stream in zip((1, 2, 0), streams, strict=True):
        os.dup2(stream.detach(), number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["twitchvault", *arguments]
    main()
