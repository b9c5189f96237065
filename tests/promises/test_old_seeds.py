"""An old seed does no harm: a pair from outside is exchanged once, however often it comes.

Seeds stand in configuration files and start-up scripts, and come back at every start, from every
process, long after they were spent.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.environment import REFRESH, Environment, Storage, on_each_store, until, within
from tests.processes.fleet import all_do
from twitchvault import AuthFailure, BadRequest, TokenError, TwitchServerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from typing import TypeAlias

    from tests.processes.fleet import Fleet, Worker
    from twitchvault import App
    from twitchvault.testing.fake import Pair

    Act: TypeAlias = Callable[[App, Pair], Awaitable[None]]

PROCESSES = 4


# Processes


async def start_up(worker: Worker, how: str, pair: Pair) -> None:
    """Give a process a pair from its configuration."""
    if how == "refresh_token":
        # As scripts do: exchange what stands in the file, and go on with what comes back.
        new = await worker.do("refresh_token", token=pair.refresh_token)
        await worker.do("add_user", access_token=new[0], refresh_token=new[1])
        return
    options: dict[str, Any] = {"user_id": pair.user_id} if how == "add_token" else {}
    options |= {"access_token": pair.access_token, "refresh_token": pair.refresh_token}
    await worker.do(how, **options)


MIXED = ["add_user", "add_token", "refresh_token", "add_user"]
on_all = pytest.mark.parametrize(
    ("how", "public", "store_url"),
    [
        (["add_user"] * PROCESSES, True, "sqlite"),
        (["add_token"] * PROCESSES, True, "redis"),
        (["refresh_token"] * PROCESSES, True, "sqlite"),
        (MIXED, True, "redis"),
        (MIXED, False, "sqlite"),
    ],
    ids=["add_user", "add_token", "refresh_token", "mixed", "mixed, confidential"],
    indirect=["store_url"],
)


@on_all
async def test_the_same_seed_everywhere(fleet: Fleet, how: list[str], public: bool) -> None:
    """All start with one expired pair: 1 exchange. All restart with it, spent: not one more."""
    await fleet.register(public=public)
    pair = await fleet.pair(expired=True)
    workers = await fleet.start(PROCESSES)
    await asyncio.gather(*(start_up(*each, pair) for each in zip(workers, how, strict=True)))
    await fleet.expect(pair.user_id, exchanges=1)
    for number in range(10):
        worker = workers[number % PROCESSES]
        await worker.do("sync")  # what the view shows when a newer one is asked for
        await worker.do("refresh", user_id=pair.user_id)
    workers = await fleet.restart()
    await asyncio.gather(*(start_up(*each, pair) for each in zip(workers, how, strict=True)))
    for exchanges in (11, 12):
        assert await all_do(workers, "call", user_id=pair.user_id, count=5) == [[]] * PROCESSES
        await fleet.expect(pair.user_id, exchanges=exchanges)
        await fleet.twitch.expire_access(pair.user_id)


# One process


async def add_user(app: App, pair: Pair) -> None:
    """By a login."""
    await app.add_user(pair.access_token, pair.refresh_token)


async def add_token(app: App, pair: Pair) -> None:
    """Stored without validation, then used."""
    user = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    await user.get_user()


async def refresh_token(app: App, pair: Pair) -> None:
    """Exchanged, and what comes back is added."""
    token = await app.refresh_token(pair.refresh_token)
    await app.add_user(token.access_token, token.refresh_token)


ACTS = [add_user, add_token, refresh_token]


async def by_each(env: Environment, act: Act, pair: Pair, flows: int) -> list[object]:
    """What the act comes to in so many flows at the same time."""
    apps = [env.app() for _ in range(flows)]
    await asyncio.gather(*(app.authorize() for app in apps))
    outcomes = await within(
        asyncio.gather(*(act(app, pair) for app in apps), return_exceptions=True)
    )
    await asyncio.gather(*(app.close() for app in apps))
    return list(outcomes)


@on_each_store
@pytest.mark.parametrize("act", ACTS)
async def test_a_start_up_script(env: Environment, act: Act) -> None:
    """The same lines at every start: after many exchanges the vaulted pair, and nothing is sent."""
    pair = env.pair(expired=True)
    async with env.app() as app:
        await act(app, pair)
        for _ in range(20):
            await app.get_user_by_id(pair.user_id).refresh()
    for _ in range(2):
        async with env.app() as app:
            await act(app, pair)
            assert app.get_token(pair.user_id) == env.live()
            token = await app.refresh_token(pair.refresh_token)
            assert (token.access_token, token.refresh_token) == env.live()
    await env.expect(exchanges=21)
    assert env.refreshes_sent() == 21
    assert not await env.storage.holds(pair.refresh_token)


@on_each_store
async def test_added_before_authorize(env: Environment) -> None:
    """A spent pair that `add_token` takes before the flow is open yields the vaulted pair, too."""
    pair = env.pair()
    async with env.app() as app:
        await app.add_token(pair.user_id, pair.access_token, pair.refresh_token).refresh()
    for _ in range(2):
        app = env.app()
        user = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await app.authorize()
        await app.flush()
        assert app.get_token(pair.user_id) == env.live()
        assert (await user.get_user()).login == "alice"
        await app.close()
    await env.expect(exchanges=1)


@on_each_store
@pytest.mark.parametrize("expired", [True, False])
async def test_an_unknown_refresh_token(env: Environment, expired: bool) -> None:
    """`refresh_token` of one that nobody knows: its successor is the vault's."""
    pair = env.pair(expired=expired)
    async with env.app() as app:
        token = await app.refresh_token(pair.refresh_token)
        assert (token.access_token, token.refresh_token) == env.live()
        assert token.scopes == ("chat:read",)
        assert app.get_token(pair.user_id) == env.live()
        second = await app.refresh_token(pair.refresh_token)
        assert second.access_token == token.access_token
    await env.expect(exchanges=1)


