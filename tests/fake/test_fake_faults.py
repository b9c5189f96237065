"""Faults, latency, gates, and a prompt end."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from twitchvault.testing import FakeTwitch
from twitchvault.testing.fake import HTML_PAGE

from .http import HTTP, public

if TYPE_CHECKING:
    from twitchvault.testing.fake.faults import When


@pytest.mark.parametrize("fault", [{"drop": True}, {"status": 503}, {"delay": 30}])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_before_and_after_the_commit(http: HTTP, when: When, fault: dict[str, Any]) -> None:
    """Before: nothing was spent. After: the pair was rotated, and the next try is a replay."""
    client, pair = public(http)
    http.twitch.fail("token:refresh_token", when=when, **fault)
    with suppress(aiohttp.ClientConnectionError, TimeoutError):
        async with asyncio.timeout(0.2):
            assert (await http.refresh(client, pair.refresh_token)).message == (503, "")
    spent = when == "after"
    assert http.twitch.counts.exchanges == spent
    assert http.twitch.is_live(pair.access_token) is not spent
    assert (await http.refresh(client, pair.refresh_token)).status == (400 if spent else 200)
    assert http.twitch.counts.replays == spent


@pytest.mark.parametrize(
    ("fault", "text", "content_type"),
    [
        ({"status": 404}, "404 page not found\n", "text/plain; charset=utf-8"),
        ({"status": 503}, '{"status":503,"message":""}\n', "application/json"),
        ({"status": 503, "body": HTML_PAGE}, HTML_PAGE, "text/html"),
        ({"status": 502, "body": ""}, "", None),
        ({"body": {"error": "slow"}}, '{"error":"slow"}\n', "application/json"),
        ({"status": 200, "body": "{", "content_type": "text/html"}, "{", "text/html"),
    ],
)
async def test_answers_of_faults(
    http: HTTP, fault: dict[str, Any], text: str, content_type: str | None
) -> None:
    """A fault sends what it says, or what the service usually sends with that status."""
    _, pair = public(http)
    http.twitch.fail("validate", headers={"X-Fault": "1"}, **fault)
    reply = await http.validate(pair.access_token)
    assert (reply.status, reply.text) == (fault.get("status", 500), text)
    assert reply.headers.get("Content-Type") == content_type
    assert reply.headers["X-Fault"] == "1"
    assert (await http.validate(pair.access_token)).status == 200


async def test_times_and_match(http: HTTP) -> None:
    """A fault hits the requests it names, so many times; None until it is cleared."""
    client, pair = public(http)
    http.twitch.fail("token:device", status=500)
    await http.refreshed(client, pair.refresh_token)
    assert (await http.poll(client, "x")).status == 500
    pair = http.twitch.issue(client, "alice")
    other = http.twitch.register_client(public=True)
    http.twitch.fail("device", status=500, times=2, match={"client_id": client.client_id})
    assert (await http.device(other)).status == 200
    assert [(await http.device(client)).status for _ in range(3)] == [500, 500, 200]
    http.twitch.fail("validate", status=500, times=None)
    assert [(await http.validate(pair.access_token)).status for _ in range(3)] == [500] * 3
    http.twitch.clear_faults()
    assert (await http.validate(pair.access_token)).status == 200


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"endpoint": "tokens", "status": 500}, "'endpoint': 'tokens' is none of"),
        ({"endpoint": "token"}, "give one of 'status', 'body', 'drop' and 'delay'"),
        ({"endpoint": "token", "status": 500, "when": "later"}, "'when': expected 'before'"),
    ],
)
def test_a_fault_that_could_never_happen_is_refused(arguments: dict[str, Any], text: str) -> None:
    """Misspelt faults fail at once instead of never."""
    with pytest.raises(ValueError, match=text):
        FakeTwitch().fail(**arguments)


async def test_slow_headers_and_slow_body(http: HTTP) -> None:
    """Latency before the headers and in the middle of the body, until switched off."""
    _, pair = public(http)
    url = http.twitch.id_url + "validate"
    headers = {"Authorization": f"OAuth {pair.access_token}"}
    http.twitch.delay("validate", headers=0.1, body=(0.1, 0.12))
    started = time.monotonic()
    async with http.session.get(url, headers=headers) as answer:
        to_headers = time.monotonic() - started
        await answer.json()
        to_body = time.monotonic() - started
    assert to_headers >= 0.09
    assert to_body - to_headers >= 0.09
    http.twitch.delay("validate", headers=60)
    http.twitch.delay("validate")
    async with asyncio.timeout(10):
        await http.validate(pair.access_token)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_gate(http: HTTP, when: When) -> None:
    """A gate holds requests before or after their commit until it opens; then all pass.

    Waiting for requests is bounded, and says what came. A request that was held goes on though its
    client has gone.
    """
    client, pair = public(http)
    gate = http.twitch.hold("token", when=when)
    with pytest.raises(TimeoutError, match="0 of 2 requests came to 'token'"):
        await gate.reached(2, timeout=0.05)
    task = asyncio.create_task(http.refresh(client, pair.refresh_token))
    await gate.reached()
    assert http.twitch.counts.exchanges == (when == "after")
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    end = http.twitch.hold("token", when="after")
    gate.release()
    if when == "before":
        await end.reached()
    end.release()
    assert http.twitch.counts.exchanges == 1
    assert (await http.refresh(client, "garbage")).status == 400
    assert gate.arrived == 1


async def test_close_is_prompt_and_a_new_start_knows_the_tokens() -> None:
    """Held, slow and idle connections do not delay the end; both can be called twice.

    While closed the port refuses; a new start listens there again.
    """
    async with aiohttp.ClientSession() as session:
        twitch = FakeTwitch()
        with pytest.raises(RuntimeError, match="not running"):
            _ = twitch.id_url
        for _ in range(2):
            await twitch.start()
        http, url = HTTP(twitch, session), twitch.url
        client, pair = public(http)
        await http.validate(pair.access_token)
        gate, arrival = twitch.hold("token"), twitch.hold("validate")
        twitch.fail("validate", delay=60)
        held = asyncio.create_task(http.refresh(client, pair.refresh_token))
        slow = asyncio.create_task(http.validate(pair.access_token))
        await asyncio.gather(gate.reached(), arrival.reached())
        arrival.release()
        started = time.monotonic()
        for _ in range(2):
            await twitch.close()
        assert time.monotonic() - started < 1
        ended = await asyncio.gather(held, slow, return_exceptions=True)
        assert all(isinstance(end, aiohttp.ClientError) for end in ended)
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.validate(pair.access_token)
        twitch.clear_faults()
        async with twitch:
            assert twitch.url == url
            assert (await http.validate(pair.access_token)).status == 200
