"""Weather: lost answers, faults, latency, gates, and a prompt end."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from twitchvault.testing import FakeTwitch
from twitchvault.testing.fake import HTML_PAGE

from .http import HTTP, public


async def test_dropped_before_the_commit(http: HTTP) -> None:
    """Nothing was spent: the same refresh token works at the next try."""
    client, pair = public(http)
    http.twitch.fail("token:refresh_token", drop=True)
    with pytest.raises(aiohttp.ClientConnectionError):
        await http.refresh(client, pair.refresh_token)
    assert http.twitch.is_live(pair.access_token)
    await http.refreshed(client, pair.refresh_token)
    assert http.twitch.counts.replays == 0
    assert [entry.status for entry in http.twitch.requests] == [0, 200]


async def test_dropped_after_the_commit(http: HTTP) -> None:
    """The pair was rotated and its answer lost: the next try is a replay."""
    client, pair = public(http)
    http.twitch.fail("token:refresh_token", drop=True, when="after")
    with pytest.raises(aiohttp.ClientConnectionError):
        await http.refresh(client, pair.refresh_token)
    lost = http.twitch.live_pair(client, "alice")
    assert lost is not None
    assert lost.refresh_token != pair.refresh_token
    assert (await http.refresh(client, pair.refresh_token)).status == 400
    assert http.twitch.counts.replays == 1


@pytest.mark.parametrize(("when", "exchanges"), [("before", 0), ("after", 1)])
async def test_status_before_and_after(http: HTTP, when: str, exchanges: int) -> None:
    """A 503 looks the same whether or not the change was committed."""
    client, pair = public(http)
    http.twitch.fail("token", status=503, when=when)  # type: ignore[arg-type]
    assert (await http.refresh(client, pair.refresh_token)).message == (503, "")
    assert http.twitch.counts.exchanges == exchanges


async def test_late_after_the_commit(http: HTTP) -> None:
    """The answer comes after the client's patience; the change is committed all the same."""
    client, pair = public(http)
    http.twitch.fail("token", delay=30, when="after")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await http.refresh(client, pair.refresh_token)
    assert http.twitch.counts.exchanges == 1


@pytest.mark.parametrize(
    ("fault", "status", "text", "content_type"),
    [
        ({"status": 429}, 429, "", "application/json"),
        ({"status": 404}, 404, "404 page not found\n", "text/plain"),
        ({"status": 500}, 500, '{"status":500,"message":""}\n', "application/json"),
        ({"status": 503, "body": HTML_PAGE}, 503, HTML_PAGE, "text/html"),
        ({"status": 502, "body": ""}, 502, "", "application/json"),
        ({"status": 400, "body": {"error": "slow_down"}}, 400, '{"error":"slow_down"}\n', None),
        ({"status": 200, "body": "{", "content_type": "text/html"}, 200, "{", "text/html"),
    ],
)
async def test_canned_answers(
    http: HTTP, fault: dict[str, object], status: int, text: str, content_type: str | None
) -> None:
    """A fault sends what it says, or what the service usually sends with that status."""
    _, pair = public(http)
    http.twitch.fail("validate", headers={"X-Fault": "1"}, **fault)  # type: ignore[arg-type]
    reply = await http.validate(pair.access_token)
    assert (reply.status, reply.text) == (status, text)
    assert reply.headers["Content-Type"] == (content_type or "application/json")
    assert reply.headers["X-Fault"] == "1"
    assert (await http.validate(pair.access_token)).status == 200


async def test_helix_faults_have_three_keys(http: HTTP) -> None:
    """A fault on Helix has Helix's body."""
    client, pair = public(http)
    http.twitch.fail("helix", status=500)
    reply = await http.helix(client, pair.access_token)
    assert reply.json == {"error": "Internal Server Error", "status": 500, "message": ""}


async def test_times_and_match(http: HTTP) -> None:
    """A fault hits the requests it names, so many times; None until it is cleared."""
    client, pair = public(http)
    other = http.twitch.register_client(public=True)
    http.twitch.fail("device", status=500, times=2, match={"client_id": client.client_id})
    assert (await http.device(other)).status == 200
    assert [(await http.device(client)).status for _ in range(3)] == [500, 500, 200]
    http.twitch.fail("validate", status=500, times=None)
    assert [(await http.validate(pair.access_token)).status for _ in range(3)] == [500] * 3
    http.twitch.clear_faults()
    assert (await http.validate(pair.access_token)).status == 200


