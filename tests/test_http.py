"""Sending: what an answer is, what no answer is, and whether the service can have acted."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time

import aiohttp
import pytest
from aiohttp import web

from tests.http_servers import (
    FORM,
    OK,
    SECRET,
    SlowResolver,
    ThreadServer,
    answering,
    failure,
    free_port,
    queue_trace,
    raw_server,
    read_request,
    web_server,
)
from twitchvault.errors import ClientException, NoAnswer
from twitchvault.http import LIMIT, HTTPClient


async def test_form_is_sent_urlencoded_with_its_length(client: HTTPClient) -> None:
    """A form leaves as one urlencoded body, encoded once, with a Content-Length, not chunked."""
    seen: list[tuple[bytes, bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nX-Kind: a\r\nContent-Length: 2\r\n\r\nhi")
        await reader.read()

    async with raw_server(serve) as url:
        answer = await client.send("POST", url, form={"a": "x y", "b": "%/=ä"})
        head, body = seen[0]
        lines = head.decode().split("\r\n")
        assert lines[0] == "POST /path?query=here HTTP/1.1"
        assert "Content-Type: application/x-www-form-urlencoded" in lines
        assert f"Content-Length: {len(body)}" in lines
        assert "chunked" not in head.decode().lower()
        assert "User-Agent: twitchvault" in lines
        assert body == b"a=x+y&b=%25%2F%3D%C3%A4"
        assert (answer.status, answer.body, answer.headers["x-kind"]) == (200, b"hi", "a")
        assert repr(answer) == "Answer(status=200, body=<2 bytes>)"
        await client.close()


async def test_requests_that_hang_hold_up_no_other_host(client: HTTPClient) -> None:
    """However many await their answers from one host, another one can be asked."""
    hanging = asyncio.Event()

    async def hang(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await hanging.wait()

    async def serve(_request: web.Request) -> web.Response:
        return web.Response()

    async with raw_server(hang) as slow, web_server(serve) as url:
        calls = [asyncio.create_task(client.send("GET", slow)) for _ in range(150)]
        await asyncio.sleep(0)
        other = url.replace("127.0.0.1", "localhost")
        assert (await client.send("GET", other, timeout=5)).status == 200
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        hanging.set()
        await client.close()


@pytest.mark.parametrize("status", [200, 204, 301, 307, 400, 404, 429, 503])
async def test_every_status_is_an_answer_and_no_redirect_is_followed(
    client: HTTPClient, status: int
) -> None:
    """Any status is returned as it came; a redirect is an answer like the others."""
    paths: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    async with web_server(handler) as url:
        answer = await client.send("POST", url, form=FORM)
    assert answer.status == status
    assert paths == ["/"]


async def test_refused_connection_sent_nothing(client: HTTPClient) -> None:
    """A refused connection names host and port, and proves that nothing was sent."""
    port = free_port()
    error = await failure(client, f"http://user:{SECRET}@127.0.0.1:{port}/p?query=here")
    assert not error.sent
    assert str(error) == f"no answer from 127.0.0.1:{port}: Connection refused"
    get = await failure(client, f"http://127.0.0.1:{port}/", method="GET")
    assert get.sent, "without a body there is nothing to prove it by"


async def test_unknown_host_sent_nothing() -> None:
    """A name that does not resolve is a failure before sending."""

    class Nowhere(aiohttp.abc.AbstractResolver):
        async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[object]:  # type: ignore[override]
            raise socket.gaierror(socket.EAI_NONAME, f"cannot resolve {host}:{port}:{family}")

        async def close(self) -> None:
            """Nothing to close."""

    connector = aiohttp.TCPConnector(resolver=Nowhere())
    client = HTTPClient(client_id="abc", connector=connector)
    error = await failure(client, "https://id.example.invalid/oauth2/token")
    await client.close()
    await connector.close()
    assert not error.sent
    assert str(error) == "no answer from id.example.invalid:443: its name cannot be resolved"


@pytest.mark.parametrize("trickles", [False, True])
@pytest.mark.parametrize(("answer_timeout", "limit"), [(None, "0.2"), (0.8, "0.8")])
async def test_server_that_comes_to_no_end(
    client: HTTPClient, trickles: bool, answer_timeout: float | None, limit: str
) -> None:
    """The time limit bounds the whole answer, silent or in drops; what was sent counts as sent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if trickles:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while trickles:
            writer.write(b"x")
            await asyncio.sleep(0.02)
        await reader.read()

    async with raw_server(serve) as url:
        error = await failure(client, url, timeout=0.2, answer_timeout=answer_timeout)
    assert error.sent
    assert not error.too_late
    assert str(error).endswith(f"nothing came within {limit} s")


