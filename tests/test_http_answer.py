"""`answer_timeout`: once a body has left, its answer is worth more than any clock."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.http_servers import FORM, OK, ThreadServer, raw_server, read_request
from tests.test_http_may_send import SlowResolver
from twitchvault.errors import NoAnswer
from twitchvault.http import HTTPClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

import aiohttp


@pytest.fixture
async def client() -> AsyncIterator[HTTPClient]:
    """A client with a session of its own."""
    client = HTTPClient(client_id="abc")
    yield client
    await client.close()


async def test_timeout_does_not_count_once_the_body_has_left(client: HTTPClient) -> None:
    """An answer that comes after `timeout` is read."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.sleep(0.3)
        writer.write(OK)

    async with raw_server(serve) as url:
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
        time.sleep(2.5)  # noqa: ASYNC251 - the loop is blocked on purpose
        assert (await task).status == 200


PROGRAM = """
import asyncio, sys
from twitchvault.http import HTTPClient

async def main(url):
    client = HTTPClient(client_id="abc")
    answer = await client.send("POST", url, form={"a": "b"}, timeout=1, answer_timeout=1)
    print(answer.status, flush=True)
    await client.close()

asyncio.run(main(sys.argv[1]))
"""


async def test_a_stopped_process_throws_no_answer_away() -> None:
    """A process is stopped for longer than any timer while its answer arrives: it is read."""
    started: asyncio.Future[asyncio.subprocess.Process] = asyncio.Future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        child = await started
        os.kill(child.pid, signal.SIGSTOP)
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(2.5)
        os.kill(child.pid, signal.SIGCONT)
        await reader.read()

    async with raw_server(serve) as url:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROGRAM,
            url,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[1],
        )
        started.set_result(child)
        output, _ = await child.communicate()
        assert output == b"200\n"


@pytest.mark.parametrize("trickles", [False, True])
async def test_the_answer_is_not_awaited_for_ever(client: HTTPClient, trickles: bool) -> None:
    """A server that is silent, or never comes to an end, is given up after `answer_timeout`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if trickles:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while trickles:
            writer.write(b"x")
            await asyncio.sleep(0.02)
        await reader.read()

    async with raw_server(serve) as url:
        with pytest.raises(NoAnswer, match="nothing came within 1\\.2 s") as caught:
            await client.send("POST", url, form=FORM, timeout=0.3, answer_timeout=1.2)
    assert caught.value.sent


async def test_a_dead_connection_ends_the_wait(client: HTTPClient) -> None:
    """The answer is awaited only as long as its connection lives."""

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)

    async with raw_server(serve) as url:
        with pytest.raises(NoAnswer, match="closed before an answer came") as caught:
            await client.send("POST", url, form=FORM, answer_timeout=300)
    assert caught.value.sent


async def test_what_comes_before_sending_is_bounded_by_timeout() -> None:
    """A connection that is not made within `timeout` sends nothing."""
    connector = aiohttp.TCPConnector(resolver=SlowResolver(60))
    client = HTTPClient(client_id="abc", connector=connector)
    with pytest.raises(NoAnswer, match="nothing came within 0\\.2 s") as caught:
        await client.send(
            "POST", "http://slow.invalid/", form=FORM, timeout=0.2, answer_timeout=300
        )
    assert not caught.value.sent
    await client.close()
    await connector.close()


async def test_a_cancelled_caller(client: HTTPClient) -> None:
    """Cancelling the caller gives the connection up at once, also while the answer is awaited."""
    got, gone = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        got.set()
        await reader.read()
        gone.set()

    async with raw_server(serve) as url, asyncio.timeout(5):
        task = asyncio.create_task(client.send("POST", url, form=FORM, answer_timeout=300))
        await got.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone.wait()


def test_a_client_serves_successive_event_loops() -> None:
    """A session that a loop has left behind is replaced on the next one."""
    client = HTTPClient(client_id="abc")

    async def use() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        async with raw_server(serve) as url:
            assert (await client.send("POST", url, form=FORM)).status == 200

    asyncio.run(use())
    asyncio.run(use())
    asyncio.run(client.close())
