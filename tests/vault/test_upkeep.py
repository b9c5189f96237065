"""Validation and early refresh in the background."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from twitchvault.vault import record, upkeep
from twitchvault.vault.record import Record, decode, encode

from .world import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from twitchvault import App, MemoryStore
    from twitchvault.stores.base import TokenStore
    from twitchvault.testing.fake import Pair

    from .world import World

TOKEN = "token:refresh_token"


@pytest.fixture
def hour(monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds in an hour: a short one."""
    monkeypatch.setattr(upkeep, "EVERY", 0.4)
    monkeypatch.setattr(upkeep, "HEAD_START", 0.1)
    monkeypatch.setattr(upkeep, "SWEEP", 0.05)
    monkeypatch.setattr(upkeep, "PER_SECOND", 200.0)
    return 0.4


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real hour, but looked at often."""
    monkeypatch.setattr(upkeep, "SWEEP", 0.02)
    monkeypatch.setattr(upkeep, "PER_SECOND", 500.0)


async def put(world: World, store: TokenStore, pair: Pair, **known: Any) -> None:  # noqa: ANN401
    """A record in the store that no flow has written."""
    record = Record(pair.access_token, pair.refresh_token, seeded=False)
    await store.put(world.key(pair.user_id), encode(replace(record, **known)))


def validated(world: World, token: str) -> int:
    """How often the double was asked about a token."""
    return len(world.twitch.validations_of(token))


async def test_at_the_start(world: World, store: TokenStore) -> None:
    """Every token that nobody has validated yet is validated at once; the views tell."""
    pairs = [world.issue() for _ in range(5)]
    for pair in pairs:
        await put(world, store, pair)
    started = time.time()
    async with world.app(store, maintain=True) as app:
        await until(lambda: len(app.tokens_validity) == 5)
        for pair in pairs:
            at, left = app.tokens_validity[pair.user_id]
            assert started <= at <= time.time()
            assert left > 10_000
            assert app.users_scopes[pair.user_id] == ("chat:read",)
            assert app.get_user_by_id(pair.user_id).login is not None
            assert validated(world, pair.access_token) == 1
        await app.flush()
    record = await world.record(store, pairs[0].user_id)
    assert record is not None
    assert record.last_validated is not None


async def test_who_is_added_later(world: World, memory: MemoryStore) -> None:
    """A pair that is added without asking is validated soon after."""
    async with world.app(memory, maintain=True) as app:
        pair = world.issue()
        app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await until(lambda: pair.user_id in app.tokens_validity)
        assert validated(world, pair.access_token) == 1


async def test_hourly(world: World, memory: MemoryStore, hour: float) -> None:
    """Then each once an hour, not oftener and not later."""
    pairs = [world.issue() for _ in range(3)]
    for pair in pairs:
        await put(world, memory, pair)
    async with world.app(memory, maintain=True):
        await until(lambda: all(validated(world, pair.access_token) >= 3 for pair in pairs))
    for pair in pairs:
        times = world.twitch.validations_of(pair.access_token)
        pauses = [after - before for before, after in itertools.pairwise(times)]
        assert all(hour - 0.12 <= pause < 2 * hour for pause in pauses), pauses


@pytest.mark.usefixtures("fast")
async def test_a_recent_validation_counts(world: World, memory: MemoryStore) -> None:
    """Validated by another process a moment ago: not again."""
    fresh, old = world.issue(), world.issue()
    await put(world, memory, fresh, last_validated=time.time() - 600, expires_in=14_000.0)
    await put(world, memory, old, last_validated=time.time() - 3_700, expires_in=14_000.0)
    async with world.app(memory, maintain=True):
        await until(lambda: validated(world, old.access_token) == 1)
        await asyncio.sleep(0.1)
    assert validated(world, fresh.access_token) == 0


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("ahead", [600, 3_000, 90_000])
async def test_a_validation_in_the_future(world: World, memory: MemoryStore, ahead: int) -> None:
    """A time that another machine's fast clock wrote does not put the next validation off."""
    pair = world.issue()
    await put(world, memory, pair, last_validated=time.time() + ahead, expires_in=14_000.0)
    async with world.app(memory, maintain=True) as app:
        await until(lambda: app.tokens_validity[pair.user_id][0] <= time.time())
    assert validated(world, pair.access_token) == 1


async def test_a_dead_token_is_renewed(world: World, store: TokenStore) -> None:
    """401 leads to a refresh, and the new token is validated too."""
    pair = world.issue_expired()
    await put(world, store, pair)
    async with world.app(store, maintain=True) as app:
        await until(lambda: app.tokens[pair.user_id] == world.live(pair.user_id))
        await until(lambda: pair.user_id in app.tokens_validity)
    assert world.twitch.counts.exchanges == 1
    assert validated(world, world.live(pair.user_id)[0]) == 1
    assert await world.stored(store, pair.user_id) == world.live(pair.user_id)


