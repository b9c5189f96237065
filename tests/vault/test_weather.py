"""A refresh in bad weather: how often it is tried, what is asked, what stands afterwards."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from twitchvault import (
    AuthFailure,
    BadRequest,
    Forbidden,
    HTTPException,
    MemoryStore,
    NoAnswer,
    NotFound,
    RateLimited,
    TwitchServerError,
)
from twitchvault.testing.fake import HTML_PAGE
from twitchvault.vault import exchange

if TYPE_CHECKING:
    from collections.abc import Callable

    from twitchvault.testing.fake import Pair

    from .world import World

TTL = 0.6
TOKEN = "token:refresh_token"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses between repeats."""
    monkeypatch.setattr(exchange, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(exchange, "LONGEST_PAUSE", 0.08)


class Outcome(NamedTuple):
    """What a refresh came to: its error, and the requests that it made."""

    error: Exception | None
    log: list[tuple[str, int]]


async def refresh(world: World, store: MemoryStore, pair: Pair, **options: Any) -> Outcome:  # noqa: ANN401
    """Refresh the pair's user explicitly, on a flow of its own that already knows the pair."""
    async with world.app(store, lease_ttl=TTL, **options) as app:
        user = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await app.flush()
        before = len(world.log("token", "validate"))
        error: Exception | None = None
        try:
            token = await user.refresh()
        except (HTTPException, AuthFailure) as failure:
            error = failure
        else:
            assert app.tokens[pair.user_id] == (token.access_token, token.refresh_token)
        return Outcome(error, world.log("token", "validate")[before:])


async def rotated_once(world: World, store: MemoryStore, pair: Pair) -> None:
    """The vault has exchanged the pair before: its refresh token is the vault's own from now on."""
    async with world.app(store) as app:
        await app.add_token(pair.user_id, pair.access_token, pair.refresh_token).refresh()


async def untouched(world: World, store: MemoryStore, pair: Pair) -> None:
    """The pair stands as it was, is good at Twitch, and nobody holds a lease."""
    assert await world.stored(store, pair.user_id) == (pair.access_token, pair.refresh_token)
    assert world.live(pair.user_id)[1] == pair.refresh_token
    await no_lease(world, store, pair)


async def no_lease(world: World, store: MemoryStore, pair: Pair) -> None:
    """Neither the user's record nor the seed's is leased."""
    record = await world.record(store, pair.user_id)
    assert record is not None
    assert record.lease is None
    entry = await store.get(world.seed_key(pair.refresh_token))
    assert entry is None or b'"lease"' not in entry.value


async def renewed(world: World, store: MemoryStore, pair: Pair) -> None:
    """The store holds the pair that is good at Twitch, and it is a new one."""
    live = world.live(pair.user_id)
    assert live[1] != pair.refresh_token
    assert await world.stored(store, pair.user_id) == live
    await no_lease(world, store, pair)
    assert world.twitch.counts.replays == 0


@pytest.fixture(params=["seed", "own"])
async def pair(request: pytest.FixtureRequest, world: World, memory: MemoryStore) -> Pair:
    """A live pair from outside, then one that the vault has got by itself."""
    pair = world.issue()
    if request.param == "seed":
        return pair
    await rotated_once(world, memory, pair)
    own = world.twitch.live_pair(world.client, pair.user_id)
    assert own is not None
    return own


@pytest.mark.parametrize("status", [429, 503])
async def test_nothing_happened(world: World, memory: MemoryStore, pair: Pair, status: int) -> None:
    """429 and 503 are repeated under the lease, without asking about the old token."""
    exchanges = world.twitch.counts.exchanges
    world.twitch.fail(TOKEN, status=status, times=3)
    outcome = await refresh(world, memory, pair)
    assert outcome == (None, [("token", status)] * 3 + [("token", 200)])
    assert world.twitch.counts.exchanges == exchanges + 1
    await renewed(world, memory, pair)


async def test_a_cache_layers_503(world: World, memory: MemoryStore, pair: Pair) -> None:
    """A 503 that is an HTML page is a 503."""
    world.twitch.fail(TOKEN, status=503, body=HTML_PAGE, times=2)
    outcome = await refresh(world, memory, pair)
    assert outcome == (None, [("token", 503), ("token", 503), ("token", 200)])
    await renewed(world, memory, pair)


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, TwitchServerError)])
async def test_weather_that_does_not_clear(
    world: World, memory: MemoryStore, pair: Pair, status: int, kind: type[HTTPException]
) -> None:
    """All repeats end within half of lease_ttl; then the lease is given back."""
    world.twitch.fail(TOKEN, status=status, times=None)
    started = world.twitch.now()
    outcome = await refresh(world, memory, pair)
    assert isinstance(outcome.error, kind)
    assert len(outcome.log) > 3
    assert set(outcome.log) == {("token", status)}
    last = max(entry.time for entry in world.twitch.requests if entry.endpoint == TOKEN)
    assert last - started <= TTL / 2 + 0.5
    await untouched(world, memory, pair)