async def test_a_finer_endpoint_spares_the_other_grants(http: HTTP) -> None:
    """A fault on device polls does not touch refreshes."""
    client, pair = public(http)
    http.twitch.fail("token:device", status=500)
    await http.refreshed(client, pair.refresh_token)
    assert (await http.poll(client, "x")).status == 500


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"endpoint": "tokens", "status": 500}, "'endpoint': 'tokens' is none of"),
        ({"endpoint": "token"}, "give one of 'status', 'body', 'drop' and 'delay'"),
        ({"endpoint": "token", "status": 500, "when": "later"}, "'when': expected 'before'"),
    ],
)
async def test_a_fault_that_could_never_happen_is_refused(
    arguments: dict[str, object], text: str
) -> None:
    """Misspelt faults fail at once instead of never."""
    with pytest.raises(ValueError, match=text):
        FakeTwitch().fail(**arguments)  # type: ignore[arg-type]


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


@pytest.mark.parametrize(("when", "exchanges"), [("before", 0), ("after", 1)])
async def test_gate(http: HTTP, when: str, exchanges: int) -> None:
    """A gate holds requests before or after their commit until it opens; then all pass."""
    client, pair = public(http)
    gate = http.twitch.hold("token", when=when)  # type: ignore[arg-type]
    task = asyncio.create_task(http.refresh(client, pair.refresh_token))
    await gate.reached()
    assert http.twitch.counts.exchanges == exchanges
    assert not task.done()
    gate.release()
    assert (await task).status == 200
    assert (await http.refresh(client, "garbage")).status == 400
    assert gate.arrived == 1


async def test_a_cancelled_client_does_not_stop_the_server(http: HTTP) -> None:
    """A request that has arrived is carried out though the client has gone."""
    client, pair = public(http)
    gate = http.twitch.hold("token")
    task = asyncio.create_task(http.refresh(client, pair.refresh_token))
    await gate.reached()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    after = http.twitch.hold("token", when="after")
    gate.release()
    await after.reached()
    assert http.twitch.counts.exchanges == 1


async def test_nobody_at_the_gate(http: HTTP) -> None:
    """Waiting at a gate is bounded, and says what came."""
    gate = http.twitch.hold("token")
    with pytest.raises(TimeoutError, match="0 of 2 requests came to 'token'"):
        await gate.reached(2, timeout=0.05)


async def test_close_is_prompt_with_requests_open() -> None:
    """Held, slow and idle connections do not delay the end; closing twice is fine."""
    async with aiohttp.ClientSession() as session:
        twitch = FakeTwitch()
        await twitch.start()
        await twitch.start()
        http = HTTP(twitch, session)
        client, pair = public(http)
        await http.validate(pair.access_token)
        gate = twitch.hold("token")
        twitch.fail("validate", delay=60)
        tasks = [
            asyncio.create_task(http.refresh(client, pair.refresh_token)),
            asyncio.create_task(http.validate(pair.access_token)),
        ]
        await gate.reached()
        started = time.monotonic()
        await twitch.close()
        await twitch.close()
        assert time.monotonic() - started < 1
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, aiohttp.ClientError) for end in ended)


async def test_down_and_up_again() -> None:
    """While closed the port refuses; a new start listens there again and knows the tokens."""
    twitch = FakeTwitch()
    with pytest.raises(RuntimeError, match="not running"):
        _ = twitch.id_url
    async with aiohttp.ClientSession() as session:
        http = HTTP(twitch, session)
        _, pair = public(http)
        await twitch.start()
        before = twitch.url
        await twitch.close()
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.validate(pair.access_token)
        await twitch.start()
        assert twitch.url == before
        assert (await http.validate(pair.access_token)).status == 200
        await twitch.close()


async def test_no_control_unless_asked(http: HTTP) -> None:
    """A double in the process has no control API."""
    reply = await http.send("POST", http.twitch.url + "/control/counts", json={})
    assert reply.status == 404
