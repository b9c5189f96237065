"""Nothing loops: whatever Twitch answers, requests are few and every call ends."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.environment import REFRESH, Environment, on_each_store, our_tasks, until, within
from tests.own_stores import Broken, WatchedStore
from tests.processes.fleet import all_do
from twitchvault import (
    AuthFailure,
    BadRequest,
    Forbidden,
    HTTPException,
    NoAnswer,
    NotFound,
    StoreUnavailable,
    TwitchVaultError,
    Unauthorized,
)
from twitchvault.testing.fake import HTML_PAGE

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.processes.fleet import Fleet

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
    """The status in the double's log of a request with this fault."""
    return int(fault.get("status", 0))


async def outcomes_of(*calls: Awaitable[object]) -> list[object]:
    """What all these calls come to; those that fail do so with an error of ours."""
    outcomes = list(await within(asyncio.gather(*calls, return_exceptions=True), 30))
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, TwitchVaultError), repr(outcome)
    return outcomes


# One bad answer


async def test_a_429_is_repeated(env: Environment) -> None:
    """Under the lease, with pauses, and nothing is asked about the old token."""
    async with env.app(lease_ttl=30) as app:
        user = await env.own_pair(app)
        since = env.asked()
        env.twitch.fail(REFRESH, status=429, times=2)
        await within(user.refresh())
        requests = env.log("token", "validate", since=since)
        assert requests == [("token", 429), ("token", 429), ("token", 200)]
    await env.expect(exchanges=2)


@pytest.mark.parametrize("alive", [True, False], ids=["alive", "dead before"])
@pytest.mark.parametrize("fault", MAYBE_SPENT)
async def test_perhaps_spent_but_not(env: Environment, fault: Fault, alive: bool) -> None:
    """No usable answer: the old access token is asked about.

    It lives, so nothing was spent and the request is repeated. It was dead before, so nothing can
    be found out: the request is sent once more in this lease, and no oftener.
    """
    async with env.app() as app:
        user = await env.own_pair(app)
        if not alive:
            env.twitch.expire_access(user.token)
        since = env.asked()
        env.twitch.fail(REFRESH, **fault)
        await within(user.refresh() if alive else user.get_user())
        requests = env.log("token", "validate", since=since)
        validation = ("validate", 200 if alive else 401)
        assert requests == [("token", status_of(fault)), validation, ("token", 200)]
    await env.expect(exchanges=2)


@pytest.mark.parametrize("fault", MAYBE_SPENT)
@pytest.mark.parametrize("accepted_by", ["validation", "helix"])
async def test_spent_and_the_answer_lost(env: Environment, fault: Fault, accepted_by: str) -> None:
    """Twitch took the old access token a moment ago and now does not: the token is spent.

    It is not sent a second time. The user has to sign in again, and is told why.
    """
    async with env.app() as app:
        user = await env.own_pair(app)
        await (user.validate() if accepted_by == "validation" else user.get_user())
        since = env.asked()
        env.twitch.fail(REFRESH, when="after", **fault)
        with pytest.raises(AuthFailure):
            await within(user.refresh())
        requests = env.log("token", "validate", since=since)
        assert requests == [("token", status_of(fault)), ("validate", 401)]
        assert env.twitch.counts.replays == 0
        assert "exchanged" in app.needs_login[user.user_id]
        await env.login(app)
        assert (await user.get_user()).login == "alice"