async def test_a_dead_token_without_a_refresh_token(
    world: World, memory: MemoryStore, hour: float
) -> None:
    """It needs a login; Twitch is not asked about it again and again."""
    pair = world.issue_expired()
    await put(world, memory, pair, refresh_token=None)

    async def marked() -> bool:
        record = await world.record(memory, pair.user_id)
        return record is not None and record.state == "needs_login"

    async with world.app(memory, maintain=True):
        await until(marked)
        await asyncio.sleep(hour / 2)
    assert validated(world, pair.access_token) <= 2
    assert world.sent() == 0


@pytest.mark.parametrize("access", ["dead", "alive"])
async def test_who_needs_a_login_is_left_in_peace(
    world: World, memory: MemoryStore, hour: float, access: str
) -> None:
    """A living access token goes on being validated, hourly; a dead one is left alone."""
    pair = world.issue() if access == "alive" else world.issue_expired()
    await put(
        world, memory, pair, state="needs_login", reason="no", last_validated=time.time() - 7_200
    )
    async with world.app(memory, maintain=True):
        await until(lambda: validated(world, pair.access_token) >= 1)
        await asyncio.sleep(1.6 * hour)
    assert validated(world, pair.access_token) <= 3
    assert world.sent() == 0


async def test_not_too_fast(world: World, memory: MemoryStore) -> None:
    """At most 20 a second begin, and the rest comes as fast as that allows."""
    pairs = [world.issue() for _ in range(30)]
    for pair in pairs:
        await put(world, memory, pair)
    async with world.app(memory, maintain=True) as app:
        await until(lambda: len(app.tokens_validity) == 30)
    times = sorted(world.twitch.validations_of(pair.access_token)[0] for pair in pairs)
    for first, last in zip(times, times[21:], strict=False):
        assert last - first > 0.95
    assert times[-1] - times[0] < 3


async def test_a_fleet(world: World, memory: MemoryStore) -> None:
    """Two flows on one store: each token is validated once, hardly one twice."""
    pairs = [world.issue() for _ in range(30)]
    for pair in pairs:
        await put(world, memory, pair)
    async with (
        world.app(memory, maintain=True) as one,
        world.app(memory, maintain=True) as two,
    ):
        for app in (one, two):
            await until(lambda app=app: len(app.tokens_validity) == 30)  # type: ignore[misc]
        await asyncio.sleep(0.1)
    asked = [validated(world, pair.access_token) for pair in pairs]
    assert min(asked) == 1
    assert sum(asked) <= 36


@pytest.mark.usefixtures("fast")
async def test_too_many_requests(world: World, memory: MemoryStore) -> None:
    """429 slows all validations down for seconds; nothing is lost, nobody is marked."""
    pairs = [world.issue() for _ in range(10)]
    for pair in pairs:
        await put(world, memory, pair)
    world.twitch.fail("validate", status=429, times=2)
    async with world.app(memory, maintain=True) as app:
        await until(lambda: world.twitch.counts.validations + len(_limited(world)) >= 2)
        seen = len(world.log("validate"))
        await asyncio.sleep(0.5)
        # Those that had begun are done; none begins.
        assert len(world.log("validate")) - seen <= upkeep.AT_ONCE
        assert len(world.log("validate")) < 12
        assert set(app.tokens) == {pair.user_id for pair in pairs}
    for pair in pairs:
        record = await world.record(memory, pair.user_id)
        assert record is not None
        assert record.state == "live"


def _limited(world: World) -> list[tuple[str, int]]:
    return [entry for entry in world.log("validate") if entry[1] == 429]


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": True}, {"status": 200, "body": "<p>"}])
async def test_weather(world: World, memory: MemoryStore, fault: dict[str, Any]) -> None:
    """A failing validation is repeated later, marks nobody and does not stop the others."""
    pairs = [world.issue() for _ in range(4)]
    for pair in pairs:
        await put(world, memory, pair)
    world.twitch.fail("validate", **fault)
    async with world.app(memory, maintain=True) as app:
        # A connection that broke is tried anew at once, by the HTTP client itself.
        await until(lambda: len(app.tokens_validity) >= 3)
        await asyncio.sleep(0.1)
        assert len(world.log("validate")) <= 5
    for pair in pairs:
        record = await world.record(memory, pair.user_id)
        assert record is not None
        assert record.state == "live"


@pytest.mark.usefixtures("fast")
async def test_early_refresh(world: World, store: TokenStore) -> None:
    """Five minutes before its end a token is renewed, once in two flows."""
    ending, living = world.issue(), world.issue()
    known = {"last_validated": time.time() - 1_000, "scopes": ("chat:read",)}
    await put(world, store, ending, expires_in=1_250.0, **known)
    await put(world, store, living, expires_in=1_350.0, **known)
    async with (
        world.app(store, maintain=True) as one,
        world.app(store, maintain=True) as two,
    ):
        for app in (one, two):
            await until(lambda app=app: app.tokens[ending.user_id] == world.live(ending.user_id))  # type: ignore[misc]
        await asyncio.sleep(0.1)
    assert world.twitch.counts.exchanges == 1
    assert world.live(ending.user_id)[0] != ending.access_token
    assert world.live(living.user_id)[0] == living.access_token
    assert await world.stored(store, ending.user_id) == world.live(ending.user_id)


