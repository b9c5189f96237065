"""Nothing loops, nothing hangs: whatever Twitch answers, requests are few and every call ends."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import tracemalloc
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.own_stores import Broken, Held, WatchedStore
from tests.processes.fleet import all_do
from tests.world import REFRESH, World, our_tasks, until, within
from twitchvault import (
    AuthFailure,
    BadRequest,
    Forbidden,
    HTTPException,
    NoAnswer,
    NotFound,
    StoreError,
    StoreUnavailable,
    TwitchVaultError,
    Unauthorized,
)
from twitchvault.testing.fake import HTML_PAGE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from tests.processes.fleet import Fleet
    from twitchvault import App, UserAPI

pytestmark = pytest.mark.usefixtures("public")

Fault = dict[str, Any]
MAYBE_SPENT: list[Fault] = [
    {"status": 500},
    {"status": 502},
    {"status": 503},
    {"status": 503, "body": HTML_PAGE},
    {"status": 504},
    {"status": 200, "body": HTML_PAGE},
    {"drop": True},
]


def status_of(fault: Fault) -> int:
    """What the double's log says of a request that met this fault."""
    return int(fault.get("status", 0))


async def ends(*calls: Awaitable[object]) -> list[object]:
    """What all these calls come to; those that fail do so with an error of ours."""
    outcomes = list(await within(asyncio.gather(*calls, return_exceptions=True), 20))
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, TwitchVaultError), repr(outcome)
    return outcomes


# One bad answer


async def test_a_429_is_repeated(small: World) -> None:
    """Under the lease, with pauses, and nothing is asked about the old token."""
    async with small.app() as app:
        user = await small.own_pair(app)
        before = len(small.log("token", "validate"))
        small.twitch.fail(REFRESH, status=429, times=2)
        await within(user.refresh(), 5)
        seen = small.log("token", "validate")[before:]
        assert seen == [("token", 429), ("token", 429), ("token", 200)]
    await small.check(exchanges=2)


@pytest.mark.parametrize("fault", MAYBE_SPENT)
async def test_perhaps_spent_but_not(small: World, fault: Fault) -> None:
    """No usable answer: the old access token is asked about. It lives, so it is tried again."""
    async with small.app() as app:
        user = await small.own_pair(app)
        before = len(small.log("token", "validate"))
        small.twitch.fail(REFRESH, **fault)
        await within(user.refresh(), 5)
        seen = small.log("token", "validate")[before:]
        assert seen == [("token", status_of(fault)), ("validate", 200), ("token", 200)]
    await small.check(exchanges=2)


@pytest.mark.parametrize("fault", MAYBE_SPENT)
@pytest.mark.parametrize("accepted_by", ["validation", "helix"])
async def test_spent_and_the_answer_lost(small: World, fault: Fault, accepted_by: str) -> None:
    """Twitch took the old access token a moment ago and now does not: the token is spent.

    It is not sent again. The user has to sign in again, and is told why.
    """
    async with small.app() as app:
        user = await small.own_pair(app)
        await (user.validate() if accepted_by == "validation" else user.get_user())
        before = len(small.log("token", "validate"))
        small.twitch.fail(REFRESH, when="after", **fault)
        with pytest.raises(AuthFailure):
            await within(user.refresh(), 5)
        seen = small.log("token", "validate")[before:]
        assert seen == [("token", status_of(fault)), ("validate", 401)]
        assert small.twitch.counts.replays == 0
        assert "exchanged" in app.needs_login[user.user_id]
        login = small.pair()
        await app.add_user(login.access_token, login.refresh_token)
        assert (await user.get_user()).login == "alice"


@pytest.mark.parametrize("fault", MAYBE_SPENT)
async def test_perhaps_spent_and_the_old_token_was_dead_before(small: World, fault: Fault) -> None:
    """Nothing can be found out: it is sent once more in this lease, and no oftener."""
    async with small.app() as app:
        user = await small.own_pair(app)
        small.twitch.expire_access(user.token)
        before = len(small.log("token", "validate"))
        small.twitch.fail(REFRESH, **fault)
        assert (await within(user.get_user(), 5)).login == "alice"
        seen = small.log("token", "validate")[before:]
        assert seen == [("token", status_of(fault)), ("validate", 401), ("token", 200)]
    await small.check(exchanges=2)


