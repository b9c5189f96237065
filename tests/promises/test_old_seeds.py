"""An old seed does no harm: a pair from outside is exchanged once, however often it comes.

Seeds stand in configuration files and start-up scripts, and come back at every start, from every
process, long after they were spent.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.own_stores import OwnStore, WatchedStore
from tests.processes.fleet import all_do
from tests.world import REFRESH, Place, World, until, within
from twitchvault import (
    AuthFailure,
    BadRequest,
    RateLimited,
    TwitchServerError,
    TwitchVaultError,
)
from twitchvault.testing import FakeTwitch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from typing import TypeAlias

    from tests.processes.fleet import Fleet, Worker
    from twitchvault import App
    from twitchvault.testing.fake import Pair

    Act: TypeAlias = Callable[[App, Pair], Awaitable[None]]

pytestmark = pytest.mark.usefixtures("public")

PROCESSES = 4


# Processes


async def take_in(worker: Worker, how: str, pair: Pair) -> None:
    """Give a process a pair from its configuration."""
    if how == "refresh_token":
        # As scripts do: exchange what stands in the file, and go on with what comes back.
        new = await worker.do("refresh_token", token=pair.refresh_token)
        await worker.do("add_user", access_token=new[0], refresh_token=new[1])
    elif how == "add_token":
        await worker.do(
            how,
            user_id=pair.user_id,
            access_token=pair.access_token,
            refresh_token=pair.refresh_token,
        )
    else:
        await worker.do(how, access_token=pair.access_token, refresh_token=pair.refresh_token)


HOW = {
    "add_user": ["add_user"] * PROCESSES,
    "add_token": ["add_token"] * PROCESSES,
    "refresh_token": ["refresh_token"] * PROCESSES,
    "mixed": ["add_user", "add_token", "refresh_token", "add_user"],
}


@pytest.mark.parametrize(
    ("how", "public", "store_url"),
    [
        ("add_user", True, "sqlite"),
        ("add_token", True, "redis"),
        ("refresh_token", True, "sqlite"),
        ("mixed", True, "redis"),
        ("mixed", False, "sqlite"),
    ],
    indirect=["store_url"],
)
async def test_the_same_seed_everywhere(fleet: Fleet, how: str, public: bool) -> None:
    """All start with one expired pair: 1 exchange. All restart with it, spent: not one more."""
    await fleet.register(public=public)
    pair = await fleet.pair(expired=True)
    workers = await fleet.start(PROCESSES)
    await asyncio.gather(*(take_in(*each, pair) for each in zip(workers, HOW[how], strict=True)))
    await fleet.expect(pair.user_id, exchanges=1)
    for number in range(10):
        worker = workers[number % PROCESSES]
        await worker.do("sync")  # what the view shows when a newer one is asked for
        await worker.do("refresh", user_id=pair.user_id)
    workers = await fleet.restart()
    await asyncio.gather(*(take_in(*each, pair) for each in zip(workers, HOW[how], strict=True)))
    assert await all_do(workers, "call", user_id=pair.user_id, count=5) == [[]] * PROCESSES
    await fleet.expect(pair.user_id, exchanges=11)
    await fleet.twitch.expire_access(pair.user_id)
    assert await all_do(workers, "call", user_id=pair.user_id, count=5) == [[]] * PROCESSES
    await fleet.expect(pair.user_id, exchanges=12)


async def test_many_seeds_in_many_processes(fleet: Fleet) -> None:
    """Forty pairs from one configuration, taken in by all processes in the same order."""
    await fleet.register()
    pairs = [await fleet.pair(expired=True) for _ in range(40)]
    workers = await fleet.start(PROCESSES)

    async def read_configuration(worker: Worker, how: str) -> None:
        await asyncio.gather(*(take_in(worker, how, pair) for pair in pairs))

    await asyncio.gather(*map(read_configuration, workers, HOW["mixed"]))
    counts = await fleet.twitch.counts()
    assert (counts.exchanges, counts.replays) == (40, 0)
    for pair in pairs[::8]:
        await fleet.expect(pair.user_id, exchanges=40)


# One process


async def add_user(app: App, pair: Pair) -> None:
    """By a login."""
    await app.add_user(pair.access_token, pair.refresh_token)


async def add_token(app: App, pair: Pair) -> None:
    """Unseen, then used."""
    user = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    await user.get_user()


async def refresh_token(app: App, pair: Pair) -> None:
    """Exchanged, and what comes back is taken in."""
    token = await app.refresh_token(pair.refresh_token)
    await app.add_user(token.access_token, token.refresh_token)


ACTS = [add_user, add_token, refresh_token]


@pytest.mark.parametrize("first", ACTS)
@pytest.mark.parametrize("second", ACTS)
async def test_two_at_the_same_time(small: World, first: Act, second: Act) -> None:
    """The second begins while the first is somewhere in the middle: one exchange, no replay."""
    for exchanges, offset in enumerate(range(0, 45, 3), 1):
        pair = small.pair(user=small.new_user(), expired=True)
        one, two = small.app(lease_ttl=1), small.app(lease_ttl=1)
        await one.authorize()
        await two.authorize()
        begun = asyncio.ensure_future(first(one, pair))
        for _ in range(offset):
            await asyncio.sleep(0)
        await within(asyncio.gather(begun, second(two, pair)))
        await one.close()
        await two.close()
        await small.check(exchanges=exchanges, user=pair.user_id)


@pytest.mark.parametrize("kind", [OwnStore, WatchedStore], ids=["scanned", "watched"])
async def test_over_a_store_of_ones_own(small: World, kind: type[OwnStore]) -> None:
    """One that cannot be watched is as good."""
    pair = small.pair(expired=True)
    apps = [small.app(store=kind(small.place.store())) for _ in range(4)]
    await asyncio.gather(*(app.authorize() for app in apps))
    acts = zip([*ACTS, add_user], apps, strict=True)
    await within(asyncio.gather(*(act(app, pair) for act, app in acts)), 10)
    await asyncio.gather(*(app.close() for app in apps))
    await small.check(exchanges=1)


@pytest.mark.parametrize("act", ACTS)
async def test_a_start_up_script(world: World, act: Act) -> None:
    """The same lines at every start: after many exchanges the vaulted pair, and nothing is sent."""
    pair = world.pair(expired=True)
    async with world.app() as app:
        await act(app, pair)
        for _ in range(20):
            await app.get_user_by_id(pair.user_id).refresh()
    for _ in range(2):
        async with world.app() as app:
            await act(app, pair)
            assert app.get_token(pair.user_id) == world.live()
            token = await app.refresh_token(pair.refresh_token)
            assert (token.access_token, token.refresh_token) == world.live()
    assert world.sent() == 21
    await world.check(exchanges=21)
    for value in await world.place.values():
        assert pair.refresh_token.encode() not in value


@pytest.mark.parametrize("alive", [True, False])
async def test_an_unknown_refresh_token(world: World, alive: bool) -> None:
    """`refresh_token` of one that nobody knows: its successor is the vault's."""
    pair = world.pair(expired=not alive)
    async with world.app() as app:
        token = await app.refresh_token(pair.refresh_token)
        assert (token.access_token, token.refresh_token) == world.live()
        assert app.get_token(pair.user_id) == world.live()
        again = await app.refresh_token(pair.refresh_token)
        assert again.access_token == token.access_token
    await world.check(exchanges=1)


