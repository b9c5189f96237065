"""Validation and early refresh in the background."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.world import REFRESH, Listener, World, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twitchvault.testing.fake import Pair


@contextmanager
def wall_clock(offset: float) -> Iterator[None]:
    """Inside, this machine's wall clock is wrong by so many seconds."""
    with pytest.MonkeyPatch.context() as patch:
        now = time.time
        patch.setattr(time, "time", lambda: now() + offset)
        yield


def pairs(world: World, count: int, *, expired: bool = False) -> list[Pair]:
    """Pairs of so many users of the public client."""
    return [world.pair(world.public, world.new_user(), expired=expired) for _ in range(count)]


async def add(world: World, *some: Pair) -> None:
    """Put pairs into the store that nobody has validated."""
    async with world.app(world.public) as app:
        for pair in some:
            app.add_token(pair.user_id, pair.access_token, pair.refresh_token)


async def validate(world: World, pair: Pair, ago: float) -> None:
    """Put a pair into the store that was validated so many seconds ago."""
    with wall_clock(-ago):
        async with world.app(world.public) as app:
            await app.add_user(pair.access_token, pair.refresh_token)


def validated(world: World, pair: Pair) -> int:
    """How often the double was asked about this access token."""
    return len(world.twitch.validations_of(pair.access_token))


async def test_at_the_start(world: World) -> None:
    """Every token that nobody has validated yet is validated at once; the views tell."""
    some = pairs(world, 5)
    await add(world, *some)
    started = time.time()
    async with world.app(world.public, maintain=True) as app:
        await until(lambda: len(app.tokens_validity) == 5)
        for pair in some:
            at, left = app.tokens_validity[pair.user_id]
            assert started <= at <= time.time()
            assert left > 10_000
            assert app.users_scopes[pair.user_id] == ("chat:read",)
            assert app.get_user_by_id(pair.user_id).login is not None
            assert validated(world, pair) == 1
        (late,) = pairs(world, 1)
        app.add_token(late.user_id, late.access_token, late.refresh_token)
        await until(lambda: late.user_id in app.tokens_validity)
    async with world.app(world.public) as app:
        assert len(app.tokens_validity) == 6


@pytest.mark.parametrize("ago", [3_700.0, -90_000.0], ids=["an hour ago", "in the future"])
async def test_what_was_validated_before(small: World, ago: float) -> None:
    """Within the hour it counts; before it, or by a clock that is a day ahead, it does not."""
    fresh, old = pairs(small, 2)
    await validate(small, fresh, 600)
    await validate(small, old, ago)
    async with small.app(small.public, maintain=True) as app:
        await until(lambda: validated(small, old) == 2)
        await until(lambda: app.tokens_validity[old.user_id][0] <= time.time())
    assert validated(small, fresh) == 1


async def test_a_dead_token_is_renewed(world: World) -> None:
    """A 401 leads to a refresh, and the new token is validated too."""
    (pair,) = pairs(world, 1, expired=True)
    await add(world, pair)
    async with world.app(world.public, maintain=True) as app:
        await until(lambda: pair.user_id in app.tokens_validity)
        assert app.get_token(pair.user_id) == world.live(pair.user_id, world.public)
    await world.check(exchanges=1, user=pair.user_id, client=world.public)


async def test_a_dead_token_without_a_refresh_token(small: World) -> None:
    """Its user has to sign in again; Twitch is asked about it once."""
    (pair,) = pairs(small, 1, expired=True)
    async with small.app(small.public, maintain=True) as app:
        app.add_token(pair.user_id, pair.access_token, None)
        await until(lambda: pair.user_id in app.needs_login)
        await asyncio.sleep(0.6)
    assert validated(small, pair) <= 2
    assert small.sent() == 0


@pytest.mark.parametrize("alive", [True, False], ids=["alive", "dead"])
async def test_who_needs_a_login(small: World, alive: bool) -> None:
    """A living access token goes on being validated; a dead one is left alone; nothing is sent."""
    (pair,) = pairs(small, 1)
    with wall_clock(-7_200):
        async with small.app(small.public) as app:
            user = await app.add_user(pair.access_token, pair.refresh_token)
            small.twitch.switch(small.public, false_invalid_refresh=1)
            await asyncio.gather(user.refresh(), return_exceptions=True)
            assert user.needs_login
    if not alive:
        small.twitch.expire_access(pair.access_token)
    sent = small.sent()
    async with small.app(small.public, maintain=True) as app:
        await until(lambda: validated(small, pair) == 2)
        await asyncio.sleep(0.6)
        assert pair.user_id in app.needs_login
    assert validated(small, pair) == 2
    assert small.sent() == sent


