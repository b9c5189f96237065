"""No rotated token is lost when Redis restarts, or comes back without its newest data."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, TypeAlias

import pytest

from tests.environment import Environment, Storage, until, within
from tests.processes.fleet import all_do
from tests.redis_store.servers import DURABLE, Server, running
from twitchvault import AuthFailure, RedisStore, StoreUnavailable, TokenError
from twitchvault.testing import FakeTwitch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.processes.fleet import Fleet
    from tests.redis_store.servers import Driver
    from twitchvault import App, TokenStore, UserAPI

    Loss: TypeAlias = Callable[[Server], Awaitable[None]]


class RedisStorage(Storage):
    """A server where tokens are kept."""

    def __init__(self, server: Server, folder: Path) -> None:
        super().__init__("redis", folder)
        self.server = server

    def store(self) -> TokenStore:
        """One more connection."""
        return self.closed_later(RedisStore(self.server.url))


@pytest.fixture
def own() -> Iterator[Server]:
    """A server that starts with what it saved last; it saves when a test says so."""
    server = Server()
    with running(server):
        yield server


@pytest.fixture
async def env(own: Server, tmp_path: Path) -> AsyncIterator[Environment]:
    """A double without a limit on Helix calls, and that server."""
    await own.ready()
    async with FakeTwitch(seed=7, helix_limit=1_000_000) as twitch:
        env = Environment(twitch, RedisStorage(own, tmp_path))
        yield env
        await env.close()


async def snapshot(server: Server) -> None:
    """Write all to the disk, once."""
    async with server.client() as client:
        await client.save()


async def flush_all(server: Server) -> None:
    """Somebody empties the database."""
    async with server.client() as client:
        await client.flushall()


async def restart_empty(server: Server) -> None:
    """A restart without persistence."""
    server.kill()
    (server.folder / "dump.rdb").unlink(missing_ok=True)
    await server.start().ready()


async def restart_older(server: Server) -> None:
    """A restart with the data of the last snapshot."""
    server.kill()
    await server.start().ready()


LOSSES = [flush_all, restart_empty, restart_older]


async def of_both(apps: tuple[App, App], user_id: str, *acts: str) -> list[object]:
    """What each of these acts comes to in each process, all at the same time."""
    users = [app.get_user_by_id(user_id) for app in apps]
    calls = [getattr(user, act)() for user in users for act in acts]
    return list(await within(asyncio.gather(*calls, return_exceptions=True), 30))


async def expect_restored(
    env: Environment, apps: tuple[App, App], user: UserAPI, *, exchanges: int
) -> None:
    """The pair that is good at Twitch is in the store and in every view, and can be used."""
    user_id = user.user_id
    await until(lambda: env.is_stored(user_id), 30)
    for app in apps:
        await app.sync()
        assert app.get_token(user_id) == env.live(user_id)
    await env.expect(exchanges=exchanges, user=user_id)
    for app in apps:
        await app.sync()  # what the view shows when a newer one is asked for
        await app.get_user_by_id(user_id).refresh()
    await env.expect(exchanges=exchanges + 2, user=user_id)


def never_sent_to_sign_in(outcomes: list[object]) -> None:
    """A user whom nobody has deleted is lost, not removed: calls succeed or the store is away."""
    assert not [each for each in outcomes if isinstance(each, TokenError | AuthFailure)]
    failures = [each for each in outcomes if isinstance(each, BaseException)]
    assert all(isinstance(failure, StoreUnavailable) for failure in failures), failures


@pytest.mark.parametrize("lose", LOSSES)
async def test_lost_during_an_exchange(env: Environment, own: Server, lose: Loss) -> None:
    """What the server forgets, a lease too, is written back: nobody sends the token again."""
    async with env.app(lease_ttl=20) as one, env.app(lease_ttl=20) as two:
        user = await env.own_pair(one)
        await snapshot(own)
        await user.refresh()
        await two.sync()
        gate, call = await env.hold_answer(user)
        await lose(own)
        # The other process finds that its access token is dead, while the answer is on its way.
        other = asyncio.create_task(two.get_user_by_id(user.user_id).get_user())
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.shield(other)
        assert env.twitch.counts.replays == 0
        gate.release()
        await within(call, 30)
        with suppress(StoreUnavailable):
            await within(other, 30)
        await expect_restored(env, (one, two), user, exchanges=3)


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("what", ["20 refreshes", "a login"])
async def test_lost_since_the_snapshot(
    env: Environment, own: Server, lose: Loss, what: str
) -> None:
    """What a living process holds and the server has forgotten is written back."""
    async with env.app() as one, env.app() as two:
        user = await env.own_pair(one)
        await snapshot(own)
        exchanges = 1
        if what == "a login":
            await env.login(one)
        else:
            for _ in range(20):
                await user.refresh()
            exchanges += 20
        await two.sync()
        await lose(own)
        outcomes = await of_both((one, two), user.user_id, "get_user")
        never_sent_to_sign_in(outcomes)
        await expect_restored(env, (one, two), user, exchanges=exchanges)


ARGUMENTS: dict[str, list[object]] = {"DEL": [], "RENAME": ["elsewhere"], "PEXPIRE": [1]}


@pytest.mark.parametrize("how", ARGUMENTS)
async def test_one_key_is_lost(env: Environment, own: Server, how: str) -> None:
    """Whichever key of the store goes, and in whatever way: no user is taken for removed."""
    async with env.app() as one, env.app() as two, own.client() as client:
        user = await env.own_pair(one)
        await two.sync()
        exchanges = 1
        for key in sorted(await client.keys("*")):
            await client.execute_command(how, key, *ARGUMENTS[how])
            await until(lambda key=key: gone_or_written_back(client, key))  # type: ignore[misc]
            outcomes = await of_both((one, two), user.user_id, "get_user", "validate")
            never_sent_to_sign_in(outcomes)
            for app in (one, two):
                assert app.get_token(user.user_id) == env.live(user.user_id)
            await expect_restored(env, (one, two), user, exchanges=exchanges)
            exchanges += 2


async def gone_or_written_back(client: Driver, key: bytes) -> bool:
    """Whether the expiry of a key is over, one way or the other."""
    return bool(await client.pttl(key) < 0)


async def test_a_refresh_right_after_the_loss(env: Environment, own: Server) -> None:
    """The store holds less than this process: ours is written back before anything is sent."""
    async with env.app() as one, env.app() as two:
        user = await env.own_pair(one)
        await snapshot(own)
        await user.refresh()
        await two.sync()
        await restart_older(own)
        outcomes = await of_both((one, two), user.user_id, "refresh")
        never_sent_to_sign_in(outcomes)
        await env.expect(user=user.user_id)


async def test_a_login_after_a_loss(env: Environment, own: Server) -> None:
    """It stands, also when somebody comes back who has removed the user before the loss."""
    one = env.app()
    async with one:
        user = await env.own_pair(one)
        one.remove_token(user.user_id)
    await flush_all(own)
    async with env.app() as two:
        await env.login(two)
        async with one:
            await one.sync()
            await one.flush()
            assert one.get_token(user.user_id) == env.live()
    await env.expect(exchanges=1)


@pytest.fixture
def store_url(own: Server) -> str:
    """Where the processes of a fleet meet."""
    return own.url


@pytest.fixture
def durable(own: Server) -> Server:
    """The server keeps on its disk what it has acknowledged."""
    own.options = DURABLE
    own.kill()
    return own.start()


async def test_the_server_is_killed_and_restarted(fleet: Fleet, durable: Server) -> None:
    """`kill -9` of the server around an exchange: nothing that it acknowledged is lost."""
    await durable.ready()
    workers = await fleet.start(2)
    user_id = await fleet.own_pair(workers[0])
    moments: list[Literal["before", "after"]] = ["before", "after", "after"]
    for exchanges, when in enumerate(moments, 2):
        await fleet.twitch.expire_access(user_id)
        async with await fleet.twitch.hold("token:refresh_token", when=when) as gate:
            calls = asyncio.ensure_future(all_do(workers, "call", user_id=user_id, count=20))
            await gate.reached()
            durable.kill()
            await gate.release()
            await asyncio.sleep(0.2)  # the outage itself
            await durable.start().ready()
            assert await calls == [[], []]
        await fleet.expect(user_id, exchanges=exchanges)
