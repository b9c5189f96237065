"""`answer_timeout`: once a body has left, its answer is worth more than any clock."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from tests.http_servers import (
    FORM,
    OK,
    SlowResolver,
    ThreadServer,
    failure,
    raw_server,
    read_request,
)
from twitchvault.http import HTTPClient


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