@pytest.mark.parametrize("status", [500, 502, 504, 200])
async def test_perhaps_spent_but_not(
    world: World, memory: MemoryStore, pair: Pair, status: int
) -> None:
    """Any other 5xx, and a 200 that is no JSON: ask about the old token, then once more."""
    world.twitch.fail(TOKEN, status=status, body=HTML_PAGE)
    outcome = await refresh(world, memory, pair)
    assert outcome == (None, [("token", status), ("validate", 200), ("token", 200)])
    await renewed(world, memory, pair)


async def test_dropped_before_commit(world: World, memory: MemoryStore, pair: Pair) -> None:
    """A connection cut before the commit: the old access token is asked about, then once more."""
    world.twitch.fail(TOKEN, drop=True)
    outcome = await refresh(world, memory, pair)
    assert outcome == (None, [("token", 0), ("validate", 200), ("token", 200)])
    await renewed(world, memory, pair)


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 502}, {"drop": True}])
@pytest.mark.parametrize("living", [True, False])
async def test_perhaps_spent_again_and_again(
    world: World, memory: MemoryStore, pair: Pair, fault: dict[str, Any], living: bool
) -> None:
    """One more try in a lease and not oftener, whether or not the old access token lives."""
    if not living:
        world.twitch.expire_access(pair.access_token)
    world.twitch.fail(TOKEN, times=None, **fault)
    outcome = await refresh(world, memory, pair)
    assert isinstance(outcome.error, TwitchServerError | NoAnswer)
    status = fault.get("status", 0)
    assert outcome.log == [
        ("token", status),
        ("validate", 200 if living else 401),
        ("token", status),
    ]
    await untouched(world, memory, pair)


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 200, "body": HTML_PAGE}, {"drop": True}]
)
async def test_spent_and_the_answer_lost(
    world: World, memory: MemoryStore, pair: Pair, fault: dict[str, Any]
) -> None:
    """A public client whose answer got lost: one more try, which is refused; then needs_login."""
    exchanges = world.twitch.counts.exchanges
    world.twitch.fail(TOKEN, when="after", **fault)
    outcome = await refresh(world, memory, pair)
    assert isinstance(outcome.error, AuthFailure)
    status = fault.get("status", 0)
    assert outcome.log == [("token", status), ("validate", 401), ("token", 400)]
    record = await world.record(memory, pair.user_id)
    assert record is not None
    assert (record.state, record.lease) == ("needs_login", None)
    assert tuple(record.pair) == (pair.access_token, pair.refresh_token)
    assert world.twitch.counts.exchanges == exchanges + 1
    assert world.twitch.counts.replays == 1


@pytest.mark.parametrize("mode", ["same", "rotate-keep"])
@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": True}])
async def test_the_answer_lost_of_a_token_that_stays_good(
    worlds: Callable[..., World], memory: MemoryStore, mode: str, fault: dict[str, Any]
) -> None:
    """A client with a secret whose refresh token survives gets its pair by the retry."""
    world = worlds(public=False, confidential_refresh=mode)
    pair = world.issue()
    world.twitch.fail(TOKEN, when="after", **fault)
    outcome = await refresh(world, memory, pair)
    assert outcome.error is None
    assert [entry for entry in outcome.log if entry[0] == "token"] == [
        ("token", fault.get("status", 0)),
        ("token", 200),
    ]
    assert await world.stored(memory, pair.user_id) == world.live(pair.user_id)
    await no_lease(world, memory, pair)


async def test_no_answer_in_time(world: World, memory: MemoryStore, pair: Pair) -> None:
    """A request that hangs ends with half of lease_ttl; the pair stands and the lease is back."""
    world.twitch.fail(TOKEN, drop=True, delay=TTL)
    started = world.twitch.now()
    outcome = await refresh(world, memory, pair)
    assert isinstance(outcome.error, NoAnswer)
    assert outcome.error.sent
    assert world.twitch.now() - started < TTL / 2 + 1.5
    await untouched(world, memory, pair)
    world.twitch.clear_faults()
    assert (await refresh(world, memory, pair)).error is None
    await renewed(world, memory, pair)