@pytest.mark.parametrize("fault", [{"status": 503}, {"drop": True}])
@pytest.mark.parametrize("alive", [True, False], ids=["alive", "dead"])
async def test_perhaps_spent_again_and_again(small: World, fault: Fault, alive: bool) -> None:
    """It is raised: at once if nothing can be told, else when half of the ttl is over.

    The pair stands, and the lease is free for other processes.
    """
    async with small.app(lease_ttl=2) as app:
        user = await small.own_pair(app)
        if not alive:
            small.twitch.expire_access(user.token)
        before, started = small.sent(), time.monotonic()
        small.twitch.fail(REFRESH, times=None, **fault)
        calls = [user.refresh() if alive else user.get_user() for _ in range(20)]
        outcomes = await ends(*calls)
        assert all(isinstance(outcome, HTTPException) for outcome in outcomes)
        assert time.monotonic() - started < 1.8
        assert 2 <= small.sent() - before <= (4 if alive else 2)
        assert app.get_token(user.user_id) == small.live()
        small.twitch.clear_faults()
        async with small.app() as other:
            await within(other.get_user_by_id(user.user_id).refresh())
    await small.check(exchanges=2)


CONFIGURATION: list[tuple[Fault, type[HTTPException]]] = [
    ({"status": 403, "body": {"status": 403, "message": "invalid client secret"}}, Forbidden),
    ({"status": 400, "body": {"status": 400, "message": "invalid client"}}, BadRequest),
    ({"status": 400, "body": {"status": 400, "message": "missing client secret"}}, BadRequest),
    ({"status": 404}, NotFound),
    ({"status": 400, "body": HTML_PAGE}, BadRequest),
    ({"status": 400, "body": {"error": "invalid_client"}}, BadRequest),
    ({"status": 401, "body": HTML_PAGE}, Unauthorized),
    ({"status": 401, "body": "Invalid refresh token"}, Unauthorized),
    ({"status": 401, "body": {"error": "invalid_client"}}, Unauthorized),
    ({"status": 401, "body": {"status": 401, "message": "not you"}}, Unauthorized),
    ({"status": 418}, HTTPException),
    ({"status": 302, "headers": {"Location": "/elsewhere"}}, HTTPException),
]


@pytest.mark.parametrize(("fault", "kind"), CONFIGURATION)
async def test_configuration(small: World, fault: Fault, kind: type[HTTPException]) -> None:
    """Any other answer is raised as itself after one try, and again without one; all stands."""
    async with small.app() as app:
        user = await small.own_pair(app)
        before = len(small.log("token", "validate"))
        small.twitch.fail(REFRESH, times=None, **fault)
        for _ in range(3):
            outcomes = await ends(*(user.refresh() for _ in range(5)))
            assert [type(outcome) for outcome in outcomes] == [kind] * 5
        assert small.log("token", "validate")[before:] == [("token", fault["status"])]
        assert dict(app.needs_login) == {}
        small.twitch.clear_faults()
        async with small.app() as other:
            await within(other.get_user_by_id(user.user_id).refresh())
    await small.check(exchanges=2)


async def test_after_a_pause_it_is_tried_again(small: World) -> None:
    """What was wrong may have been put right: two seconds later all works."""
    async with small.app() as app:
        user = await small.own_pair(app)
        small.twitch.fail(REFRESH, status=404)
        with pytest.raises(NotFound):
            await user.refresh()

        async def renewed() -> bool:
            with suppress(NotFound):
                return bool(await user.refresh())
            return False

        await until(renewed, 4)
    await small.check(exchanges=2)


