"""What EventSub's websocket and the IRC front share: a client's connection."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from typing import Self


class Connection(ABC):
    """A client's websocket. What goes out waits in a queue, so that a command need not wait."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._socket = web.WebSocketResponse()
        self._outgoing: asyncio.Queue[str | int] = asyncio.Queue()

    def send(self, outgoing: str | int) -> None:
        """Send a text, or close with a code, after what waits to be sent."""
        self._outgoing.put_nowait(outgoing)

    def drop(self) -> None:
        """Cut the connection, as a broken network does."""
        if self._request.transport is not None:
            self._request.transport.abort()

    @abstractmethod
    def reconnect(self) -> None:
        """Ask the client to connect anew."""

    @property
    @abstractmethod
    def idle(self) -> float:
        """Seconds of silence after which `on_idle` is called."""

    @abstractmethod
    def receive(self, text: str) -> None:
        """A message has come."""

    @abstractmethod
    def on_idle(self) -> None:
        """Nothing was sent for a while."""

    async def serve(self, connections: list[Self]) -> web.WebSocketResponse:
        """Carry the connection, one of those that are open, until one of both ends it."""
        await self._socket.prepare(self._request)
        connections.append(self)
        writing = asyncio.create_task(self._write())
        try:
            async for message in self._socket:
                if isinstance(message.data, str):
                    self.receive(message.data)
        finally:
            writing.cancel()
            connections.remove(self)
        return self._socket

    async def _write(self) -> None:
        with suppress(ConnectionError):
            while not self._socket.closed:
                try:
                    outgoing = await asyncio.wait_for(self._outgoing.get(), self.idle)
                except TimeoutError:
                    self.on_idle()
                    continue
                if isinstance(outgoing, int):
                    await self._socket.close(code=outgoing)
                else:
                    await self._socket.send_str(outgoing)
