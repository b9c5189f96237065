"""What a flow opens it closes, also when entering fails; what it was given stays open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.own_stores import OwnStore
from tests.world import our_tasks, said, within
from twitchvault import Forbidden, NoAnswer, StoreError, TwitchServerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.world import World
    from twitchvault import Entry


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 403, "body": {"status": 403, "message": "invalid client secret"}}, Forbidden),
        ({"status": 500}, TwitchServerError),
        ({"drop": True}, NoAnswer),
    ],
)
async def test_an_entry_that_fails_leaves_nothing_open(
    world: World, fault: dict[str, Any], error: type[Exception]
) -> None:
    """Whatever goes wrong while entering: no task, no session, no store of ours stays open."""
    world.twitch.fail("token:client_credentials", times=None, **fault)
    url = "memory://" if world.place.kind == "memory" else f"sqlite:///{world.place.path}"
    flow = world.device(store=url)
    with pytest.raises(error) as caught:
        async with flow:
            pytest.fail("entered")
    assert world.client.client_secret is not None
    assert world.client.client_secret not in said(caught.value)
    assert flow.application is None
    assert our_tasks() == []
    with pytest.raises(StoreError):
        await flow.sync()
    world.twitch.clear_faults()
    async with flow:
        assert flow.application is not None


async def test_an_entry_that_is_cancelled_leaves_nothing_open(world: World) -> None:
    """Cancelling `async with` half-way closes what was opened."""
    flow = world.device()
    with world.twitch.hold("token:client_credentials") as gate:
        task = asyncio.create_task(flow.__aenter__())
        await gate.reached()
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()
    assert our_tasks() == []


class Unopenable(OwnStore):
    """A database that is not there; its driver's error tells the password."""

    async def open(self) -> None:
        """Fail as a driver does."""
        raise ConnectionError("no route to db://user:hunter2@host")

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """Not reached."""
        raise AssertionError(prefix)
        yield


async def test_a_store_that_cannot_be_opened_is_a_store_error(small: World) -> None:
    """A driver's exception never reaches a user unmapped, also not from `open`."""
    flow = small.device(store=Unopenable())
    with pytest.raises(StoreError) as caught:
        await flow.authorize()
    assert "hunter2" not in said(caught.value)


async def test_a_given_store_is_opened_and_stays_open(world: World) -> None:
    """A store object is opened by the flow if need be, and closed by nobody but its owner."""
    store = world.place.store()
    async with world.device(store=store) as flow:
        flow.add_token("1", "a", "r")
    assert await store.get(world.key("1")) is not None
    async with world.device(store=store) as flow:
        assert flow.get_token("1") == ("a", "r")
    assert await store.get(world.key("1")) is not None


async def test_a_store_from_a_url_is_closed(world: World) -> None:
    """A store made from a URL is closed by `close()` and opened again by `authorize()`."""
    url = "memory://" if world.place.kind == "memory" else f"sqlite:///{world.place.path}"
    flow = world.device(store=url)
    log = world.place.path.with_name(world.place.path.name + "-wal")
    for _ in range(2):
        async with flow:
            flow.add_token("1", "a", "r")
            await flow.flush()
            assert log.exists() is (world.place.kind == "sqlite")
        assert not log.exists(), "the last connection that is closed removes it"


async def test_without_a_store_each_flow_has_its_own(small: World) -> None:
    """`store=None` is a private MemoryStore."""
    async with small.device(store=None) as one, small.device(store=None) as other:
        one.add_token("1", "a", "r")
        await one.flush()
        await other.sync()
        assert "1" not in other.tokens


async def test_a_given_session_and_connector_stay_open(small: World) -> None:
    """What the caller passed in is the caller's to close."""
    async with aiohttp.ClientSession() as session:
        async with small.device(session=session) as flow:
            assert flow.application is not None
        assert not session.closed
    connector = aiohttp.TCPConnector()
    async with small.device(connector=connector):
        pass
    assert not connector.closed
    await connector.close()


async def test_a_trace_sees_the_requests(small: World) -> None:
    """`http_trace` goes to aiohttp; a session of one's own brings its own."""
    seen: list[str] = []

    async def note(_: object, __: object, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(params.url.path)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(note)
    async with small.device(http_trace=trace):
        pass
    assert seen == ["/oauth2/token"]
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ValueError, match="'http_trace'"):
            small.device(session=session, http_trace=trace)


async def test_two_authorize_at_once(world: World) -> None:
    """Two tasks that authorize the same flow at once do no harm."""
    flow = world.device()
    await within(asyncio.gather(flow.authorize(), flow.authorize(), flow.authorize()))
    assert flow.application is not None
    assert list(flow.tokens) == [world.client.client_id]
    await flow.close()
    assert our_tasks() == []


async def test_two_applications_share_a_store(world: World) -> None:
    """Each sees its own users only."""
    other = world.twitch.register_client()
    async with world.device() as one, world.device(other) as two:
        one.add_token("1", "a", "r")
        two.add_token("2", "b", "s")
        await one.flush()
        await two.flush()
        await one.sync()
        await two.sync()
        assert set(one.tokens) == {"1", world.client.client_id}
        assert set(two.tokens) == {"2", other.client_id}