@pytest.mark.parametrize(
    "body",
    [
        {"status": 400, "message": "Invalid refresh token"},
        {"error": "Bad Request", "status": 400, "message": "invalid refresh token"},
        {"error": "invalid_grant", "error_description": "Invalid refresh token"},
    ],
)
async def test_refused(small: World, body: dict[str, object]) -> None:
    """One try, and from then on AuthFailure without a request; a living access token is used."""
    async with small.app() as app, small.app() as other:
        user = await small.own_pair(app)
        before = len(small.log("token", "validate"))
        small.twitch.fail(REFRESH, status=400, body=body)
        for each in (app, other, app):
            handle = each.get_user_by_id(user.user_id)
            with pytest.raises(AuthFailure, match="sign in again"):
                await handle.refresh()
            assert "refused" in str(handle.needs_login)
        assert small.log("token", "validate")[before:] == [("token", 400)]
        assert (await user.get_user()).login == "alice"
        small.twitch.expire_access(user.token)
        with pytest.raises(AuthFailure):
            await user.get_user()
        asked = len(small.twitch.requests)
        outcomes = await ends(user.get_user(), other.get_user_by_id(user.user_id).get_user())
        assert [type(outcome) for outcome in outcomes] == [AuthFailure] * 2
        assert len(small.twitch.requests) == asked


async def test_connection_refused(small: World) -> None:
    """Nobody listens: tried for half of the ttl, then raised; once somebody does, all works."""
    app = small.app(lease_ttl=1)
    await app.authorize()
    user = await small.own_pair(app)
    await small.twitch.close()
    started = time.monotonic()
    with pytest.raises(NoAnswer) as caught:
        await within(user.refresh(), 5)
    assert not caught.value.sent
    assert time.monotonic() - started < 2.5
    await small.twitch.start()
    async with small.app() as other:
        await within(other.get_user_by_id(user.user_id).refresh())
    await app.close()
    await small.check(exchanges=2)


# A Twitch that is mad


def mad_answers(user: UserAPI) -> dict[str, Fault]:
    """Answers to a refresh that make no sense, each of them given for ever."""
    app_pair = {"access_token": user.token, "expires_in": 14_000, "token_type": "bearer"}
    return {
        "the same pair": {"body": app_pair | {"refresh_token": "r" * 50, "scope": ["chat:read"]}},
        "no refresh token": {"body": app_pair},
        "a dead pair": {"body": app_pair | {"access_token": "a" * 30, "refresh_token": "r" * 50}},
        "an empty object": {"body": {}},
        "no object": {"body": "[]"},
        "empty tokens": {"body": {"access_token": "", "refresh_token": ""}},
        "numbers": {"body": {"access_token": 7, "refresh_token": 7, "expires_in": "x"}},
        "nothing": {"body": ""},
        "half of it": {"body": '{"access_token": "a'},
        "a page": {"body": HTML_PAGE},
    }


MAD = [
    "the same pair",
    "no refresh token",
    "a dead pair",
    "an empty object",
    "no object",
    "empty tokens",
    "numbers",
    "nothing",
    "half of it",
    "a page",
]


@pytest.mark.parametrize("answer", MAD)
async def test_a_mad_answer_to_every_refresh(small: World, answer: str) -> None:
    """At most three requests of one process, whatever comes back; every call ends."""
    async with small.app() as app:
        user = await small.own_pair(app)
        small.twitch.expire_access(user.token)
        before = small.sent()
        small.twitch.fail(REFRESH, status=200, times=None, **mad_answers(user)[answer])
        for _ in range(5):
            for outcome in await ends(*(user.get_user() for _ in range(10))):
                assert isinstance(outcome, TwitchVaultError)
        assert small.sent() - before <= 3


@pytest.mark.parametrize("refresh", ["the same", "another"])
async def test_twitch_repeats_the_access_token(world: World, refresh: str) -> None:
    """Two processes, call after call: each sends at most three requests, then errors at once."""
    async with world.app() as one, world.app() as two:
        user = await world.own_pair(one)
        world.twitch.expire_access(user.token)
        before = world.sent()
        body = {
            "access_token": user.token,
            "refresh_token": world.live()[1] if refresh == "the same" else "r" * 50,
            "expires_in": 14_000,
            "scope": ["chat:read"],
            "token_type": "bearer",
        }
        world.twitch.fail(REFRESH, status=200, body=body, times=None)
        users = [app.get_user_by_id(user.user_id) for app in (one, two)]
        for _ in range(3):
            await ends(*(each.get_user() for each in users * 10))
        started = time.monotonic()
        outcomes = await ends(*(each.get_user() for each in users * 10))
        assert all(isinstance(outcome, TwitchVaultError) for outcome in outcomes)
        assert time.monotonic() - started < 1
        assert world.sent() - before <= 2 * 3