async def test_connection_refused(world: World, memory: MemoryStore, pair: Pair) -> None:
    """Nobody listens: tried for half of lease_ttl, then raised; the pair stands."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}/oauth2/"
        started = world.twitch.now()
        outcome = await refresh(world, memory, pair, id_url=nowhere)
    assert isinstance(outcome.error, NoAnswer)
    assert not outcome.error.sent
    assert world.twitch.now() - started < TTL / 2 + 1.5
    await untouched(world, memory, pair)


async def test_connection_refused_for_a_while(
    world: World, memory: MemoryStore, pair: Pair
) -> None:
    """A service that comes back within the lease is found again, without loss."""
    async with world.app(memory, lease_ttl=6) as app:
        user = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await app.flush()
        await world.twitch.close()
        call = asyncio.create_task(user.refresh())
        await asyncio.wait({call}, timeout=0.2)
        await world.twitch.start()
        await call
        assert app.tokens[pair.user_id] == world.live(pair.user_id)
    await renewed(world, memory, pair)


CONFIGURATION = [
    ({"status": 403, "body": {"status": 403, "message": "invalid client secret"}}, Forbidden),
    ({"status": 400, "body": {"status": 400, "message": "invalid client"}}, BadRequest),
    ({"status": 400, "body": {"status": 400, "message": "missing client secret"}}, BadRequest),
    ({"status": 404}, NotFound),
    ({"status": 400, "body": HTML_PAGE}, BadRequest),
    ({"status": 418}, HTTPException),
    ({"status": 302, "headers": {"Location": "/elsewhere"}}, HTTPException),
]


@pytest.mark.parametrize(("fault", "kind"), CONFIGURATION)
async def test_configuration(
    world: World,
    memory: MemoryStore,
    pair: Pair,
    fault: dict[str, Any],
    kind: type[HTTPException],
) -> None:
    """Any other answer is raised as itself after one try; the pair stands, the lease is back."""
    world.twitch.fail(TOKEN, **fault)
    outcome = await refresh(world, memory, pair)
    assert type(outcome.error) is kind
    assert outcome.log == [("token", fault["status"])]
    await untouched(world, memory, pair)
    assert (await refresh(world, memory, pair)).error is None
    await renewed(world, memory, pair)


async def test_a_secret_that_was_rotated(confidential: World, memory: MemoryStore) -> None:
    """A wrong client secret is Forbidden and costs nothing: the right one goes on with the pair."""
    pair = confidential.issue()
    wrong = confidential.app(memory, client_secret="wr0ng")
    user = wrong.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    with pytest.raises(Forbidden):
        await wrong.authorize()
    await wrong.flush()
    with pytest.raises(Forbidden):
        await user.refresh()
    await wrong.close()
    await untouched(confidential, memory, pair)
    assert (await refresh(confidential, memory, pair)).error is None
    await renewed(confidential, memory, pair)


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 400, "body": {"status": 400, "message": "Invalid refresh token"}},
        {
            "status": 400,
            "body": {"error": "Bad Request", "status": 400, "message": "invalid refresh token"},
        },
        {
            "status": 400,
            "body": {"error": "invalid_grant", "error_description": "Invalid refresh token"},
        },
        {"status": 401},
    ],
)
async def test_refused(
    world: World, memory: MemoryStore, pair: Pair, fault: dict[str, Any]
) -> None:
    """Refused: one try, needs_login, the pair kept; from then on AuthFailure without a request."""
    world.twitch.fail(TOKEN, **fault)
    async with world.app(memory, lease_ttl=TTL) as app:
        user = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await app.flush()
        before = len(world.log("token", "validate"))
        for _ in range(3):
            with pytest.raises(AuthFailure):
                await user.refresh()
        assert world.log("token", "validate")[before:] == [("token", fault["status"])]
        assert app.tokens[pair.user_id] == (pair.access_token, pair.refresh_token)
        # The access token still lives and goes on being used.
        assert (await user.get_user()).id == pair.user_id
    record = await world.record(memory, pair.user_id)
    assert record is not None
    assert (record.state, record.lease) == ("needs_login", None)
