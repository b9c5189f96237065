"""What a flow opens it closes, also when entering fails; what it was given stays open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.environment import on_each_store, our_tasks
from tests.own_stores import Once, WatchedStore
from twitchvault import (
    Forbidden,
    NoAnswer,
    StoreError,
    StoreUnavailable,
    TokenError,
    TwitchServerError,
)

if TYPE_CHECKING:
    from tests.environment import Environment

pytestmark = pytest.mark.usefixtures("confidential")


@on_each_store
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 403, "body": {"status": 403, "message": "invalid client secret"}}, Forbidden),
        ({"status": 500}, TwitchServerError),
        ({"drop": True}, NoAnswer),
    ],
)
async def test_an_entry_that_fails_leaves_nothing_open(
    env: Environment, fault: dict[str, Any], error: type[Exception]
) -> None:
    """Whatever goes wrong while entering: no task, no session, no store of ours stays open."""
    env.twitch.fail("token:client_credentials", times=None, **fault)
    flow = env.device(store=env.storage.url)
    with pytest.raises(error) as caught:
        async with flow:
            pytest.fail("entered")
    assert not env.shows_secret(caught.value)
    assert flow.application is None
    assert our_tasks() == []
    with pytest.raises(StoreError):
        await flow.sync()
    env.twitch.clear_faults()
    async with flow:
        assert flow.application is not None


async def test_an_entry_beside_one_that_fails(env: Environment) -> None:
    """Of two at once the second does not succeed on a flow that the first has closed."""
    store = WatchedStore(env.storage.store())
    store.before = Once("scan", StoreUnavailable("down"))
    app = env.app(store=store)
    outcomes = await asyncio.gather(app.authorize(), app.authorize(), return_exceptions=True)
    for outcome in outcomes:
        assert isinstance(outcome, StoreError)
    async with app:
        await env.login(app)


@on_each_store
async def test_a_given_store_is_opened_and_stays_open(env: Environment) -> None:
    """A store object is opened by the flow if need be, and closed by nobody but its owner."""
    store = env.storage.store()
    async with env.device(store=store) as flow:
        flow.add_token("1", "a", "r")
    assert await store.get(env.key("1")) is not None
    async with env.device(store=store) as flow:
        assert flow.get_token("1") == ("a", "r")
    assert await store.get(env.key("1")) is not None


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
async def test_a_store_from_a_url_is_closed(env: Environment) -> None:
    """A store made from a URL is closed by `close()` and opened again by `authorize()`."""
    flow = env.device(store=env.storage.url)
    log = env.storage.path.with_name("tokens.db-wal")
    for _ in range(2):
        async with flow:
            flow.add_token("1", "a", "r")
            await flow.flush()
            assert log.exists()
        assert not log.exists(), "the last connection that is closed removes it"


async def test_what_goes_to_aiohttp(env: Environment) -> None:
    """A session or connector passed in is the caller's to close; a trace sees the requests."""
    paths: list[str] = []

    async def note(_: object, __: object, params: aiohttp.TraceRequestStartParams) -> None:
        paths.append(params.url.path)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(note)
    async with aiohttp.ClientSession() as session:
        async with env.device(session=session) as flow:
            assert flow.application is not None
        assert not session.closed
    connector = aiohttp.TCPConnector()
    async with env.device(connector=connector, http_trace=trace):
        assert paths == ["/oauth2/validate"], "the app token is there"
    assert not connector.closed
    await connector.close()


@on_each_store
async def test_two_applications_share_a_store(env: Environment) -> None:
    """Each sees its own users only, as does a flow with `store=None`, a store of its own."""
    async with env.device() as one, env.device(env.public) as two, env.device(store=None) as alone:
        one.add_token("1", "a", "r")
        two.add_token("2", "b", "s")
        for flow in (one, two):
            await flow.flush()
        for flow in (one, two, alone):
            await flow.sync()
        assert set(alone.tokens) == {env.client.client_id}
        assert set(one.tokens) == {"1", env.client.client_id}
        assert set(two.tokens) == {"2"}


@on_each_store
async def test_clear_forgets_here_and_keeps_there(env: Environment) -> None:
    """After `clear()` the flow knows nothing; the store keeps all; `authorize()` begins anew."""
    pair = env.pair(env.confidential)
    async with env.device(env.confidential) as flow:
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        await user.get_user()
        flow.clear()
        assert flow.application is None
        for view in (flow.tokens, flow.tokens_validity, flow.users_scopes, flow.damaged):
            assert dict(view) == {}
        assert flow.get_token(user.user_id) is None
        assert flow.get_token_quota(user.user_id) is None
        with pytest.raises(TokenError):
            flow.get_user_by_id(user.user_id)
        assert await env.is_stored(client=env.confidential)
        await flow.authorize()
        assert flow.application is not None
        assert flow.get_token(user.user_id) == (pair.access_token, pair.refresh_token)
        assert flow.users_scopes[user.user_id] == ("chat:read",)
        assert (await user.get_user()).login == "alice"
    assert env.twitch.counts.app_tokens == 1


@on_each_store
async def test_close_is_idempotent(env: Environment) -> None:
    """Never opened, twice, twice at once: no error, nothing left open, all changes durable."""
    flow = env.device()
    await flow.close()
    await flow.authorize()
    for number in range(50):
        flow.add_token(str(number), "a", "r")
    await asyncio.gather(flow.close(), flow.close())
    await flow.close()
    assert our_tasks() == []
    async with flow, env.device() as other:
        assert len(flow.tokens) == len(other.tokens) == 51, "50 users and the application"
