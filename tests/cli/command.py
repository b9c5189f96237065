"""The command, run as a person runs it: in a process of its own, with or without a terminal.

The process is forked from one that has imported everything; that the installed command starts by
itself is shown where the pages' commands are run.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from typing import TYPE_CHECKING, Any

from tests.spawning import fork
from twitchvault import App, open_store
from twitchvault.cli import main

from .records import entries_of, fill

if sys.platform != "win32":
    import pty

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncIterator, Mapping
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

    from twitchvault.testing import FakeTwitch
    from twitchvault.testing.fake import Client, Pair
    from twitchvault.vault.record import Record

    Stream = tuple[StreamReader, StreamWriter]


@dataclass(frozen=True)
class Outcome:
    """What a run has left behind."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> dict[str, list[str]]:
        """A user's name → the fields of the user's line in a pipe."""
        return {line.split("\t")[0]: line.split("\t") for line in self.out.splitlines()}

    @property
    def json(self) -> dict[str, Any]:
        """The document that it has printed."""
        document: dict[str, Any] = json.loads(self.out)
        return document


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

    def named(self, text: str = "") -> str:
        """What a command says on standard error: the store's name, and this text."""
        return f"Store: {self.file}\n{text}"

    def app(self, store: str | None = None) -> App:
        """A program that shares the store."""
        return App(
            self.client.client_id,
            self.client.client_secret,
            store=store or self.store,
            maintain=False,
            id_url=self.twitch.id_url,
            api_url=self.twitch.api_url,
        )

    async def sign_in(self, login: str, scope: str = "chat:read") -> Pair:
        """A user whose pair is in the store."""
        pair = self.twitch.issue(self.client, login, [scope])
        async with self.app() as app:
            await app.add_user(pair.access_token, pair.refresh_token)
        return pair

    async def fill(self, records: Mapping[str, Record]) -> None:
        """Leave these records in the store, under their keys."""
        await fill(open_store(self.store), records)

    async def entries(self) -> dict[str, bytes]:
        """All that is in the store, by key."""
        return await entries_of(open_store(self.store))

    async def damage(self, key: str) -> None:
        """Put something into the store that is no record."""
        store = open_store(self.store)
        await store.open()
        await store.put(key, b"garbage")
        await store.close()

    @asynccontextmanager
    async def terminal(self, *arguments: str, **variables: str) -> AsyncIterator[Terminal]:
        """The command at a terminal of 100 columns."""
        settings = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "50", "LANG": "C.UTF-8"}
        terminal = await Terminal.start(arguments, {**self.environment, **settings, **variables})
        try:
            async with asyncio.timeout(30):
                yield terminal
        finally:
            terminal.kill()
        self._check(terminal.text)

    async def screen(self, *arguments: str, code: int = 0, **variables: str) -> str:
        """All that a run at a terminal shows, which ends with this exit code."""
        async with self.terminal(*arguments, **variables) as terminal:
            assert await terminal.end() == code, terminal.text
        return terminal.text

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the command sees."""
        settings = {
            "TWITCHVAULT_STORE": self.store,
            "TWITCHVAULT_CLIENT_ID": self.client.client_id,
            "TWITCHVAULT_ID_URL": self.twitch.id_url,
            "TWITCHVAULT_API_URL": self.twitch.api_url,
            "XDG_DATA_HOME": str(self.folder),
            "COLUMNS": "200",
        }
        if self.client.client_secret is not None:
            settings["TWITCHVAULT_CLIENT_SECRET"] = self.client.client_secret
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {**inherited, **settings}

    async def start(self, *arguments: str, **variables: str | None) -> Command:
        """Start the command in its own session, with no terminal; None unsets a variable."""
        changed = {**self.environment, **variables}
        settings = {name: value for name, value in changed.items() if value is not None}
        return await Command.start(arguments, settings)

    async def run(self, *arguments: str, code: int = 0, **variables: str | None) -> Outcome:
        """Run it to its end, with this exit code; nothing it says may hold a secret."""
        return await self.end(await self.start(*arguments, **variables), code=code)

    async def end(self, command: Command, *, code: int = 0, typed: str = "") -> Outcome:
        """Wait for its end, with this exit code; nothing it says may hold a secret."""
        async with asyncio.timeout(30):
            outcome = await command.end(typed)
        self._check(outcome.out + outcome.err)
        assert outcome.code == code, outcome.out + outcome.err
        return outcome

    def _check(self, text: str) -> None:
        assert "Traceback" not in text, text
        assert not [secret for secret in self.twitch.secrets if secret in text]

    async def interrupt(self, command: Command, number: int = signal.SIGINT) -> Outcome:
        """Press Ctrl-C, or send another signal, which must end it."""
        command.interrupt(number)
        return await self.end(command, code=128 + number)


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
        """The next line that it prints."""
        async with asyncio.timeout(30):
            line = (await self._stdout.readline()).decode()
        assert line, "it has ended before"
        return line.strip()

    async def see(self, text: str) -> str:
        """The next line that it prints with this in it."""
        while text not in (line := await self.readline()):
            pass
        return line

    async def fields(self) -> list[str]:
        """What stands between the tabs of the next line that it prints."""
        return (await self.readline()).split("\t")

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Press Ctrl-C, or send another signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def stop_reading(self) -> None:
        """Close the pipe to which it prints."""
        self._writers[0].close()

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


class Terminal:
    """One run of the command at a pseudo-terminal; `text` is all that it has shown."""

    def __init__(self, process: ForkServerProcess, screen: StreamReader, keys: int) -> None:
        self._process = process
        self._screen = screen
        self._keys = keys
        self.text = ""

    @classmethod
    async def start(cls, arguments: tuple[str, ...], variables: dict[str, str]) -> Terminal:
        """Start it."""
        ours, inside = pty.openpty()
        process = fork(_run_at_terminal, arguments, variables, DupFd(inside))
        os.close(inside)
        loop, screen = asyncio.get_running_loop(), asyncio.StreamReader()
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(screen), os.fdopen(ours, "rb", 0)
        )
        return cls(process, screen, os.dup(ours))

    async def see(self, text: str, *, since: int = 0) -> None:
        """Wait until it shows this, behind the first `since` characters."""
        while text not in self.text[since:]:
            assert await self._read(), self.text

    async def _read(self) -> bool:
        part = b""
        with suppress(OSError):  # EIO: nobody has it open any more
            part = await self._screen.read(65_536)
        self.text += part.decode(errors="replace").replace("\r\n", "\n")
        return bool(part)

    async def pause(self) -> None:
        """Let the command run on, until it shows more or a moment has passed."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._read(), 0.02)

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._keys, text.encode())

    async def interrupted(self) -> int:
        """Press Ctrl-C, and wait for its end; its exit code."""
        self.type("\x03")
        return await self.end()

    async def end(self) -> int:
        """Wait for its end; its exit code."""
        while await self._read():
            pass
        await asyncio.to_thread(self._process.join)
        assert self._process.exitcode is not None
        return self._process.exitcode

    def kill(self) -> None:
        """Leave nothing behind."""
        self._process.kill()
        os.close(self._keys)


def _run_at_terminal(arguments: tuple[str, ...], variables: dict[str, str], inside: Any) -> None:  # noqa: ANN401 - multiprocessing names no type
    os.login_tty(inside.detach())  # so that Ctrl-C reaches the command
    _main(arguments, variables)


def _run(arguments: tuple[str, ...], variables: dict[str, str], *streams: socket.socket) -> None:
    os.setsid()
    for number, stream in zip((1, 2, 0), streams, strict=True):
        os.dup2(stream.detach(), number)
    _main(arguments, variables)


def _main(arguments: tuple[str, ...], variables: dict[str, str]) -> None:
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["twitchvault", *arguments]
    main()
