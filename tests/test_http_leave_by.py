"""The time by which a request has to leave: past it, no byte of its body does."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import sys
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.http_servers import FORM, OK, raw_server, read_request, until
from twitchvault.errors import NoAnswer
from twitchvault.http import HTTPClient

if TYPE_CHECKING:
    from types import SimpleNamespace

LIFE = 0.15
"""Seconds until the requests of these tests have to have left."""


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


class Body:
    """A server that keeps what it received."""

    def __init__(self) -> None:
        self.received = b""
        self.requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer every request, remember every byte."""
        while True:
            head, body = await read_request(reader)
            self.received += body
            self.requests += 1
            assert head
            writer.write(OK)


async def too_late(client: HTTPClient, url: str) -> None:
    """Send a request that leaves too late, and check that this is what is said."""
    with pytest.raises(NoAnswer) as caught:
        await client.send("POST", url, form=FORM, timeout=10, leave_by=time.monotonic() + LIFE)
    assert caught.value.too_late
    assert not caught.value.sent
    assert "the time it had to leave by had passed" in str(caught.value)
    assert caught.value.__context__ is None


async def test_time_to_leave_that_is_not_over_changes_nothing() -> None:
    """A request that leaves in time is sent as any other."""
    body = Body()
    client = HTTPClient(client_id="abc")
    async with raw_server(body.serve) as url:
        answer = await client.send("POST", url, form=FORM, leave_by=time.monotonic() + 30)
        assert answer.status == 200
        assert body.received
        await client.close()


async def test_time_that_is_over_connects_to_nothing() -> None:
    """A request that is late from the start does not even connect."""
    connected = asyncio.Event()

    async def serve(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        connected.set()

    client = HTTPClient(client_id="abc")
    async with raw_server(serve) as url:
        with pytest.raises(NoAnswer) as caught:
            await client.send("POST", url, form=FORM, leave_by=time.monotonic())
        assert caught.value.too_late
        await client.close()
    assert not connected.is_set()


async def test_slow_name_resolution() -> None:
    """A name that takes too long to resolve keeps the body at home."""
    body = Body()
    connector = aiohttp.TCPConnector(resolver=SlowResolver(LIFE * 2))
    client = HTTPClient(client_id="abc", connector=connector)
    async with raw_server(body.serve) as url:
        await too_late(client, url.replace("127.0.0.1", "slow.invalid"))
        await client.close()
        await connector.close()
    assert body.received == b""


async def test_slow_tls(tmp_path: Path) -> None:
    """A TLS handshake that takes too long keeps the body at home."""
    context, trust = certificate(tmp_path)
    loop = asyncio.get_running_loop()

    async def shake_hands_late(listener: socket.socket) -> bytes:
        sock, _ = await loop.sock_accept(listener)
        await asyncio.sleep(LIFE * 2)
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
        server = asyncio.create_task(shake_hands_late(listener))
        await too_late(client, f"https://127.0.0.1:{listener.getsockname()[1]}/")
        async with asyncio.timeout(5):
            # Some releases of aiohttp let the head leave by itself; it holds no secret.
            assert (await server).partition(b"\r\n\r\n")[2] == b""
    await client.close()
    await connector.close()


async def test_slow_proxy() -> None:
    """A proxy that takes too long to open the tunnel keeps the body at home."""
    rest = b"unread"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal rest
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(LIFE * 2)
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        rest = await reader.read()

    async with raw_server(serve) as url:
        client = HTTPClient(client_id="abc", proxy=url.partition("/path")[0])
        with pytest.raises(NoAnswer) as caught:
            await client.send(
                "POST", "https://a.invalid/", form=FORM, leave_by=time.monotonic() + LIFE
            )
        await client.close()
        await until(lambda: rest != b"unread")
    assert not caught.value.sent
    assert rest == b""


async def test_kept_alive_connection_that_is_busy() -> None:
    """Waiting for a kept-alive connection counts too: the clock is looked at after it."""
    bodies: list[bytes] = []
    free = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            bodies.append((await read_request(reader))[1])
            await free.wait()
            writer.write(OK)

    connector = aiohttp.TCPConnector(limit=1)
    client = HTTPClient(client_id="abc", connector=connector)
    async with raw_server(serve) as url:
        first = asyncio.create_task(client.send("POST", url, form={"n": "1"}))
        await until(lambda: bodies)
        late = asyncio.create_task(too_late(client, url))
        await until(lambda: connector._waiters)
        await asyncio.sleep(LIFE * 2)
        free.set()
        assert (await first).status == 200
        await late
        assert (await client.send("POST", url, form={"n": "3"})).status == 200
        await client.close()
        await connector.close()
    assert bodies == [b"n=1", b"n=3"]


async def test_slow_trace() -> None:
    """A trace that takes its time is waited for before the clock is looked at."""
    trace = aiohttp.TraceConfig()

    async def on_chunk(
        _: aiohttp.ClientSession, __: SimpleNamespace, ___: aiohttp.TraceRequestChunkSentParams
    ) -> None:
        await asyncio.sleep(LIFE * 2)

    trace.on_request_chunk_sent.append(on_chunk)
    body = Body()
    client = HTTPClient(client_id="abc", http_trace=trace)
    async with raw_server(body.serve) as url:
        await too_late(client, url)
        assert body.received == b""
        assert (await client.send("POST", url, form={"n": "1"})).status == 200
        await client.close()
    assert body.received == b"n=1"


PROGRAM = """
import asyncio, sys, time
import aiohttp
from tests.test_http_leave_by import LIFE, SlowResolver
from twitchvault.errors import NoAnswer
from twitchvault.http import HTTPClient

class Resolver(SlowResolver):
    async def resolve(self, *args, **kwargs):
        print(leave_by, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        return await super().resolve(*args, **kwargs)

async def main(url):
    connector = aiohttp.TCPConnector(resolver=Resolver(0))
    client = HTTPClient(client_id="abc", connector=connector)
    try:
        await client.send("POST", url, form={"secret": "x"}, leave_by=leave_by)
    except NoAnswer as error:
        print(error.too_late, error.sent, flush=True)
    await client.close()
    await connector.close()

leave_by = time.monotonic() + LIFE * 3
asyncio.run(main(sys.argv[1]))
"""


async def test_stopped_process() -> None:
    """A process that was stopped while it connected sends nothing when it goes on too late."""
    body = Body()
    async with raw_server(body.serve) as url:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROGRAM,
            url.replace("127.0.0.1", "slow.invalid"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[1],
        )
        assert child.stdin is not None
        assert child.stdout is not None
        leave_by = float(await child.stdout.readline())
        os.kill(child.pid, signal.SIGSTOP)
        child.stdin.write(b"\n")
        await asyncio.sleep(leave_by - time.monotonic() + 0.05)
        os.kill(child.pid, signal.SIGCONT)
        assert await child.stdout.readline() == b"True False\n"
        assert await child.wait() == 0
    assert body.received == b""


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
