"""Pairs from outside: exchanged once, however often, by whomever and in whatever way they come."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from twitchvault import AuthFailure, RateLimited, TwitchServerError, TwitchVaultError
from twitchvault.vault.record import Record, encode

from .world import Held, OwnStore, WatchedStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twitchvault import App, MemoryStore
    from twitchvault.stores.base import TokenStore
    from twitchvault.testing.fake import Pair

    from .world import World

TOKEN = "token:refresh_token"
Act: TypeAlias = "Callable[[App, Pair], Coroutine[Any, Any, None]]"


async def add_user(app: App, pair: Pair) -> None:
    """By a login."""
    await app.add_user(pair.access_token, pair.refresh_token)


async def add_token(app: App, pair: Pair) -> None:
    """Unseen, then used."""
    user = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    await user.get_user()


async def checked(world: World, store: TokenStore, pair: Pair, exchanges: int) -> None:
    """So many exchanges, no replay, the good pair in the store and nothing left lying about."""
    assert world.twitch.counts.replays == 0
    assert world.twitch.counts.exchanges == exchanges
    assert await world.stored(store, pair.user_id) == world.live(pair.user_id)
    assert await store.get(world.seed_key(pair.refresh_token)) is None


@pytest.mark.parametrize("acts", [[add_user] * 4, [add_token] * 4, [add_user, add_token] * 2])
async def test_four_flows_with_the_same_pair(
    world: World, store: TokenStore, acts: list[Act]
) -> None:
    """Four flows that take in one expired pair at the same moment exchange it once."""
    pair = world.issue_expired()
    apps = [world.app(store) for _ in acts]
    await asyncio.gather(*(app.authorize() for app in apps))
    await asyncio.gather(*(act(app, pair) for act, app in zip(acts, apps, strict=True)))
    for app in apps:
        await app.sync()
        assert app.tokens[pair.user_id] == world.live(pair.user_id)
    await asyncio.gather(*(app.close() for app in apps))
    await checked(world, store, pair, 1)


@pytest.mark.parametrize("acts", [(add_user, add_token), (add_token, add_user)])
@pytest.mark.parametrize("offset", range(0, 24, 3))
async def test_one_after_the_other(
    world: World, memory: MemoryStore, acts: tuple[Act, Act], offset: int
) -> None:
    """The second begins while the first is somewhere in the middle: still one exchange."""
    pair = world.issue_expired()
    apps = [world.app(memory) for _ in acts]
    await asyncio.gather(*(app.authorize() for app in apps))
    first = asyncio.create_task(acts[0](apps[0], pair))
    for _ in range(offset):
        await asyncio.sleep(0)
    await asyncio.gather(first, acts[1](apps[1], pair))
    await asyncio.gather(*(app.close() for app in apps))
    await checked(world, memory, pair, 1)


@pytest.mark.parametrize("act", [add_user, add_token])
async def test_an_old_seed_comes_again(world: World, store: TokenStore, act: Act) -> None:
    """After twenty rotations and a restart the spent pair yields the vaulted one, unasked."""
    pair = world.issue_expired()
    async with world.app(store) as app:
        await act(app, pair)
        for _ in range(20):
            await app.get_user_by_id(pair.user_id).refresh()
    sent = world.sent()
    async with world.app(store) as app:
        await act(app, pair)
        assert app.tokens[pair.user_id] == world.live(pair.user_id)
        assert (await app.get_user_by_id(pair.user_id).get_user()).id == pair.user_id
        token = await app.refresh_token(pair.refresh_token)
        assert (token.access_token, token.refresh_token) == world.live(pair.user_id)
    assert world.sent() == sent
    await checked(world, store, pair, 21)


async def test_every_seed_is_remembered(world: World, memory: MemoryStore) -> None:
    """Each pair that came from outside is known for good, not only the last few of them."""
    user = world.user()
    pairs = []
    async with world.app(memory) as app:
        for _ in range(40):
            pairs.append(world.issue_expired(user))
            await add_user(app, pairs[-1])
    sent = world.sent()
    async with world.app(memory) as app:
        await add_token(app, pairs[0])
    assert world.sent() == sent
    assert world.twitch.counts.replays == 0


async def test_a_seed_whose_first_owner_was_slow(world: World, memory: MemoryStore) -> None:
    """Who lost the lease while looking elsewhere takes nothing away from who has it now.

    A login finds, after its lease was taken over, that the pair has a user: it must not remove the
    place where the new owner is about to park the new pair.
    """
    pair = world.issue_expired()
    slow_store = OwnStore(memory)
    slow, quick = world.app(slow_store, lease_ttl=0.5), world.app(memory, lease_ttl=0.5)
    await slow.authorize()
    await quick.authorize()
    leased = Held("put", "/seed/", skip=1)
    looking = Held("scan")

    async def stall(operation: str, key: str) -> None:
        await leased(operation, key)
        if leased.reached.is_set() and operation == "scan":
            await looking(operation, key)

    leased.released.set()
    slow_store.before = stall
    login = asyncio.create_task(add_user(slow, pair))
    await looking.reached.wait()
    gate = world.twitch.hold(TOKEN, when="after")
    use = asyncio.create_task(add_token(quick, pair))
    await gate.reached()
    removed = asyncio.Event()

    async def watch(operation: str, _key: str) -> None:
        if operation in {"delete", "get"}:
            removed.set()

    slow_store.before = watch
    looking.released.set()
    await removed.wait()
    await asyncio.sleep(0.02)
    gate.release()
    for task in (use, login):
        with suppress(TwitchVaultError):
            await task
    await slow.close()
    await quick.close()
    await checked(world, memory, pair, 1)


async def test_a_refused_seed(world: World, store: TokenStore) -> None:
    """A pair that is dead is AuthFailure for every flow; Twitch is asked for it once."""
    pair = world.issue_expired()
    world.twitch.disconnect(world.client, pair.user_id)
    for _ in range(2):
        apps = [world.app(store) for _ in range(2)]
        await asyncio.gather(*(app.authorize() for app in apps))
        outcomes = await asyncio.gather(
            *(add_user(app, pair) for app in apps), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [AuthFailure] * 2
        assert pair.user_id not in apps[0].tokens
        await asyncio.gather(*(app.close() for app in apps))
    assert world.sent() == 1


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, TwitchServerError)])
async def test_weather_at_validation_is_not_a_dead_token(
    world: World, memory: MemoryStore, status: int, kind: type[Exception]
) -> None:
    """Only a 401 makes `add_user` use the refresh token; all else is raised, nothing stored."""
    pair = world.issue()
    world.twitch.fail("validate", status=status)
    async with world.app(memory) as app:
        with pytest.raises(kind):
            await add_user(app, pair)
        assert world.sent() == 0
        assert dict(app.tokens) == {}


async def test_weather_after_the_exchange(world: World, store: TokenStore) -> None:
    """Exchanged, and then Twitch will not say whose it is: the next login brings the pair home."""
    pair = world.issue_expired()
    async with world.app(store) as app:
        gate = world.twitch.hold(TOKEN, when="after")
        login = asyncio.create_task(add_user(app, pair))
        await gate.reached()
        world.twitch.fail("validate", status=500)
        gate.release()
        with pytest.raises(TwitchServerError):
            await login
    async with world.app(store) as app:
        await add_user(app, pair)
        assert app.tokens[pair.user_id] == world.live(pair.user_id)
    await checked(world, store, pair, 1)


async def test_parked_until_its_access_token_died(world: World, memory: MemoryStore) -> None:
    """A pair that was parked by a process that died is renewed when its access token is dead."""
    pair = world.issue_expired()
    async with world.app(memory) as app:
        gate = world.twitch.hold(TOKEN, when="after")
        login = asyncio.create_task(add_user(app, pair))
        await gate.reached()
        world.twitch.fail("validate", status=500)
        gate.release()
        with suppress(TwitchServerError):
            await login
    world.twitch.expire_access(pair.user_id)
    apps = [world.app(memory) for _ in range(3)]
    await asyncio.gather(*(app.authorize() for app in apps))
    await asyncio.gather(*(add_user(app, pair) for app in apps))
    await asyncio.gather(*(app.close() for app in apps))
    await checked(world, memory, pair, 2)


async def test_what_lay_parked_is_not_sent_when_it_is_spent(
    world: World, memory: MemoryStore
) -> None:
    """A process died between moving a pair in and clearing its place; the user moved on, and left.

    What still lies in that place was spent long ago and is not sent again.
    """
    pair = world.issue_expired()
    async with world.app(memory) as app:
        await add_user(app, pair)
        parked = app.tokens[pair.user_id]
        left_behind = Record(
            access_token=parked[0],
            refresh_token=parked[1],
            seeded=False,
            seeds=world.seed_key(pair.refresh_token).rpartition("/")[2],
        )
        await app.get_user_by_id(pair.user_id).refresh()
        await memory.put(world.seed_key(pair.refresh_token), encode(left_behind))
        app.remove_token(pair.user_id)
        await app.flush()
        with suppress(AuthFailure):
            await add_user(app, pair)
    assert world.twitch.counts.replays == 0


async def test_after_a_removal_a_spent_seed_is_still_known(
    world: World, memory: MemoryStore
) -> None:
    """Removed, signed in anew, restarted with the old configuration: the new login stands."""
    user = world.user()
    seed = world.issue_expired(user)
    async with world.app(memory) as app:
        await add_user(app, seed)
        app.remove_token(seed.user_id)
        await app.flush()
        login = world.issue(user)
        await add_user(app, login)
    async with world.app(memory) as app:
        await add_token(app, seed)
    assert world.twitch.counts.replays == 0
    assert await world.stored(memory, seed.user_id) == (login.access_token, login.refresh_token)


async def test_one_pair_under_two_names(world: World, memory: MemoryStore) -> None:
    """A pair that was stored under a wrong user id too: its refresh token is sent once."""
    pair = world.issue_expired()
    async with world.app(memory) as app:
        wrong = app.add_token("1", pair.access_token, pair.refresh_token)
        right = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await app.flush()
        for user in (wrong, right):
            with suppress(TwitchVaultError):
                await user.refresh()
    assert world.twitch.counts.replays == 0


async def test_a_stranger_is_no_user(
    world: World, confidential: World, memory: MemoryStore
) -> None:
    """Another client's token, and an app token, are AuthFailure and leave nothing behind."""
    foreign = confidential.issue()
    async with world.app(memory) as app:
        with pytest.raises(AuthFailure):
            await add_user(app, foreign)
        assert dict(app.tokens) == {}
    async with confidential.app(memory) as app:
        credentials = await app.credentials_grant_flow()
        with pytest.raises(AuthFailure):
            await app.add_user(credentials.access_token, None)
        assert set(app.tokens) == {confidential.client.client_id}