@pytest.mark.parametrize("fault", [{"status": 503}, {"drop": True}])
@pytest.mark.parametrize("alive", [True, False], ids=["alive", "dead"])
async def test_perhaps_spent_at_every_try(env: Environment, fault: Fault, alive: bool) -> None:
    """It is raised: at once if nothing can be found out, else when half of the ttl is over.

    The pair stands, and the lease is free for other processes.
    """
    async with env.app(lease_ttl=2) as app:
        user = await env.own_pair(app)
        if not alive:
            env.twitch.expire_access(user.token)
        before = env.refreshes_sent()
        env.twitch.fail(REFRESH, times=None, **fault)
        calls = [user.refresh() if alive else user.get_user() for _ in range(20)]
        outcomes = await outcomes_of(*calls)
        assert all(isinstance(outcome, HTTPException) for outcome in outcomes)
        assert 2 <= env.refreshes_sent() - before <= (4 if alive else 2)
        assert app.get_token(user.user_id) == env.live()
        env.twitch.clear_faults()
        async with env.app() as other:
            await within(other.get_user_by_id(user.user_id).refresh())
    await env.expect(exchanges=2)


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
async def test_configuration(env: Environment, fault: Fault, kind: type[HTTPException]) -> None:
    """Any other answer is raised as itself after one try, and then without one; all stands."""
    async with env.app() as app:
        user = await env.own_pair(app)
        since = env.asked()
        env.twitch.fail(REFRESH, times=None, **fault)
        for _ in range(3):
            outcomes = await outcomes_of(*(user.refresh() for _ in range(5)))
            assert [type(outcome) for outcome in outcomes] == [kind] * 5
        assert env.log("token", "validate", since=since) == [("token", fault["status"])]
        assert dict(app.needs_login) == {}
        env.twitch.clear_faults()
        async with env.app() as other:
            await within(other.get_user_by_id(user.user_id).refresh())
    await env.expect(exchanges=2)


async def test_after_a_pause_it_is_tried_again(env: Environment) -> None:
    """What was wrong may have been put right: two seconds later all works."""
    async with env.app() as app:
        user = await env.own_pair(app)
        env.twitch.fail(REFRESH, status=404)
        with pytest.raises(NotFound):
            await user.refresh()

        async def renewed() -> bool:
            with suppress(NotFound):
                return bool(await user.refresh())
            return False

        await until(renewed)
    await env.expect(exchanges=2)


async def test_connection_refused(env: Environment) -> None:
    """Nobody listens: tried for half of the ttl, then raised; once somebody does, all works."""
    async with env.app(lease_ttl=1) as app:
        user = await env.own_pair(app)
        await env.twitch.close()
        with pytest.raises(NoAnswer) as caught:
            await within(user.refresh())
        assert not caught.value.sent
        await env.twitch.start()
        async with env.app() as other:
            await within(other.get_user_by_id(user.user_id).refresh())
    await env.expect(exchanges=2)


# A Twitch that is mad

PAIR: Fault = {"access_token": "a" * 30, "refresh_token": "r" * 50, "scope": ["chat:read"]}
MAD: dict[str, Fault] = {
    "a dead pair": {"body": PAIR | {"expires_in": 14_000, "token_type": "bearer"}},
    "an empty object": {"body": {}},
    "no object": {"body": "[]"},
    "empty tokens": {"body": {"access_token": "", "refresh_token": ""}},
    "numbers": {"body": {"access_token": 7, "refresh_token": 7, "expires_in": "x"}},
    "nothing": {"body": ""},
    "half of it": {"body": '{"access_token": "a'},
    "a page": {"body": HTML_PAGE},
}
NOT_VALID: Fault = {"status": 401, "body": {"status": 401, "message": "invalid access token"}}


@pytest.mark.parametrize("answer", MAD)
async def test_a_mad_answer_to_every_refresh(env: Environment, answer: str) -> None:
    """At most three requests of one process, whatever comes back; every call ends."""
    async with env.app() as app:
        user = await env.own_pair(app)
        env.twitch.expire_access(user.token)
        before = env.refreshes_sent()
        env.twitch.fail(REFRESH, status=200, times=None, **MAD[answer])
        for _ in range(5):
            for outcome in await outcomes_of(*(user.get_user() for _ in range(10))):
                assert isinstance(outcome, TwitchVaultError)
        assert env.refreshes_sent() - before <= 3


@on_each_store
@pytest.mark.parametrize("refresh_token", ["the same", "another", "none"])
async def test_twitch_repeats_the_access_token(env: Environment, refresh_token: str) -> None:
    """Two processes, call after call: each sends at most three requests, then errors at once."""
    async with env.app() as one, env.app() as two:
        user = await env.own_pair(one)
        env.twitch.expire_access(user.token)
        before = env.refreshes_sent()
        body = {"access_token": user.token, "expires_in": 14_000, "token_type": "bearer"}
        if refresh_token != "none":
            body["refresh_token"] = env.live()[1] if refresh_token == "the same" else "r" * 50
        env.twitch.fail(REFRESH, status=200, body=body, times=None)
        users = [app.get_user_by_id(user.user_id) for app in (one, two)]
        for _ in range(10):
            outcomes = await outcomes_of(*(each.get_user() for each in users * 10))
        assert all(isinstance(outcome, TwitchVaultError) for outcome in outcomes)
        assert env.refreshes_sent() - before <= 2 * 3


