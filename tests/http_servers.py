"""Servers that misbehave on purpose, for the tests of everything that sends HTTP."""

from __future__ import annotations

import asyncio
import socket
import threading
import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer
from yarl import URL

from twitchvault.errors import NoAnswer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from twitchvault.http import HTTPClient

    Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SECRET = "canary-5ecret-value"
FORM = {"client_id": "abc", "token": SECRET}


@asynccontextmanager
async def raw_server(serve: Serve) -> AsyncIterator[str]:
    """The URL of a server that does with each connection what `serve` says."""
    running: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            running.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/path?query=here"
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@asynccontextmanager
async def web_server(handler: Handler) -> AsyncIterator[str]:
    """The URL of an aiohttp server that answers every request with `handler`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    server = TestServer(app)
    await server.start_server()
    try:
        yield str(server.make_url("/"))
    finally:
        await server.close()


@asynccontextmanager
async def asgi_server(make: Callable[[URL], Any]) -> AsyncIterator[URL]:
    """The address of the application that `make` makes for it, under uvicorn."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        base = URL.build(scheme="http", host="127.0.0.1", port=listening.getsockname()[1])
        server = uvicorn.Server(uvicorn.Config(make(base), log_config=None, ws="none"))
        work = asyncio.create_task(server.serve([listening]))
        try:
            yield base
        finally:
            server.should_exit = True
            await work


async def sent_back(page: str | URL) -> dict[str, str]:
    """What Twitch's page sends a browser back with, for whoever `auto_consent` has decided."""
    async with (
        aiohttp.ClientSession() as browser,
        browser.get(URL(str(page), encoded=True), allow_redirects=False) as answer,
    ):
        return dict(URL(answer.headers["Location"]).query)


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of one request with a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    return head, await reader.readexactly(_length(head))


def answering(*parts: bytes, keeps_open: bool = False, pause: float = 0.0) -> Serve:
    """Read one request, wait, and write these parts; then hang up, unless it `keeps_open`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.sleep(pause)
        writer.write(b"".join(parts))  # some versions of Python hang at nothing
        await writer.drain()
        if keeps_open:
            await reader.read()

    return serve


async def failure(
    client: HTTPClient,
    url: str,
    *,
    method: str = "POST",
    timeout: float = 5.0,
    answer_timeout: float | None = None,
) -> NoAnswer:
    """The `NoAnswer` of a request that has to fail; checks what holds for each of them."""
    form = FORM if method != "GET" else None
    with pytest.raises(NoAnswer) as caught:
        await client.send(method, url, form=form, timeout=timeout, answer_timeout=answer_timeout)
    error = caught.value
    visible = "".join(traceback.format_exception(error)) + repr(error)
    assert error.__cause__ is None
    assert error.__context__ is None
    assert SECRET not in visible
    assert "query=here" not in visible
    assert error.status == 0
    return error


def queue_trace() -> tuple[aiohttp.TraceConfig, asyncio.Event]:
    """A trace, and the event that it sets when a request has to wait for a free connection."""
    trace, queued = aiohttp.TraceConfig(), asyncio.Event()

    async def on_queued(*_: object) -> None:
        queued.set()

    trace.on_connection_queued_start.append(on_queued)
    return trace, queued


class SlowResolver(AbstractResolver):
    """Finds 127.0.0.1 under every name, after a while."""

    def __init__(self, pause: float) -> None:
        self.pause = pause

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The address, late."""
        await asyncio.sleep(self.pause)
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        """Nothing to close."""


class ThreadServer:
    """A server in a thread of its own, so that it goes on while this loop is blocked.

    It reads one request, sets `received`, and sends `answer` once `go` is set.
    """

    def __init__(self, answer: bytes) -> None:
        self.received = threading.Event()
        self.go = threading.Event()
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/"

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(10)
            head, _, body = connection.recv(1 << 16).partition(b"\r\n\r\n")
            while len(body) < _length(head):
                body += connection.recv(1 << 16)
            self.received.set()
            self.go.wait(10)
            connection.sendall(self._answer)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._thread.join(10)
        self._listener.close()


def _length(head: bytes) -> int:
    return next(
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if b"content-length" in line
    )