NOT_VALID: Fault = {"status": 401, "body": {"status": 401, "message": "invalid access token"}}


@pytest.mark.parametrize("cancelled", [False, True])
async def test_every_fresh_token_is_invalid_at_a_login(small: World, cancelled: bool) -> None:
    """`add_user` ends with an error after at most three exchanges; `close()` ends what is left."""
    small.twitch.fail("validate", times=None, **NOT_VALID)
    app = small.app()
    await app.authorize()
    pair = small.pair(expired=True)
    login = asyncio.create_task(app.add_user(pair.access_token, pair.refresh_token))
    if cancelled:
        await until(lambda: small.sent() > 0)
        login.cancel()
        await asyncio.wait({login})
        # Nothing goes on behind the caller's back.
        await asyncio.sleep(0.5)
    else:
        with pytest.raises(TwitchVaultError):
            await within(login, 15)
        for _ in range(3):
            await ends(app.add_user(pair.access_token, pair.refresh_token))
    assert small.sent() <= 3
    await within(app.close(), 5)
    assert our_tasks() == []
    assert small.sent() <= 3
    assert small.twitch.counts.replays == 0


async def test_every_fresh_token_is_invalid_in_the_background(small: World) -> None:
    """Upkeep sends at most three refreshes, then waits for ten seconds and longer."""
    small.twitch.fail("validate", times=None, **NOT_VALID)
    async with small.app(maintain=True) as app:
        pair = small.pair(expired=True)
        app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await until(lambda: small.sent() > 0)
        await asyncio.sleep(2)
        assert small.sent() <= 3
        assert len(small.log("validate")) <= 12
    assert small.twitch.counts.replays == 0


async def test_helix_refuses_what_validates(small: World) -> None:
    """Each call ends with an error, and causes a few refreshes at most."""
    body = {"error": "Unauthorized", "status": 401, "message": "Invalid OAuth token"}
    small.twitch.fail("helix", status=401, body=body, times=None)
    async with small.app() as app:
        user = await small.own_pair(app)
        for _ in range(10):
            outcomes = await ends(*(user.get_user() for _ in range(5)))
            assert all(isinstance(outcome, TwitchVaultError) for outcome in outcomes)
        assert small.sent() <= 1 + 3 * 10
    small.twitch.clear_faults()
    await small.check()


async def test_wall_clocks_that_differ_by_hours(fleet: Fleet) -> None:
    """Processes do not validate each other's work again and again, whatever their clocks say."""
    await fleet.register()
    clocks = (0, 7_200, -7_200, 90_000)
    pairs = [await fleet.pair() for _ in range(3)]
    for clock in clocks:
        await fleet.start(1, clock=clock, maintain=True)
    for pair in pairs:
        await fleet.workers[0].do(
            "add_token",
            user_id=pair.user_id,
            access_token=pair.access_token,
            refresh_token=pair.refresh_token,
        )
    await asyncio.sleep(2.5)
    for pair in pairs:
        # Each may do it once, as none knows what another's clock means.
        assert 1 <= len(await fleet.twitch.validations_of(pair.access_token)) <= len(clocks)
    counts = await fleet.twitch.counts()
    assert (counts.exchanges, counts.replays) == (0, 0)
    await all_do(fleet.workers, "close")


# The store