async def test_scanned_store(world: World, memory: MemoryStore) -> None:
    """Logins over a store that cannot be watched: one exchange as well."""
    pair = world.issue_expired()
    apps = [world.app(OwnStore(memory)) for _ in range(3)]
    await asyncio.gather(*(app.authorize() for app in apps))
    await asyncio.gather(*(add_user(app, pair) for app in apps))
    await asyncio.gather(*(app.close() for app in apps))
    await checked(world, memory, pair, 1)


async def test_a_lease_is_given_back_when_the_look_elsewhere_fails(
    world: World, memory: MemoryStore
) -> None:
    """The store fails right after the lease on a seed: another process need not wait for long."""
    pair = world.issue_expired()
    store = WatchedStore(memory)
    app = world.app(store, lease_ttl=4)
    await app.authorize()
    app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    await app.flush()
    puts: list[str] = []

    async def fail_after_the_lease(operation: str, key: str) -> None:
        if operation == "put" and "/seed/" in key:
            puts.append(key)
        elif operation == "get" and len(puts) == 2:
            puts.append("failed")
            raise OSError("for a moment")

    store.before = fail_after_the_lease
    with pytest.raises(TwitchVaultError):
        await app.get_user_by_id(pair.user_id).refresh()
    assert "failed" in puts
    async with asyncio.timeout(2), world.app(memory, lease_ttl=4) as other:
        await other.get_user_by_id(pair.user_id).refresh()
    await app.close()


async def test_two_who_bring_a_parked_pair_home(world: World, memory: MemoryStore) -> None:
    """One is slow to bring a parked pair home, its access token dies, another renews it there.

    Whoever comes first, the newest of the pairs is the one that stands.
    """
    pair = world.issue_expired()
    stores = [WatchedStore(memory), WatchedStore(memory)]
    slow, late = (world.app(store, lease_ttl=4) for store in stores)
    await asyncio.gather(slow.authorize(), late.authorize())
    holds = [Held("put", world.key("")), Held("put", world.key(""))]
    for store, held in zip(stores, holds, strict=True):
        store.before = held
    logins = [asyncio.create_task(add_user(slow, pair))]
    await holds[0].reached.wait()
    world.twitch.expire_access(pair.user_id)
    logins.append(asyncio.create_task(add_user(late, pair)))
    await holds[1].reached.wait()
    for held, login in zip(holds, logins, strict=True):
        held.released.set()
        with suppress(TwitchVaultError):
            await login
    await slow.close()
    await late.close()
    async with world.app(memory) as app:
        await app.get_user_by_id(pair.user_id).get_user()
    assert world.twitch.counts.replays == 0
    assert await world.stored(memory, pair.user_id) == world.live(pair.user_id)