@pytest.mark.usefixtures("fast")
async def test_who_ends_soon_comes_first(
    world: World, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many that are due, in rounds that do not hold them all; the others follow."""
    monkeypatch.setattr(upkeep, "ROUND", 20)
    ending = [world.issue() for _ in range(5)]
    for pair in ending:
        await put(world, memory, pair, expires_in=1_250.0, last_validated=time.time() - 1_000)
    others = [world.issue() for _ in range(60)]
    for pair in others:
        await put(world, memory, pair, expires_in=20_000.0, last_validated=time.time() - 4_000)
    async with world.app(memory, maintain=True):
        await until(lambda: all(validated(world, pair.access_token) for pair in others))
    asked = [entry.endpoint for entry in world.twitch.requests]
    assert asked[:5] == [TOKEN] * 5
    assert world.twitch.counts.exchanges == 5
    assert [validated(world, pair.access_token) for pair in others] == [1] * 60


async def test_who_was_validated_lately_costs_nothing(
    world: World, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking for who is due decodes no record that cannot be: with very many, that would take
    seconds of each minute.
    """
    monkeypatch.setattr(upkeep, "SWEEP", 0.01)
    for _ in range(3):
        await put(world, memory, world.issue(), expires_in=9_000.0, last_validated=time.time())
    async with world.app(memory, maintain=True) as app:
        await app.sync()
        decoded: list[str] = []
        sweeps: list[int] = []
        users = app._core.vault.mirror.users

        def sweeping() -> list[str]:
            sweeps.append(1)
            return users()

        monkeypatch.setattr(app._core.vault.mirror, "users", sweeping)

        def counting(value: bytes, user_id: str) -> Record:
            decoded.append(user_id)
            return decode(value, user_id)

        monkeypatch.setattr(record, "decode", counting)
        await until(lambda: len(sweeps) > 3)
        assert decoded == []
        assert app.get_user_by_id(next(iter(app.tokens))).login is None
        assert decoded, "the records are decoded elsewhere: the test shows nothing"


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("expires_in", [0.0, 400.0])
async def test_no_early_refresh(world: World, memory: MemoryStore, expires_in: float) -> None:
    """Not for a token that never ends, and not for one whose whole life is short."""
    pair = world.issue()
    await put(world, memory, pair, expires_in=expires_in, last_validated=time.time() - 200)
    async with world.app(memory, maintain=True):
        await asyncio.sleep(0.15)
    assert world.sent() == 0


async def test_without_maintenance(world: World, memory: MemoryStore, hour: float) -> None:
    """`maintain=False`: no validation, no early refresh; everything else works."""
    old, ending = world.issue(), world.issue()
    await put(world, memory, old)
    await put(world, memory, ending, expires_in=1_000.0, last_validated=time.time() - 900)
    async with world.app(memory, maintain=False) as app:
        await asyncio.sleep(hour / 2)
        assert world.log("validate", "token") == []
        await app.get_user_by_id(old.user_id).refresh()
        await app.validate_token(ending.access_token)
    assert validated(world, ending.access_token) == 1


@pytest.mark.usefixtures("fast")
async def test_a_stuck_user_does_not_hold_up_the_others(world: World, memory: MemoryStore) -> None:
    """Tokens whose renewal hangs do not keep the rest of a large fleet from being validated."""
    stuck = [world.issue_expired() for _ in range(2)]
    pairs = [world.issue() for _ in range(260)]
    for pair in (*stuck, *pairs):
        await put(world, memory, pair)
    world.twitch.hold(TOKEN)
    async with world.app(memory, maintain=True, lease_ttl=60) as app:
        await until(lambda: len(app.tokens_validity) == len(pairs), 20)
        world.twitch.clear_faults()
    assert world.twitch.counts.replays == 0


@pytest.mark.usefixtures("hour")
async def test_the_app_token(worlds: Callable[..., World], memory: MemoryStore) -> None:
    """It is validated too, and renewed when it has died."""
    world = worlds(public=False)
    async with world.app(memory, maintain=True) as app:
        first = app.tokens[world.client.client_id][0]
        world.twitch.kill_app_tokens(world.client)
        await until(lambda: app.tokens[world.client.client_id][0] != first)
        assert app.application is not None
        pair = world.issue()
        assert (await app.application.get_user(user_id=pair.user_id)).id == pair.user_id
    assert world.twitch.counts.app_tokens == 2


async def test_it_ends(world: World, memory: MemoryStore, hour: float) -> None:
    """After `close()` and after `clear()` nothing is asked any more; `authorize()` begins anew."""
    pair = world.issue()
    await put(world, memory, pair)
    app: App = world.app(memory, maintain=True)
    await app.authorize()
    await until(lambda: validated(world, pair.access_token) >= 1)
    app.clear()
    before = validated(world, pair.access_token)
    await asyncio.sleep(1.2 * hour)
    assert validated(world, pair.access_token) == before
    await app.authorize()
    await until(lambda: validated(world, pair.access_token) > before)
    await app.close()
    before = validated(world, pair.access_token)
    await asyncio.sleep(1.2 * hour)
    assert validated(world, pair.access_token) == before
