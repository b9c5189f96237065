"""The double as a process: the same commands as coroutines, and it always ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

import aiohttp
import pytest

from twitchvault.testing import FakeTwitchProcess, RemoteTwitch
from twitchvault.testing.fake import Client, Counts, Pair, Switches, User

from .http import HTTP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COMMAND = (sys.executable, "-m", "twitchvault.testing.fake")


@pytest.fixture
async def twitch() -> AsyncIterator[FakeTwitchProcess]:
    """A double in a process of its own."""
    async with FakeTwitchProcess(seed=7) as twitch:
        yield twitch


async def test_commands_in_another_process(twitch: FakeTwitchProcess) -> None:
    """Values come back as the objects they are; faults, gates, clock and counters work."""
    client = await twitch.register_client(public=True, fast_poll="kill", redirect_uris=["http://a"])
    assert isinstance(client, Client)
    assert (client.public, client.redirect_uris) == (True, ("http://a",))
    assert client.switches == Switches(fast_poll="kill")
    alice = await twitch.add_user("alice")
    assert isinstance(alice, User)
    pair = await twitch.issue(client, alice, ["chat:read"])
    assert isinstance(pair, Pair)
    assert await twitch.live_pair(client, "alice") is not None
    assert await twitch.live_pair(client, await twitch.add_user("bob")) is None
    assert await twitch.is_live(pair.access_token)
    await twitch.configure(user_token_lifetime=2.0)
    await twitch.rename(alice, "alicia")
    async with aiohttp.ClientSession() as session:
        await _drive(HTTP(twitch, session), twitch, client, pair)  # type: ignore[arg-type]
    counts = await twitch.counts()
    assert isinstance(counts, Counts)
    assert (counts.exchanges, counts.expiries, counts.secrets_in_query) == (1, 1, 1)
    assert [entry.endpoint for entry in await twitch.requests()][-1] == "revoke"
    assert [leak.secrets_in_query for leak in await twitch.leaks()] == [("token",)]
    assert pair.refresh_token in await twitch.secrets()


async def _drive(http: HTTP, twitch: FakeTwitchProcess, client: Client, pair: Pair) -> None:
    gate = await twitch.hold("token", when="after")
    task = asyncio.create_task(http.refreshed(client, pair.refresh_token))
    await gate.reached()
    assert not task.done()
    await gate.release()
    access, _ = await task
    assert (await http.validate(access)).json["login"] == "alicia"
    await twitch.advance(2)
    await twitch.fail("validate", status=503)
    assert [(await http.validate(access)).status for _ in range(2)] == [503, 401]
    assert len(await twitch.validations_of(access)) == 2
    await http.send("POST", twitch.id_url + "revoke", params={"token": access})


async def test_errors_come_back(twitch: FakeTwitchProcess) -> None:
    """A refused command raises here what it raised there."""
    with pytest.raises(ValueError, match="unknown client 'nobody'"):
        await twitch.issue("nobody", "alice")
    with pytest.raises(TypeError, match="unknown switch 'no_such'"):
        await twitch.register_client(no_such=1)
    gate = await twitch.hold("token")
    with pytest.raises(TimeoutError, match="0 of 1"):
        await gate.reached(timeout=0.05)
    with pytest.raises(ValueError, match="no command"):
        await twitch.command("close")


async def test_a_second_process_can_attach(twitch: FakeTwitchProcess) -> None:
    """`RemoteTwitch` talks to a double that somebody else started, and leaves it running."""
    async with RemoteTwitch(twitch.url) as other:
        await other.add_user("alice")
    with pytest.raises(ValueError, match="taken"):
        await twitch.add_user("alice")
    with pytest.raises(RuntimeError, match="not connected"):
        await other.now()


async def test_control_needs_json_and_is_off_by_default(
    twitch: FakeTwitchProcess, http: HTTP
) -> None:
    """A form, as a web page could send it, is refused; a double in this process has no control."""
    url, json_type = twitch.url + "/control/secrets", {"Content-Type": "application/json"}
    assert (await http.send("POST", url, data={"kwargs": "{}"})).status == 403
    assert (await http.send("POST", url, data="{", headers=json_type)).status == 400
    url = http.twitch.url + "/control/secrets"
    assert (await http.send("POST", url, json={})).status == 404


async def test_the_process_ends_with_its_context(http: HTTP) -> None:
    """After the block the process is gone, requests held or not; closing again is fine."""
    async with FakeTwitchProcess() as twitch:
        pid = twitch.pid
        gate = await twitch.hold("device")
        task = asyncio.create_task(http.send("POST", twitch.id_url + "device"))
        await gate.reached()
        await asyncio.wait_for(twitch.close(), 10)
        await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("ending", ["pipe", "SIGTERM"])
async def test_by_hand(ending: str) -> None:
    """One JSON line on stdout when ready; ends on a signal or a closed pipe."""
    pipe = asyncio.subprocess.PIPE
    arguments = ["--exit-with-stdin", "--user", "alice"]
    process = await asyncio.create_subprocess_exec(*COMMAND, *arguments, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
        assert (line["pid"], line["id_url"]) == (process.pid, line["url"] + "/oauth2/")
        if ending == "pipe":
            process.stdin.close()
        else:
            process.send_signal(signal.Signals[ending])
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_port_that_is_taken(http: HTTP) -> None:
    """A process that cannot start is an error that says where to look, and leaves nothing."""
    port = int(http.twitch.url.rpartition(":")[2])
    with pytest.raises(RuntimeError, match="ended before it was ready"):
        await FakeTwitchProcess(port).start()
