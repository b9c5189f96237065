"""What EventSub's websocket and the IRC front share: a connection, and all that are open."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterator


class Connection:
    """A client's websocket. What goes out waits in a queue, so that a command need not wait."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._socket = web.WebSocketResponse()
        self._outgoing: asyncio.Queue[str | int] = asyncio.Queue()

    def send(self, text: str) -> None:
        """Send a message."""
        self._outgoing.put_nowait(text)

    def end(self, code: int) -> None:
        """Close the connection, after what waits to be sent."""
        self._outgoing.put_nowait(code)

    def drop(self) -> None:
        """Cut the connection, as a broken network does."""
        if self._request.transport is not None:
            self._request.transport.abort()

    @property
    def idle(self) -> float:
        """Seconds of silence after which `on_idle` is called."""
        raise NotImplementedError

    def begin(self) -> None:
        """The connection stands."""

    def receive(self, text: str) -> None:
        """A message has come."""
        raise NotImplementedError

    def on_idle(self) -> None:
        """Nothing was sent for a while."""
        raise NotImplementedError

    async def serve(self) -> web.WebSocketResponse:
        """Carry the connection until one of both ends it."""
        await self._socket.prepare(self._request)
        self.begin()
        writing = asyncio.create_task(self._write())
        try:
            async for message in self._socket:
                if isinstance(message.data, str):
                    self.receive(message.data)
        finally:
            writing.cancel()
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


_C = TypeVar("_C", bound=Connection)


class Connections(Generic[_C]):
    """All open connections of a kind."""

    def __init__(self) -> None:
        self._open: dict[int, _C] = {}

    def __iter__(self) -> Iterator[_C]:
        return iter(list(self._open.values()))

    async def carry(self, connection: _C) -> web.WebSocketResponse:
        """Carry one from its begin to its end."""
        self._open[id(connection)] = connection
        try:
            return await connection.serve()
        finally:
            del self._open[id(connection)]

    def drop(self) -> int:
        """Cut all; returns how many."""
        connections = list(self)
        for connection in connections:
            connection.drop()
        return len(connections)