async def test_every_seed_is_remembered(small: World) -> None:
    """Each pair that came from outside is known for good, not only the last few of them."""
    pairs = []
    async with small.app() as app:
        for _ in range(40):
            pairs.append(small.pair(expired=True))
            await add_user(app, pairs[-1])
    async with small.app() as app:
        await add_token(app, pairs[0])
        await refresh_token(app, pairs[1])
    await small.check(exchanges=40)


@pytest.mark.parametrize("act", ACTS)
async def test_a_refused_seed(world: World, act: Act) -> None:
    """A pair that is dead is refused to every flow; Twitch is asked for it once."""
    pair = world.pair(expired=True)
    world.twitch.disconnect(world.client, world.alice)
    for _ in range(2):
        apps = [world.app() for _ in range(2)]
        await asyncio.gather(*(app.authorize() for app in apps))
        outcomes = await within(
            asyncio.gather(*(act(app, pair) for app in apps), return_exceptions=True)
        )
        assert all(isinstance(outcome, AuthFailure | BadRequest) for outcome in outcomes)
        await asyncio.gather(*(app.close() for app in apps))
    assert world.sent() == 1


async def test_refused_seeds_leave_no_token(world: World) -> None:
    """Of fifty refused seeds only fingerprints are kept: no token of them lies in the store."""
    pairs = []
    for _ in range(50):
        pairs.append(world.pair(user=world.new_user(), expired=True))
        world.twitch.disconnect(world.client, pairs[-1].user_id)
    async with world.app() as app:
        for number, pair in enumerate(pairs):
            act = (refresh_token, add_user)[number % 2]
            with pytest.raises((AuthFailure, BadRequest)):
                await act(app, pair)
        await app.flush()
        assert dict(app.tokens) == {}
    everything = b"\n".join(await world.place.values())
    assert not [s for s in world.twitch.secrets if s.encode() in everything]
    assert world.sent() == 50


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, TwitchServerError)])
async def test_weather_at_validation_is_not_a_dead_token(
    small: World, status: int, kind: type[Exception]
) -> None:
    """Only a 401 makes `add_user` use the refresh token; all else is raised, nothing stored."""
    pair = small.pair()
    small.twitch.fail("validate", status=status)
    async with small.app() as app:
        with pytest.raises(kind):
            await add_user(app, pair)
        assert small.sent() == 0
        assert dict(app.tokens) == {}