async def test_every_seed_is_remembered(env: Environment) -> None:
    """Each pair that came from outside stays known, not only the last few of them."""
    pairs = []
    async with env.app() as app:
        for _ in range(40):
            pairs.append(env.pair(expired=True))
            await add_user(app, pairs[-1])
    async with env.app() as app:
        await add_token(app, pairs[0])
        await refresh_token(app, pairs[1])
    await env.expect(exchanges=40)


@on_each_store
@pytest.mark.parametrize("act", ACTS)
async def test_a_refused_seed(env: Environment, act: Act) -> None:
    """A pair that is dead is refused to every flow; Twitch is asked for it once."""
    pair = env.pair(expired=True)
    env.twitch.disconnect(env.client, env.alice)
    for _ in range(2):
        for outcome in await by_each(env, act, pair, 2):
            assert isinstance(outcome, AuthFailure | BadRequest)
            assert not env.shows_secret(outcome)
    assert env.refreshes_sent() == 1


async def test_refused_seeds_leave_no_token(env: Environment) -> None:
    """Of fifty refused seeds only fingerprints are kept: no user, and no token in the store."""
    pairs = []
    for _ in range(50):
        pairs.append(env.pair(user=env.new_user(), expired=True))
        env.twitch.disconnect(env.client, pairs[-1].user_id)
    async with env.app() as app:
        for number, pair in enumerate(pairs):
            act = (refresh_token, add_user)[number % 2]
            with pytest.raises((AuthFailure, BadRequest)):
                await act(app, pair)
        await app.flush()
        assert dict(app.tokens) == {}
    everything = b"\n".join((await env.storage.values()).values())
    assert not [s for s in env.twitch.secrets if s.encode() in everything]
    assert env.refreshes_sent() == 50


@on_each_store
@pytest.mark.parametrize("act", [add_user, refresh_token])
@pytest.mark.parametrize("expired", [False, True], ids=["soon", "later"])
async def test_exchanged_and_then_nobody_says_whose_it_is(
    env: Environment, act: Act, expired: bool
) -> None:
    """Twitch exchanged it and then fails to validate: the next one finds the pair.

    Also when it comes so late that the new access token has expired as well.
    """
    pair = env.pair(expired=True)
    async with env.app() as app:
        gate = env.twitch.hold(REFRESH, when="after")
        login = asyncio.ensure_future(act(app, pair))
        await gate.reached()
        env.twitch.fail("validate", status=500, times=None)
        gate.release()
        with suppress(TwitchServerError):
            await within(login)
    env.twitch.clear_faults()
    if expired:
        env.twitch.expire_access(env.alice)
    assert await by_each(env, act, pair, 3) == [None] * 3
    await env.expect(exchanges=2 if expired else 1)


