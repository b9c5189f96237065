"""Validation and early refresh in the background."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.environment import REFRESH, Environment, listening, on_each_store, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twitchvault import App
    from twitchvault.testing.fake import Pair


@contextmanager
def wall_clock(offset: float) -> Iterator[None]:
    """Inside, this machine's wall clock is wrong by so many seconds."""
    with pytest.MonkeyPatch.context() as patch:
        now = time.time
        patch.setattr(time, "time", lambda: now() + offset)
        yield


def pairs(env: Environment, count: int, *, expired: bool = False) -> list[Pair]:
    """Pairs of so many new users."""
    return [env.pair(user=env.new_user(), expired=expired) for _ in range(count)]


async def added(env: Environment, count: int, *, expired: bool = False) -> list[Pair]:
    """Put so many pairs into the store that nobody has validated."""
    some = pairs(env, count, expired=expired)
    async with env.app() as app:
        for pair in some:
            app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    return some


async def validate(env: Environment, pair: Pair, ago: float) -> None:
    """Put a pair into the store that was validated so many seconds ago."""
    with wall_clock(-ago):
        async with env.app() as app:
            await app.add_user(pair.access_token, pair.refresh_token)


def validated(env: Environment, pair: Pair) -> int:
    """How often the double was asked about this access token."""
    return len(env.twitch.validations_of(pair.access_token))


async def due_work_is_done(env: Environment, app: App) -> None:
    """Return once upkeep has come past what was due: it has validated a user who came later."""
    (pair,) = pairs(env, 1)
    app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    await until(lambda: pair.user_id in app.tokens_validity)


async def test_who_needed_a_login_before_stops_nobody(env: Environment) -> None:
    """The access tokens of three of them run out: nothing is sent, and the others go on."""
    four = pairs(env, 4)
    with wall_clock(-7_200):
        async with env.app() as app:
            users = [await app.add_user(pair.access_token, pair.refresh_token) for pair in four]
            env.twitch.switch(env.public, false_invalid_refresh=3)
            for user in users[:3]:
                await asyncio.gather(user.refresh(), return_exceptions=True)
    for pair in four[:3]:
        env.twitch.expire_access(pair.access_token)
    async with env.app(maintain=True) as app:
        await until(lambda: all(validated(env, pair) == 2 for pair in four))
        await due_work_is_done(env, app)
        fifth = env.pair(user=env.new_user(), expired=True)
        app.add_token(fifth.user_id, fifth.access_token, fifth.refresh_token)
        await until(lambda: env.twitch.counts.exchanges)
    await env.expect(exchanges=1, user=fifth.user_id)


@on_each_store
async def test_at_the_start(env: Environment) -> None:
    """Every token that nobody has validated yet is validated at once, and shows in the views."""
    some = await added(env, 5)
    started = time.time()
    async with env.app(maintain=True) as app:
        await until(lambda: len(app.tokens_validity) == 5)
        for pair in some:
            at, left = app.tokens_validity[pair.user_id]
            assert started <= at <= time.time()
            assert left > 10_000
            assert app.users_scopes[pair.user_id] == ("chat:read",)
            assert app.get_user_by_id(pair.user_id).login is not None
            assert validated(env, pair) == 1
        (late,) = pairs(env, 1)
        app.add_token(late.user_id, late.access_token, late.refresh_token)
        await until(lambda: late.user_id in app.tokens_validity)
    async with env.app() as app:
        assert len(app.tokens_validity) == 6


@pytest.mark.parametrize("ago", [3_700.0, -90_000.0], ids=["an hour ago", "in the future"])
async def test_what_was_validated_before(env: Environment, ago: float) -> None:
    """Within the hour it counts; before it, or by a clock that is a day ahead, it does not."""
    fresh, old = pairs(env, 2)
    await validate(env, fresh, 600)
    await validate(env, old, ago)
    async with env.app(maintain=True) as app:
        await until(lambda: validated(env, old) == 2)
        await until(lambda: app.tokens_validity[old.user_id][0] <= time.time())
    assert validated(env, fresh) == 1


async def test_a_dead_token_without_a_refresh_token(env: Environment) -> None:
    """Its user has to sign in again, and its reason is an event; nothing more is asked."""
    (pair,) = pairs(env, 1, expired=True)
    async with env.app(maintain=True) as app:
        listener = await listening(app)
        app.add_token(pair.user_id, pair.access_token, None)
        assert "no refresh token" in (await listener.next("needs_login")).reason
        assert pair.user_id in app.needs_login
        await due_work_is_done(env, app)
    assert validated(env, pair) <= 2
    assert env.refreshes_sent() == 0


@pytest.mark.parametrize("alive", [True, False], ids=["alive", "dead"])
async def test_who_needs_a_login(env: Environment, alive: bool) -> None:
    """A living access token goes on being validated; a dead one is left alone; nothing is sent."""
    (pair,) = pairs(env, 1)
    with wall_clock(-7_200):
        async with env.app() as app:
            user = await app.add_user(pair.access_token, pair.refresh_token)
            env.twitch.switch(env.public, false_invalid_refresh=1)
            await asyncio.gather(user.refresh(), return_exceptions=True)
            assert user.needs_login
    if not alive:
        env.twitch.expire_access(pair.access_token)
    sent = env.refreshes_sent()
    async with env.app(maintain=True) as app:
        await until(lambda: validated(env, pair) == 2)
        await due_work_is_done(env, app)
        assert pair.user_id in app.needs_login
    assert validated(env, pair) == 2
    assert env.refreshes_sent() == sent