@pytest.mark.parametrize("act", [add_user, refresh_token])
@pytest.mark.parametrize("expired", [False, True], ids=["soon", "later"])
async def test_exchanged_and_then_nobody_says_whose_it_is(
    world: World, act: Act, expired: bool
) -> None:
    """Twitch exchanged it and then fails to validate: the next one brings the pair home.

    Also when it comes so late that the new access token has expired as well.
    """
    pair = world.pair(expired=True)
    async with world.app() as app:
        gate = world.twitch.hold(REFRESH, when="after")
        login = asyncio.ensure_future(act(app, pair))
        await gate.reached()
        world.twitch.fail("validate", status=500, times=None)
        gate.release()
        with suppress(TwitchServerError):
            await within(login)
    world.twitch.clear_faults()
    if expired:
        world.twitch.expire_access(world.alice)
    apps = [world.app() for _ in range(3)]
    await asyncio.gather(*(app.authorize() for app in apps))
    await within(asyncio.gather(*(act(app, pair) for app in apps)), 10)
    await asyncio.gather(*(app.close() for app in apps))
    await world.check(exchanges=2 if expired else 1)


async def test_removed_and_signed_in_anew(world: World) -> None:
    """The old configuration of a user who was removed and came back: the new login stands."""
    seed = world.pair(expired=True)
    async with world.app() as app:
        await add_user(app, seed)
        app.remove_token(seed.user_id)
        await app.flush()
        await add_user(app, login := world.pair())
    for act in ACTS:
        async with world.app() as app:
            await act(app, seed)
    await world.check(exchanges=1)
    assert await world.stored() == (login.access_token, login.refresh_token)


async def test_one_pair_under_two_names(world: World) -> None:
    """A pair that was stored under a wrong user id too: its refresh token is sent once."""
    pair = world.pair(expired=True)
    async with world.app() as app:
        wrong = app.add_token("1", pair.access_token, pair.refresh_token)
        right = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await app.flush()
        for user in (wrong, right):
            with suppress(TwitchVaultError):
                await within(user.refresh())
    assert (world.twitch.counts.exchanges, world.twitch.counts.replays) == (1, 0)


async def test_a_spent_pair_whose_access_token_lives(small: World) -> None:
    """Its access token may be used again, its refresh token may not."""
    client = small.confidential
    small.twitch.switch(client, refresh_kills_access=False)
    pair = small.pair(client)
    async with small.app(client) as app:
        await app.add_token(pair.user_id, pair.access_token, pair.refresh_token).refresh()
        await add_user(app, pair)
        small.twitch.expire_access(small.alice)
        with suppress(AuthFailure):
            await app.get_user_by_id(pair.user_id).get_user()
    assert small.twitch.counts.replays == 0


@pytest.mark.parametrize("act", [add_user, add_token])
async def test_a_refresh_token_that_stays_the_same(small: World, act: Act) -> None:
    """Where Twitch gives back the same refresh token, it is not spent: removed, added, renewed."""
    client = small.confidential
    small.twitch.switch(client, confidential_refresh="same")
    pair = small.pair(client)
    async with small.app(client) as app:
        await add_user(app, pair)
        await app.get_user_by_id(pair.user_id).refresh()
        same = small.twitch.live_pair(client, small.alice)
        assert same is not None
        assert same.refresh_token == pair.refresh_token
        app.remove_token(pair.user_id)
        await app.flush()
        await act(app, same)
        small.twitch.expire_access(small.alice)
        assert (await app.get_user_by_id(pair.user_id).get_user()).login == "alice"
        assert app.get_token(pair.user_id) == small.live(client=client)


async def test_refresh_token_of_what_is_vaulted(world: World) -> None:
    """Asked for by fifty tasks of two flows: one exchange; a spent one: none."""
    pair = world.pair()
    async with world.app() as one, world.app() as two:
        await add_user(one, pair)
        asked = [app.refresh_token(pair.refresh_token) for app in (one, two) * 25]
        tokens = {token.access_token for token in await within(asyncio.gather(*asked))}
        assert tokens == {world.live()[0]}
        assert (await one.refresh_token(pair.refresh_token)).access_token in tokens
    await world.check(exchanges=1)


async def test_an_old_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file full of spent tokens is opened: at most three of them are sent, in all."""
    users = 20
    for folder in ("now", "then"):
        (tmp_path / folder).mkdir()
    place, backup = Place("sqlite", tmp_path / "now"), Place("sqlite", tmp_path / "then")
    async with FakeTwitch(seed=7) as twitch:
        world = World(twitch, place, public=True)
        with monkeypatch.context() as patch:
            now = time.time
            patch.setattr(time, "time", lambda: now() - 7200)
            async with world.app() as app:
                known = [await world.own_pair(app, world.new_user()) for _ in range(users)]
        await place.close()
        shutil.copy(place.path, backup.path)
        async with world.app() as app:
            for user in known:
                await app.get_user_by_id(user.user_id).refresh()
        sent = world.sent()
        async with world.app(store=backup.store(), maintain=True):
            await until(lambda: world.sent() - sent >= 3, 10)
            await asyncio.sleep(1.5)
            assert world.sent() - sent == 3
        await backup.close()
        await world.end()
