"""A TCP proxy before a server, to break connections and change answers at chosen moments."""

from __future__ import annotations

import asyncio
from contextlib import closing, suppress
from typing import Final, Self

MARK: Final = b"marked"
"""In a request: its answer is the one that is lost or replaced."""
CHUNK: Final = 1 << 16


class Proxy:
    """Passes everything on, but for what these two say.

    `lose`: so many answers to marked requests are thrown away and their connections cut.
    `answer`: what is answered to marked requests instead; they do not reach the server.
    """

    def __init__(self, port: int) -> None:
        self.lose = 0
        self.answer = b""
        self._upstream = port
        self._server: asyncio.Server | None = None
        self._port = 0
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"redis://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    async def up(self) -> None:
        """Take connections, always at the same place."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Cut all connections and take no new ones."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        with suppress(asyncio.CancelledError, OSError), closing(writer):
            answers, up = await asyncio.open_connection("127.0.0.1", self._upstream)
            losing = asyncio.Event()
            passing = asyncio.create_task(self._pass_answers(answers, writer, losing))
            with closing(up):
                try:
                    await self._pass_requests(reader, up, writer, losing)
                finally:
                    passing.cancel()

    async def _pass_requests(
        self,
        reader: asyncio.StreamReader,
        up: asyncio.StreamWriter,
        down: asyncio.StreamWriter,
        losing: asyncio.Event,
    ) -> None:
        while data := await reader.read(CHUNK):
            marked = MARK in data
            if marked and self.answer:
                down.write(self.answer)
                continue
            if marked and self.lose:
                self.lose -= 1
                losing.set()
            up.write(data)

    async def _pass_answers(
        self, reader: asyncio.StreamReader, down: asyncio.StreamWriter, losing: asyncio.Event
    ) -> None:
        with suppress(OSError), closing(down):  # then the client closes, too
            while (data := await reader.read(CHUNK)) and not losing.is_set():
                down.write(data)