@pytest.mark.parametrize("answer_timeout", [None, 300])
@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\ncut off",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot-a-size\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 5\r\n\r\nabcde",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"\x00\x01\x02\xff",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_garbled_answers_are_no_answer(
    client: HTTPClient, garbage: bytes, answer_timeout: float | None
) -> None:
    """What is not HTTP, or is cut off, is no answer; the wait for one ends with the connection."""
    async with raw_server(answering(garbage)) as url:
        error = await failure(client, url, answer_timeout=answer_timeout)
    assert error.sent
    assert garbage or "the connection was closed before an answer came" in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"\r\n" + bytes(LIMIT + 1), id="huge"),
        pytest.param(b"Content-Length: 10000000\r\n\r\n", id="says that it is huge"),
        pytest.param(b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(1 << 28)), id="bomb"),
    ],
)
async def test_a_huge_answer_is_not_read_to_its_end(client: HTTPClient, answer: bytes) -> None:
    """What is beyond the limit is not waited for; it counts what comes out of a compressed one."""
    serve = answering(b"HTTP/1.1 200 OK\r\n", answer, keeps_open=True)
    async with raw_server(serve) as url:
        error = await failure(client, url)
    assert error.sent
    assert str(error).endswith("the answer is longer than 4194304 bytes")


@pytest.mark.parametrize("endless", [b"X-A: b\r\n", b"x" * 1000, b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_an_endless_head_is_no_answer(client: HTTPClient, endless: bytes) -> None:
    """Headers, a header or interim answers without an end are given up in time."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if not endless.startswith(b"HTTP"):
            writer.write(b"HTTP/1.1 200 OK\r\nX-First: ")
        while True:
            writer.write(endless * 100)
            await writer.drain()

    async with raw_server(serve) as url:
        assert (await failure(client, url, timeout=1)).sent


async def test_an_answer_of_the_limit_is_read(client: HTTPClient) -> None:
    """The limit itself is allowed, one byte more is not; a long header does no harm."""

    async def handler(request: web.Request) -> web.Response:
        body = bytes(LIMIT + int(request.query["more"]))
        return web.Response(body=body, headers={"X-Policy": "x" * 50_000})

    async with web_server(handler) as url:
        assert len((await client.send("GET", f"{url}?more=0")).body) == LIMIT
        with pytest.raises(NoAnswer):
            await client.send("GET", f"{url}?more=1")


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_body_is_never_sent_twice(client: HTTPClient, method: str) -> None:
    """On a kept-alive connection that dies in our hands, nothing sends the body again."""
    bodies: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append((await read_request(reader))[1])
        writer.write(OK)
        bodies.append((await read_request(reader))[1])

    async with raw_server(serve) as url:
        await client.send(method, url, form={"n": "1"})
        with pytest.raises(NoAnswer) as caught:
            await client.send(method, url, form={"n": "2"})
        await client.close()
    assert caught.value.sent
    assert bodies == [b"n=1", b"n=2"]


async def test_closed_connector_does_not_look_like_a_cancellation() -> None:
    """Who waits for a connection when the connector is closed gets an error, not a cancellation."""
    got = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        got.set()
        await reader.read()

    connector, (trace, queued) = aiohttp.TCPConnector(limit=1), queue_trace()
    client = HTTPClient(client_id="abc", connector=connector, http_trace=trace)
    async with raw_server(serve) as url:
        first = asyncio.create_task(failure(client, url))
        await got.wait()
        second = asyncio.create_task(failure(client, url))
        await queued.wait()
        await connector.close()
        assert (await first).sent
        assert not (await second).sent
        with pytest.raises(ClientException, match="is closed: pass an open one"):
            await client.send("GET", url)
    await client.close()


async def test_header_that_cannot_be_written_is_no_answer(client: HTTPClient) -> None:
    """A line break in a header is not sent, and its value is not shown."""
    with pytest.raises(NoAnswer) as caught:
        await client.send("GET", "http://127.0.0.1:1/", headers={"A": f"{SECRET}\r\nB: c"})
    assert SECRET not in repr(caught.value)


# Once a body has left, its answer is worth more than any clock


async def test_timeout_does_not_count_once_the_body_has_left(client: HTTPClient) -> None:
    """An answer that comes after `timeout` is read."""

    async with raw_server(answering(OK, pause=0.3)) as url:
        answer = await client.send("POST", url, form=FORM, timeout=0.1, answer_timeout=5)
    assert answer.status == 200


@pytest.mark.parametrize("answer_timeout", [0.3, 1.0])
async def test_a_blocked_loop_throws_no_answer_away(
    client: HTTPClient, answer_timeout: float
) -> None:
    """The loop is blocked for longer than any timer, the answer comes meanwhile: it is read."""
    with ThreadServer(OK) as server:
        task = asyncio.create_task(
            client.send("POST", server.url, form=FORM, timeout=0.3, answer_timeout=answer_timeout)
        )
        await asyncio.to_thread(server.received.wait)
        server.go.set()
        time.sleep(1.3)  # noqa: ASYNC251 - the loop is blocked on purpose
        assert (await task).status == 200


async def test_what_comes_before_sending_is_bounded_by_timeout() -> None:
    """A connection that is not made within `timeout` sends nothing."""
    connector = aiohttp.TCPConnector(resolver=SlowResolver(60))
    client = HTTPClient(client_id="abc", connector=connector)
    error = await failure(client, "http://slow.invalid/", timeout=0.2, answer_timeout=300)
    assert str(error).endswith("nothing came within 0.2 s")
    assert not error.sent
    await client.close()
    await connector.close()
