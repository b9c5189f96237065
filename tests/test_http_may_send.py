"""`may_send` is asked right before a body leaves: if it says no, no byte of the body does."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.http_servers import FORM, OK, SlowResolver, queue_trace, raw_server, read_request
from twitchvault.errors import NoAnswer
from twitchvault.http import HTTPClient

if TYPE_CHECKING:
    from pathlib import Path
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


async def test_a_request_that_may_leave() -> None:
    """It is sent as any other; the question was asked once."""
    body, asked = Body(), Asked()
    client = HTTPClient(client_id="abc")
    async with raw_server(body.serve) as url:
        answer = await client.send("POST", url, form=FORM, may_send=asked)
        assert answer.status == 200
        assert body.received
        assert len(asked.times) == 1
        await client.close()


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


async def test_slow_tls(tmp_path: Path) -> None:
    """The question comes after the TLS handshake."""
    context, trust = certificate(tmp_path)
    loop = asyncio.get_running_loop()

    async def accept_late(listener: socket.socket) -> bytes:
        sock, _ = await loop.sock_accept(listener)
        await asyncio.sleep(PAUSE)
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=context)
        received = await reader.read()
        transport.close()
        return received

    connector = aiohttp.TCPConnector(ssl=trust)
    client = HTTPClient(client_id="abc", connector=connector)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        server = asyncio.create_task(accept_late(listener))
        assert await refused(client, f"https://127.0.0.1:{listener.getsockname()[1]}/") >= PAUSE
        async with asyncio.timeout(5):
            # Some releases of aiohttp let the head leave by itself; it holds no secret.
            assert (await server).partition(b"\r\n\r\n")[2] == b""
    await client.close()
    await connector.close()


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
    """The question comes after the caller's trace, which may take its time."""
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
        assert (await client.send("POST", url, form={"n": "1"})).status == 200
        await client.close()
    assert body.received == b"n=1"


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for 127.0.0.1, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = cert.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "server.pem"
    path.write_bytes(pem)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(
        cadata=cert.public_bytes(serialization.Encoding.PEM).decode()
    )