async def test_the_same_old_pair_before_each_call(env: Environment) -> None:
    """A handler that adds its pair each time takes no pause away and no limit."""
    pair = env.pair(expired=True)
    env.twitch.fail("validate", times=None, **NOT_VALID)
    async with env.app() as app:
        for _ in range(12):
            user = app.add_token(env.alice.user_id, pair.access_token, pair.refresh_token)
            with suppress(TwitchVaultError):
                await user.renew(user.token)
        assert env.refreshes_sent() <= 4


@pytest.mark.parametrize("cancelled", [False, True])
async def test_every_fresh_token_is_invalid_at_a_login(env: Environment, cancelled: bool) -> None:
    """`add_user` ends with an error after at most three exchanges; `close()` ends what is left."""
    env.twitch.fail("validate", times=None, **NOT_VALID)
    app = env.app()
    await app.authorize()
    pair = env.pair(expired=True)
    login = asyncio.create_task(app.add_user(pair.access_token, pair.refresh_token))
    if cancelled:
        await until(lambda: env.refreshes_sent() > 0)
        login.cancel()
        await asyncio.wait({login})
        await asyncio.sleep(0.5)  # whatever goes on behind the caller's back
    else:
        with pytest.raises(TwitchVaultError):
            await within(login, 30)
        for _ in range(3):
            await outcomes_of(app.add_user(pair.access_token, pair.refresh_token))
    await within(app.close())
    assert our_tasks() == []
    assert env.refreshes_sent() <= 3
    assert env.twitch.counts.replays == 0


async def test_every_fresh_token_is_invalid_in_the_background(env: Environment) -> None:
    """Upkeep sends at most three refreshes, then waits for ten seconds and longer."""
    pair, good = env.pair(expired=True), env.pair(user=env.bob)
    async with env.app(maintain=True) as app:
        gate = env.twitch.hold(REFRESH)
        app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await gate.reached()
        env.twitch.fail("validate", times=None, **NOT_VALID)
        gate.release()
        await asyncio.sleep(2)  # many rounds of upkeep
        assert env.refreshes_sent() <= 3
        assert len(env.log("validate")) <= 12
        env.twitch.clear_faults()
        app.add_token(good.user_id, good.access_token, good.refresh_token)
        await until(lambda: good.user_id in app.tokens_validity)
        assert env.refreshes_sent() <= 3
    assert env.twitch.counts.replays == 0


async def test_wall_clocks_that_differ_by_hours(fleet: Fleet) -> None:
    """Processes do not validate each other's work over and over, whatever their clocks say."""
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
    await asyncio.sleep(2.5)  # many rounds of upkeep
    for pair in pairs:
        # Each may do it once, as none knows what another's clock means.
        assert 1 <= len(await fleet.twitch.validations_of(pair.access_token)) <= len(clocks)
    counts = await fleet.twitch.counts()
    assert (counts.exchanges, counts.replays) == (0, 0)
    await all_do(fleet.workers, "close")


# The store


async def test_a_thousand_failed_leases_leave_nothing_in_memory(env: Environment) -> None:
    """A store that is read-only for a night does not fill the memory with what failed."""
    store = WatchedStore(env.storage.store())
    async with env.app(store=store) as app:
        user = await env.own_pair(app)
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
    assert env.twitch.counts.exchanges == 1


@pytest.mark.parametrize(
    "body", ['{"message":"Unauthorized"}', "null", "[]", "<html>", "Unauthorized"]
)
async def test_a_401_that_is_not_of_twitch(env: Environment, body: str) -> None:
    """A gateway between answers all for itself: it proves nothing, so nobody is condemned."""
    async with env.app() as app:
        user = await env.own_pair(app)
        bare = app.add_token("2", env.pair(user=env.bob).access_token, None)
        await user.get_user()
        env.twitch.fail(REFRESH, status=503, times=1)
        env.twitch.fail("validate", status=401, body=body, times=None)
        for call in (user.refresh(), bare.renew(bare.token)):
            with pytest.raises(HTTPException):
                await within(call)
        assert dict(app.needs_login) == {}
    await env.expect(exchanges=1)
