"""Nothing hangs: `close()` is bounded in time, whatever Twitch or the store does not answer."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.environment import REFRESH, Environment, our_tasks, until, within
from tests.own_stores import Held, WatchedStore
from twitchvault import StoreError, TwitchServerError, TwitchVaultError
from twitchvault.errors import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from twitchvault import App

SLACK = 2.0
"""Seconds that a busy machine may add to a bound."""


async def closes_in(app: App, seconds: float, *calls: asyncio.Task[object]) -> None:
    """Close in time; calls that are under way end, too."""
    started = time.monotonic()
    with suppress(StoreError):
        await within(app.close(), seconds + 10)
    assert time.monotonic() - started < seconds + SLACK
    for call in calls:
        await within(asyncio.wait({call}))
        assert isinstance(call.exception(), TwitchVaultError)
    assert our_tasks() == []


def begin(call: Awaitable[object]) -> asyncio.Task[object]:
    """A call that is under way when the flow is closed."""

    async def run() -> object:
        return await call

    return asyncio.create_task(run())


@pytest.mark.parametrize("hangs", ["put", "get", "scan"])
async def test_close_when_the_store_hangs(env: Environment, hangs: str) -> None:
    """Five seconds at most, whatever the store does not answer."""
    store = WatchedStore(env.storage.store())
    app = env.app(store=store)
    await app.authorize()
    user = app.add_token("1", "a", "r")
    await app.flush()
    store.before = held = Held(hangs)
    call = begin(app.sync() if hangs == "scan" else user.refresh())
    app.add_token("2", "a", "r")
    if hangs != "scan":
        await within(held.reached.wait())
        await closes_in(app, 5, call)
    else:
        await closes_in(app, 5)
    held.released.set()
    await asyncio.gather(call, return_exceptions=True)


async def test_close_when_opening_hangs(env: Environment) -> None:
    """`close()` during an `authorize()` whose store does not answer: both end."""
    store = WatchedStore(env.storage.store())
    store.before = held = Held("scan")
    app = env.app(store=store)
    opening = begin(app.authorize())
    await held.reached.wait()
    await closes_in(app, 5, opening)


async def test_close_when_twitch_hangs(env: Environment) -> None:
    """Five seconds at most: requests that are no exchange are given up."""
    pair = env.pair()
    app = env.app(maintain=True)
    await app.authorize()
    gate = env.twitch.hold("validate")
    app.add_token("1", "a", "r")
    login = begin(app.add_user(pair.access_token, pair.refresh_token))
    await gate.reached()
    await closes_in(app, 5, login)
    gate.release()


@contextmanager
def unreachable() -> Iterator[str]:
    """The address of something that never takes a connection: its queue is full."""
    with ExitStack() as stack:
        silent = stack.enter_context(socket.socket())
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(silent.getsockname())
        host, port = silent.getsockname()
        yield f"http://{host}:{port}/oauth2/"


async def test_close_gives_up_what_has_not_been_sent(env: Environment) -> None:
    """A refresh that has no connection yet is given up at once."""
    connecting = asyncio.Event()

    async def note(*_: object) -> None:
        connecting.set()

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(note)
    with unreachable() as url:
        app = env.app(id_url=url, http_trace=trace)
        await app.authorize()
        user = app.add_token("1", "a", "r")
        await app.flush()
        refresh = begin(user.refresh())
        await within(connecting.wait())
        await closes_in(app, 1, refresh)


async def test_a_dead_owner_is_waited_for_once(env: Environment) -> None:
    """While nobody can say whether its token is spent, calls after the first fail at once."""
    ttl, pair = 8.0, env.pair(expired=True)
    async with env.app(lease_ttl=ttl) as app:
        user = app.add_token(env.alice.user_id, pair.access_token, pair.refresh_token)
        await app.flush()
        await env.lease_of_a_dead_process(user.user_id, ttl)
        env.twitch.fail("validate", status=503, times=2)
        with pytest.raises(TwitchServerError):
            await user.get_user()
        while len(env.log("validate")) < 2:  # calls ask anew once the backoff is over
            started = time.monotonic()
            with pytest.raises(TwitchServerError):
                await user.get_user()
            assert time.monotonic() - started < ttl / 2
            await asyncio.sleep(0.1)
    await env.expect(exchanges=0)


async def test_the_owner_of_a_thousand_leases_died(env: Environment) -> None:
    """Each lease falls due in its time, however many of them are waited for."""
    ttl, dead = 8.0, {"lease": "of a dead process", "lease_ttl": 8.0}
    known = {"schema": 2, "generation": 2, "seeded": False, "last_validated": 1.0}
    pairs = {
        (user := env.twitch.add_user(f"user{number}")).user_id: env.pair(user=user, expired=True)
        for number in range(1_010)
    }
    for user_id, pair in pairs.items():
        tokens = {"access_token": pair.access_token, "refresh_token": pair.refresh_token}
        await env.storage.write(env.key(user_id), json.dumps({**known, **tokens, **dead}).encode())
    async with env.app(lease_ttl=ttl) as app:

        async def renew(user_id: str) -> None:
            with suppress(NoAnswer):  # a busy machine may take longer than a caller waits
                await app.get_user_by_id(user_id).renew(pairs[user_id].access_token)

        await asyncio.gather(*map(renew, pairs))
        await until(lambda: env.twitch.counts.exchanges == len(pairs), seconds=60)
    await env.expect(exchanges=len(pairs), user=user_id)


async def test_close_gives_up_what_waits_for_another_process(env: Environment) -> None:
    """A refresh that has not sent anything is given up at once, and sends nothing later."""
    async with env.app() as owner:
        user = await env.own_pair(owner)
        gate, call = await env.hold_answer(user)
        store = WatchedStore(env.storage.store())
        app = env.app(store=store)
        await app.authorize()
        waiting = begin(app.get_user_by_id(user.user_id).refresh())
        await until(lambda: store.calls["get"])  # it has found the lease
        started = time.monotonic()
        await within(app.close())
        assert time.monotonic() - started < 1 + SLACK
        await within(asyncio.wait({waiting}))
        assert isinstance(waiting.exception(), TwitchVaultError)
        gate.release()
        await call
    await env.expect(exchanges=2)


async def test_close_waits_for_an_exchange_for_the_ttl(env: Environment) -> None:
    """An answer that never comes holds `close()` up for the ttl and not longer."""
    app = env.app(lease_ttl=1)
    await app.authorize()
    user = await env.own_pair(app)
    gate, call = await env.hold_answer(user)
    started = time.monotonic()
    await closes_in(app, 1)
    assert time.monotonic() - started > 0.5
    await asyncio.gather(call, return_exceptions=True)
    gate.release()


async def test_close_says_what_was_sent(env: Environment) -> None:
    """A caller whose seed was exchanged by then is not told that nothing was sent."""
    pair = env.pair(expired=True)
    app = env.app()
    await app.authorize()
    gate = env.twitch.hold(REFRESH, when="after")
    exchange = begin(app.refresh_token(str(pair.refresh_token)))
    await gate.reached()
    asking = env.twitch.hold("validate")
    gate.release()
    await asking.reached()  # the new pair is parked, and whose it is is asked for
    await closes_in(app, 1, exchange)
    asking.release()
    error = exchange.exception()
    assert isinstance(error, NoAnswer)
    assert error.sent
    assert "nothing was sent" not in str(error)
    async with env.app() as app:
        await app.add_user(pair.access_token, pair.refresh_token)
    await env.expect(exchanges=1)
