"""`may_send` is asked right before a body leaves: if it says no, no byte of the body does."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.http_servers import FORM, OK, SlowResolver, queue_trace, raw_server, read_request
from twitchvault.errors import NoAnswer
from twitchvault.http import HTTPClient

if TYPE_CHECKING:
    from types import SimpleNamespace

PAUSE = 0.15
"""Seconds that something takes before the body can leave."""


class Body:
    """A server that keeps what it received."""

    def __init__(self) -> None:
        self.received = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer every request, remember every byte."""
        while True:
            self.received += (await read_request(reader))[1]
            writer.write(OK)


class Asked:
    """What `may_send` is: says yes until `over` is set, and remembers when it was asked."""

    def __init__(self, *, over: bool = False) -> None:
        self.over = over
        self.times: list[float] = []

    def __call__(self) -> bool:
        """Whether the body may leave now."""
        self.times.append(time.monotonic())
        return not self.over


async def refused(client: HTTPClient, url: str) -> float:
    """Send a request that may not leave; the seconds after which that was asked."""
    asked, begun = Asked(over=True), time.monotonic()
    with pytest.raises(NoAnswer) as caught:
        await client.send("POST", url, form=FORM, timeout=10, may_send=asked)
    assert caught.value.too_late
    assert not caught.value.sent
    assert "the time to send it was over" in str(caught.value)
    assert caught.value.__context__ is None
    assert len(asked.times) == 1
    return asked.times[0] - begun


async def test_slow_name_resolution() -> None:
    """The question comes after the name was resolved."""
    body = Body()
    connector = aiohttp.TCPConnector(resolver=SlowResolver(PAUSE))
    client = HTTPClient(client_id="abc", connector=connector)
    async with raw_server(body.serve) as url:
        assert await refused(client, url.replace("127.0.0.1", "slow.invalid")) >= PAUSE
        await client.close()
        await connector.close()
    assert body.received == b""


async def test_slow_tls_handshake() -> None:
    """The question comes after the handshake."""
    client_side, server_side = without_certificates()

    async def answer_late(listener: socket.socket) -> bytes:
        loop = asyncio.get_running_loop()
        accepted, _ = await loop.sock_accept(listener)
        await asyncio.sleep(PAUSE)
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_accepted_socket(
            lambda: asyncio.StreamReaderProtocol(reader), accepted, ssl=server_side
        )
        received = await reader.read()
        transport.close()
        return received

    connector = aiohttp.TCPConnector(ssl=client_side)
    client = HTTPClient(client_id="abc", connector=connector)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        server = asyncio.create_task(answer_late(listener))
        assert await refused(client, f"https://127.0.0.1:{listener.getsockname()[1]}/") >= PAUSE
        async with asyncio.timeout(5):
            # Some releases of aiohttp let the head leave by itself; it holds no secret.
            assert (await server).partition(b"\r\n\r\n")[2] == b""
    await client.close()
    await connector.close()


def without_certificates() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A client's and a server's side of TLS by anonymous keys."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for context in (client, server):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AECDH:@SECLEVEL=0")
    return client, server


async def test_kept_alive_connection_that_is_busy() -> None:
    """The question comes after the wait for a free connection, which can be used again."""
    bodies: list[bytes] = []
    arrived, free = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            bodies.append((await read_request(reader))[1])
            arrived.set()
            await free.wait()
            writer.write(OK)

    connector, (trace, queued) = aiohttp.TCPConnector(limit=1), queue_trace()
    client = HTTPClient(client_id="abc", connector=connector, http_trace=trace)
    async with raw_server(serve) as url:
        first = asyncio.create_task(client.send("POST", url, form={"n": "1"}))
        await arrived.wait()
        late = asyncio.create_task(refused(client, url))
        await queued.wait()
        await asyncio.sleep(PAUSE)
        free.set()
        assert (await first).status == 200
        assert await late >= PAUSE
        assert (await client.send("POST", url, form={"n": "3"})).status == 200
        await client.close()
        await connector.close()
    assert bodies == [b"n=1", b"n=3"]


async def test_slow_trace() -> None:
    """The question comes after the caller's trace, and once; what may leave is sent."""
    trace = aiohttp.TraceConfig()

    async def on_chunk(
        _: aiohttp.ClientSession, __: SimpleNamespace, ___: aiohttp.TraceRequestChunkSentParams
    ) -> None:
        await asyncio.sleep(PAUSE)

    trace.on_request_chunk_sent.append(on_chunk)
    body = Body()
    client = HTTPClient(client_id="abc", http_trace=trace)
    async with raw_server(body.serve) as url:
        assert await refused(client, url) >= PAUSE
        assert body.received == b""
        asked = Asked()
        assert (await client.send("POST", url, form={"n": "1"}, may_send=asked)).status == 200
        assert len(asked.times) == 1
        await client.close()
    assert body.received == b"n=1"
