"""A TCP proxy before a server, to break connections at chosen moments."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Proxy:
    """Passes everything on until told otherwise.

    `swallow`: so many answers to writes are thrown away and their connections cut.
    `hold`: writes are kept back, their connections to the client cut; `release` lets the server
    have them.
    """

    def __init__(self, port: int, mark: bytes) -> None:
        self._port = port
        self._mark = mark
        self._server: asyncio.Server | None = None
        self._held: list[tuple[asyncio.StreamWriter, bytes]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._last = 0
        self.swallow = 0
        self.hold = 0

    @property
    def port(self) -> int:
        """Where clients connect to."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._server is not None and self._server.is_serving():
            await self.down()
        for writer, _ in self._held:
            writer.close()

    async def down(self) -> None:
        """Cut all connections and take no new ones."""
        assert self._server is not None
        self._last = self.port
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def up(self) -> None:
        """Take connections again, at the same place."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._last)

    async def release(self) -> None:
        """Let the server have what was held back."""
        for writer, data in self._held:
            writer.write(data)
            await writer.drain()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        keep = False
        try:
            while data := await reader.read(1 << 20):
                if self._mark in data and self.hold:
                    self.hold -= 1
                    self._held.append((up_writer, data))
                    keep = True
                    return
                up_writer.write(data)
                answer = await up_reader.read(1 << 20)
                if not answer:
                    return
                if self._mark in data and self.swallow:
                    self.swallow -= 1
                    return
                writer.write(answer)
                await writer.drain()
        except asyncio.CancelledError:
            return  # by `down`; asyncio's streams would log it
        finally:
            writer.close()
            if not keep:
                up_writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