async def test_a_thousand_failed_leases_leave_nothing_in_memory(small: World) -> None:
    """A store that is read-only for a night does not fill the memory with what failed."""
    store = WatchedStore(small.place.store())
    async with small.app(store=store) as app:
        user = await small.own_pair(app)
        store.before = broken = Broken("put")

        async def fail(times: int) -> int:
            for _ in range(times):
                with pytest.raises(StoreUnavailable):
                    await user.refresh()
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            before = await fail(100)
            grown = await fail(1000) - before
        finally:
            tracemalloc.stop()
        assert grown < 40_000, f"{grown} bytes more"
        broken.down = False
        await app.flush()
    assert small.twitch.counts.exchanges == 1


# Closing


async def closes(app: App, seconds: float, *calls: asyncio.Task[object]) -> None:
    """Close in time; calls that are under way end, too."""
    started = time.monotonic()
    with suppress(StoreError):
        await within(app.close(), seconds + 5)
    assert time.monotonic() - started < seconds + 0.5
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
async def test_close_when_the_store_hangs(small: World, hangs: str) -> None:
    """Five seconds at most, whatever the store does not answer."""
    store = WatchedStore(small.place.store())
    app = small.app(store=store)
    await app.authorize()
    user = app.add_token("1", "a", "r")
    await app.flush()
    store.before = held = Held(hangs)
    calls = [begin(user.refresh()), begin(app.sync())] if hangs != "scan" else []
    app.add_token("2", "a", "r")
    await asyncio.sleep(0.1)
    await closes(app, 5, *calls[:1])
    held.released.set()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_close_when_opening_hangs(small: World) -> None:
    """`close()` during an `authorize()` whose store does not answer: both end."""
    store = WatchedStore(small.place.store())
    store.before = held = Held("scan")
    app = small.app(store=store)
    opening = begin(app.authorize())
    await held.reached.wait()
    await closes(app, 5, opening)


async def test_close_when_twitch_hangs(small: World) -> None:
    """Five seconds at most: requests that are no exchange are given up."""
    pair = small.pair()
    app = small.app(maintain=True)
    await app.authorize()
    gate = small.twitch.hold("validate")
    app.add_token("1", "a", "r")
    login = begin(app.add_user(pair.access_token, pair.refresh_token))
    await gate.reached()
    await closes(app, 5, login)
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


async def test_close_gives_up_what_has_not_been_sent(small: World) -> None:
    """A refresh that has no connection yet is given up at once."""
    with unreachable() as url:
        app = small.app(id_url=url)
        await app.authorize()
        user = app.add_token("1", "a", "r")
        await app.flush()
        refresh = begin(user.refresh())
        await asyncio.sleep(0.1)
        await closes(app, 1, refresh)


async def test_close_gives_up_what_waits_for_another_process(world: World) -> None:
    """A refresh that has not sent anything is given up at once, and sends nothing later."""
    async with world.app() as owner:
        user = await world.own_pair(owner)
        gate, call = await world.committed(user)
        waiting = world.app()
        await waiting.authorize()
        task = asyncio.create_task(waiting.get_user_by_id(user.user_id).refresh())
        await asyncio.sleep(0.1)
        await within(waiting.close(), 1)
        await within(asyncio.wait({task}), 1)
        assert isinstance(task.exception(), TwitchVaultError)
        gate.release()
        await call
    await world.check(exchanges=2)


async def test_close_waits_for_an_exchange_for_the_ttl(small: World) -> None:
    """An answer that never comes holds `close()` up for the ttl and not longer."""
    app = small.app(lease_ttl=1)
    await app.authorize()
    user = await small.own_pair(app)
    gate, call = await small.committed(user)
    started = time.monotonic()
    with suppress(StoreError):
        await within(app.close(), 5)
    assert 0.5 < time.monotonic() - started < 2
    assert our_tasks() == []
    await asyncio.gather(call, return_exceptions=True)
    gate.release()


async def test_many_closers(world: World) -> None:
    """Several tasks may close at once; all return after the exchange is home."""
    app = world.app()
    await app.authorize()
    gate, call = await world.committed(await world.own_pair(app))
    closers = [asyncio.create_task(app.close()) for _ in range(5)]
    await asyncio.sleep(0)
    gate.release()
    await within(asyncio.gather(*closers))
    await call
    await world.check(exchanges=2)