async def test_a_parked_pair_comes_to_its_user_once(env: Environment) -> None:
    """Who parked it takes it for lost no more once another process has brought it to its user."""
    env.client = env.confidential
    env.twitch.switch(env.client, confidential_refresh="same")
    pair = env.pair(expired=True)
    async with env.app() as one, env.app() as two:
        with env.twitch.hold(REFRESH) as gate:
            parking = asyncio.create_task(one.add_user(pair.access_token, pair.refresh_token))
            await gate.reached()
            env.twitch.fail("validate", status=503)
        with pytest.raises(TwitchServerError):
            await parking
        user = await two.add_user(pair.access_token, pair.refresh_token)
        await one.sync()
        env.twitch.expire_access(user.token)
        renewed = await one.get_user_by_id(user.user_id).renew(user.token)
        assert env.twitch.is_live(renewed)
    await env.expect(exchanges=2)


async def test_one_pair_under_two_ids(env: Environment) -> None:
    """A refresh token of two users is sent for neither, and both are named; of one, it is sent."""
    pair = env.pair(expired=True)
    async with env.app() as app:
        wrong = app.add_token("1", pair.access_token, pair.refresh_token)
        right = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await app.flush()
        for user, other in ((wrong, right), (right, wrong)):
            words = f"{user.user_id!r} stands under user {other.user_id!r}, too"
            with pytest.raises(TokenError, match=words):
                await within(user.refresh())
        assert env.refreshes_sent() == 0
        app.remove_token("1")
        await app.flush()
        await within(right.refresh())
    await env.expect(exchanges=1)


async def test_a_spent_pair_whose_access_token_lives(env: Environment) -> None:
    """Its access token may be used again, its refresh token may not."""
    env.client = env.confidential
    env.twitch.switch(env.client, refresh_kills_access=False)
    pair = env.pair()
    async with env.app() as app:
        await app.add_token(pair.user_id, pair.access_token, pair.refresh_token).refresh()
        await add_user(app, pair)
        env.twitch.expire_access(env.alice)
        with suppress(AuthFailure):
            await app.get_user_by_id(pair.user_id).get_user()
    assert env.twitch.counts.replays == 0


@pytest.mark.parametrize("act", [add_user, add_token])
async def test_a_refresh_token_that_stays_the_same(env: Environment, act: Act) -> None:
    """Where Twitch gives back the same refresh token, it is not spent: removed, added, renewed."""
    env.client = env.confidential
    env.twitch.switch(env.client, confidential_refresh="same")
    pair = env.pair()
    async with env.app() as app:
        await add_user(app, pair)
        await app.get_user_by_id(pair.user_id).refresh()
        same = env.twitch.live_pair(env.client, env.alice)
        assert same is not None
        assert same.refresh_token == pair.refresh_token
        app.remove_token(pair.user_id)
        await app.flush()
        await act(app, same)
        env.twitch.expire_access(env.alice)
        assert (await app.get_user_by_id(pair.user_id).get_user()).login == "alice"
        assert app.get_token(pair.user_id) == env.live()


async def test_an_old_backup(
    env: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file full of spent tokens is opened: at most three of them are sent, in all."""
    for folder in ("now", "then"):
        (tmp_path / folder).mkdir()
    now, backup = Storage("sqlite", tmp_path / "now"), Storage("sqlite", tmp_path / "then")
    with monkeypatch.context() as patch:
        wall = time.time
        patch.setattr(time, "time", lambda: wall() - 7200)
        async with env.app(store=now.store()) as app:
            users = [await env.own_pair(app, env.new_user()) for _ in range(20)]
    await now.close()
    shutil.copy(now.path, backup.path)
    async with env.app(store=now.store()) as app:
        for user in users:
            await app.get_user_by_id(user.user_id).refresh()
    sent, since = env.refreshes_sent(), env.asked()
    async with env.app(store=backup.store(), maintain=True) as app:
        await until(lambda: env.refreshes_sent() - sent >= 3)
        await until(lambda: len(env.log("validate", since=since)) >= len(users))
        # Upkeep has come past all of them when it has validated one who came later.
        pair = env.pair()
        app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await until(lambda: pair.user_id in app.tokens_validity)
        assert env.refreshes_sent() - sent == 3
    await now.close()
    await backup.close()