@on_each_store
async def test_early_refresh(env: Environment) -> None:
    """Five minutes before its end a token is renewed, once in two flows; not before."""
    ending, living, short = (env.new_user() for _ in range(3))
    for user, lifetime in ((ending, 1_250), (living, 1_350), (short, 400)):
        pair = env.twitch.issue(env.public, user, ["chat:read"], expires_in=lifetime)
        await validate(env, pair, 1_000 if lifetime > 1_000 else 200)
    before = {user.user_id: env.live(user) for user in (living, short)}
    old = env.live(ending)
    async with env.app(maintain=True) as one, env.app(maintain=True) as two:
        for app in (one, two):
            await until(lambda app=app: app.get_token(ending.user_id) != old)  # type: ignore[misc]
            await due_work_is_done(env, app)
        assert {user_id: one.get_token(user_id) for user_id in before} == before
    await env.expect(exchanges=1, user=ending)


async def test_not_too_fast(env: Environment) -> None:
    """At most 20 a second begin, and the rest comes as fast as that allows."""
    some = await added(env, 30)
    async with env.app(maintain=True) as app:
        await until(lambda: len(app.tokens_validity) == 30)
    times = sorted(env.twitch.validations_of(pair.access_token)[0] for pair in some)
    for first, last in zip(times, times[21:], strict=False):
        assert last - first > 0.9


async def test_a_fleet(env: Environment) -> None:
    """Two flows on one store share the work: each token is validated, and few of them twice."""
    some = await added(env, 20)
    async with env.app(maintain=True) as one, env.app(maintain=True) as two:
        for app in (one, two):
            await until(lambda app=app: len(app.tokens_validity) == 20)  # type: ignore[misc]
        await due_work_is_done(env, one)
    asked = [validated(env, pair) for pair in some]
    assert min(asked) == 1
    assert sum(asked) <= 30


@pytest.mark.parametrize(
    "fault", [{"status": 429}, {"status": 500}, {"drop": True}, {"status": 200, "body": "<p>"}]
)
async def test_a_validation_that_fails(env: Environment, fault: dict[str, Any]) -> None:
    """It is repeated later, marks nobody and does not stop the others."""
    some = await added(env, 4)
    env.twitch.fail("validate", **fault)
    async with env.app(maintain=True) as app:
        await until(lambda: len(app.tokens_validity) >= 3)
        assert len(env.log("validate")) <= 6
        assert dict(app.needs_login) == {}
        assert set(app.tokens) == {pair.user_id for pair in some}


async def test_a_refresh_that_fails(env: Environment, caplog: pytest.LogCaptureFixture) -> None:
    """It is one event and one warning, and one line when a process has refreshed the user."""
    (pair,) = await added(env, 1, expired=True)
    env.twitch.fail(REFRESH, status=404, times=None)
    app = env.app(maintain=True)
    listener = await listening(app)
    with caplog.at_level(logging.INFO, logger="twitchvault"):
        async with app:
            event = await listener.next("refresh_failed")
            await due_work_is_done(env, app)
            env.twitch.clear_faults()
            async with env.app() as other:
                await other.get_user_by_id(pair.user_id).refresh()
            await app.sync()
    assert (event.user_id, event.origin) == (pair.user_id, "local")
    assert "404" in event.reason
    assert "refresh_failed" not in [event.kind for event in await listener.ended()]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    ends = [record for record in caplog.records if "is refreshed again" in record.getMessage()]
    assert len(warnings) == len(ends) == 1
    for record in (*warnings, *ends):
        assert f"user {pair.user_id!r}" in record.getMessage()
        assert "404" in record.getMessage()


async def test_without_maintenance(env: Environment) -> None:
    """`maintain=False`: no validation, no early refresh; everything else works."""
    (pair,) = await added(env, 1, expired=True)
    async with env.app() as app, env.app(store=None, maintain=True) as another:
        await due_work_is_done(env, another)
        assert validated(env, pair) == env.refreshes_sent() == 0
        user = app.get_user_by_id(pair.user_id)
        assert (await user.get_user()).id == pair.user_id


async def test_a_user_who_hangs_does_not_hold_up_the_others(env: Environment) -> None:
    """Tokens whose renewal hangs do not keep the rest from being validated."""
    await added(env, 2, expired=True)
    others = await added(env, 30)
    env.twitch.hold(REFRESH)
    async with env.app(maintain=True) as app:
        await until(lambda: len(app.tokens_validity) == len(others))
        env.twitch.clear_faults()
    assert env.twitch.counts.replays == 0


async def test_a_pair_that_was_never_validated(env: Environment) -> None:
    """Exchanged once, it is validated, not refreshed by the age of the pair before it."""
    old, new = env.pair(), env.pair(expired=True)
    record = {
        "schema": 2,
        "access_token": old.access_token,
        "refresh_token": old.refresh_token,
        "last_validated": time.time() - 14_390,
        "expires_in": 14_400.0,
    }
    await env.storage.write(env.key(old.user_id), json.dumps(record).encode())
    gate = env.twitch.hold("validate")
    async with env.app(maintain=True) as app:
        await gate.reached()
        app.add_token(new.user_id, new.access_token, new.refresh_token)
        await app.flush()
        gate.release()
        await until(lambda: app.tokens_validity.get(new.user_id, (0.0, 0.0))[0] > time.time() - 60)
    assert env.refreshes_sent() == 1