async def test_early_refresh(world: World) -> None:
    """Five minutes before its end a token is renewed, once in two flows; not before."""
    ending, living, short = (world.new_user() for _ in range(3))
    for user, lifetime in ((ending, 1_250), (living, 1_350), (short, 400)):
        pair = world.twitch.issue(world.public, user, ["chat:read"], expires_in=lifetime)
        await validate(world, pair, 1_000 if lifetime > 1_000 else 200)
    before = {user.user_id: world.live(user, world.public) for user in (living, short)}
    old = world.live(ending, world.public)
    async with (
        world.app(world.public, maintain=True) as one,
        world.app(world.public, maintain=True) as two,
    ):
        for app in (one, two):
            await until(lambda app=app: app.get_token(ending.user_id) != old)  # type: ignore[misc]
        await asyncio.sleep(0.6)
        assert {user_id: one.get_token(user_id) for user_id in before} == before
    await world.check(exchanges=1, user=ending, client=world.public)


async def test_not_too_fast(small: World) -> None:
    """At most 20 a second begin, and the rest comes as fast as that allows."""
    some = pairs(small, 30)
    await add(small, *some)
    async with small.app(small.public, maintain=True) as app:
        await until(lambda: len(app.tokens_validity) == 30, 10)
    times = sorted(small.twitch.validations_of(pair.access_token)[0] for pair in some)
    for first, last in zip(times, times[21:], strict=False):
        assert last - first > 0.9


async def test_a_fleet(small: World) -> None:
    """Two flows on one store: each token is validated once, hardly one twice."""
    some = pairs(small, 20)
    await add(small, *some)
    async with (
        small.app(small.public, maintain=True) as one,
        small.app(small.public, maintain=True) as two,
    ):
        for app in (one, two):
            await until(lambda app=app: len(app.tokens_validity) == 20)  # type: ignore[misc]
        await asyncio.sleep(0.6)
    asked = [validated(small, pair) for pair in some]
    assert min(asked) == 1
    assert sum(asked) <= 26


@pytest.mark.parametrize(
    "fault", [{"status": 429}, {"status": 500}, {"drop": True}, {"status": 200, "body": "<p>"}]
)
async def test_weather(small: World, fault: dict[str, Any]) -> None:
    """A failing validation is repeated later, marks nobody and does not stop the others."""
    some = pairs(small, 4)
    await add(small, *some)
    small.twitch.fail("validate", **fault)
    async with small.app(small.public, maintain=True) as app:
        await until(lambda: len(app.tokens_validity) >= 3, 10)
        assert len(small.log("validate")) <= 6
        assert dict(app.needs_login) == {}
        assert set(app.tokens) == {pair.user_id for pair in some}


async def test_a_refresh_that_fails(small: World, caplog: pytest.LogCaptureFixture) -> None:
    """It is an event and one warning, and says what happened."""
    (pair,) = pairs(small, 1, expired=True)
    await add(small, pair)
    small.twitch.fail(REFRESH, status=404, times=None)
    app = small.app(small.public, maintain=True)
    listener = Listener(app)
    await asyncio.sleep(0)
    with caplog.at_level(logging.INFO, logger="twitchvault"):
        async with app:
            event = await listener.next("refresh_failed")
            await asyncio.sleep(0.6)
    assert (event.user_id, event.origin) == (pair.user_id, "local")
    assert "404" in event.reason
    assert "refresh_failed" not in [event.kind for event in await listener.ended()]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert pair.user_id in warnings[0].getMessage()


async def test_without_maintenance(small: World) -> None:
    """`maintain=False`: no validation, no early refresh; everything else works."""
    (pair,) = pairs(small, 1, expired=True)
    await add(small, pair)
    async with small.app(small.public) as app:
        await asyncio.sleep(0.3)
        assert small.twitch.requests == ()
        user = app.get_user_by_id(pair.user_id)
        assert (await user.get_user()).id == pair.user_id


async def test_a_stuck_user_does_not_hold_up_the_others(small: World) -> None:
    """Tokens whose renewal hangs do not keep the rest from being validated."""
    stuck, others = pairs(small, 2, expired=True), pairs(small, 30)
    await add(small, *stuck, *others)
    small.twitch.hold(REFRESH)
    async with small.app(small.public, maintain=True) as app:
        await until(lambda: len(app.tokens_validity) == len(others), 10)
        small.twitch.clear_faults()
    assert small.twitch.counts.replays == 0


@pytest.mark.parametrize("how", ["clear", "close"])
async def test_it_ends(small: World, how: str) -> None:
    """After `close()` and after `clear()` nothing is asked any more; `authorize()` begins anew."""
    await add(small, *pairs(small, 10))
    app = small.app(small.public, maintain=True)
    await app.authorize()
    await until(lambda: len(small.log("validate")) >= 2)
    if how == "clear":
        app.clear()
    else:
        await app.close()
    before = len(small.log("validate"))
    await asyncio.sleep(0.3)
    assert len(small.log("validate")) <= before + 1
    await app.authorize()
    await until(lambda: len(small.log("validate")) >= 10)
    await app.close()
