"""No rotated token is lost when a caller, `close()` or `clear()` comes at the wrong moment."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import aiohttp
import pytest

from tests.promises.steps import steps
from tests.world import REFRESH, World, within
from twitchvault import StoreError, TokenError, TwitchVaultError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twitchvault import App, Token
    from twitchvault.testing.fake import Pair, User

    Act: TypeAlias = Callable[[App, Pair], Coroutine[Any, Any, object]]

pytestmark = pytest.mark.usefixtures("public")


async def seed_refresh(app: App, pair: Pair) -> object:
    """A pair from outside, refreshed for the first time."""
    return await app.add_token(pair.user_id, pair.access_token, pair.refresh_token).refresh()


async def own_refresh(app: App, pair: Pair) -> object:
    """A pair that the vault has got by itself, refreshed."""
    return await app.get_user_by_id(pair.user_id).refresh()


async def helix_call(app: App, pair: Pair) -> object:
    """A call with a dead access token."""
    return await app.get_user_by_id(pair.user_id).get_user()


async def by_refresh_token(app: App, pair: Pair) -> object:
    """The reference's way: a refresh token that is vaulted."""
    return await app.refresh_token(pair.refresh_token)


async def unknown_refresh_token(app: App, pair: Pair) -> object:
    """A refresh token that nobody has seen before."""
    return await app.refresh_token(pair.refresh_token)


async def add_user(app: App, pair: Pair) -> object:
    """A login with a dead access token."""
    return await app.add_user(pair.access_token, pair.refresh_token)


FROM_OUTSIDE = (add_user, unknown_refresh_token, seed_refresh)
ALL = [seed_refresh, own_refresh, helix_call, by_refresh_token, unknown_refresh_token, add_user]


async def prepared(world: World, app: App, act: Act, user: User | None = None) -> Pair:
    """A pair of a (new) user in the state that an act begins with."""
    user = user or world.new_user()
    if act in FROM_OUTSIDE:
        return world.pair(user=user, expired=True)
    handle = await world.own_pair(app, user)
    own = world.twitch.live_pair(world.client, user)
    assert own is not None
    if act is helix_call:
        world.twitch.expire_access(handle.token)
    return own


async def at_home(world: World, pair: Pair) -> bool:
    """Whether the pair that is good at Twitch can be found, from the old one if need be.

    And no lease has been left behind: it can be refreshed at once.
    """
    async with world.app() as app:
        if app.get_token(pair.user_id) is None:
            await add_user(app, pair)
        found = app.get_token(pair.user_id) == world.live(pair.user_id)
        await app.get_user_by_id(pair.user_id).refresh()
        return found


async def cancelled_at(world: World, act: Act, at: int) -> bool:
    """Do it and cancel the caller at a step; whether it ended before that step."""
    with steps(at) as counter:
        async with world.app(connector=aiohttp.TCPConnector(force_close=True)) as app:
            pair = await prepared(world, app, act)
            counter.victim = asyncio.create_task(act(app, pair))
            with suppress(asyncio.CancelledError):
                await counter.victim
            # Closing waits for what is under way.
        finished = not counter.victim.cancelled()
    assert await within(at_home(world, pair)), f"cancelled at step {at}: pair lost"
    assert world.twitch.counts.replays == 0, f"cancelled at step {at}: replayed"
    return finished


@pytest.mark.parametrize(
    ("act", "place"),
    [*((act, "memory") for act in ALL), (own_refresh, "sqlite"), (add_user, "sqlite")],
    indirect=["place"],
)
async def test_a_caller_cancelled_at_every_step(world: World, act: Act) -> None:
    """Whenever the caller is cancelled, the rotated pair is in the store, or nothing was sent."""
    world.twitch.delay("token", headers=0.002, body=0.002)
    for at in itertools.count():
        if await cancelled_at(world, act, at):
            break
    assert at > 5, "the walk saw only a few steps: it does not look where it should"


@pytest.mark.parametrize("act", [own_refresh, add_user])
async def test_all_but_one_caller_cancelled(small: World, act: Act) -> None:
    """Fifty callers share the exchange; those who stay get its result."""
    async with small.app() as app:
        pair = await prepared(small, app, act)
        before = small.twitch.counts.exchanges
        gate = small.twitch.hold(REFRESH, when="after")
        callers = [asyncio.create_task(act(app, pair)) for _ in range(50)]
        await gate.reached()
        for caller in callers[:-1]:
            caller.cancel()
        await asyncio.wait(callers[:-1])
        gate.release()
        await callers[-1]
        assert app.get_token(pair.user_id) == small.live(pair.user_id)
    await small.check(exchanges=before + 1, user=pair.user_id)


@pytest.mark.parametrize("act", [seed_refresh, own_refresh, add_user, unknown_refresh_token])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_close_waits_for_an_exchange(
    world: World, act: Act, when: Literal["before", "after"]
) -> None:
    """`close()` brings an exchange home that has been sent, also when its caller has gone."""
    app = world.app()
    await app.authorize()
    pair = await prepared(world, app, act)
    gate = world.twitch.hold(REFRESH, when=when)
    caller = asyncio.create_task(act(app, pair))
    await gate.reached()
    caller.cancel()
    closing = asyncio.create_task(app.close())
    await asyncio.wait({closing}, timeout=0.05)
    assert not closing.done()
    gate.release()
    await within(closing)
    assert world.live(pair.user_id)[1] != pair.refresh_token
    assert await at_home(world, pair)
    assert world.twitch.counts.replays == 0


@pytest.mark.parametrize("act", [seed_refresh, own_refresh, add_user])
async def test_close_cancelled_during_an_exchange(small: World, act: Act) -> None:
    """`wait_for(app.close(), ...)` that runs out during an exchange does not lose the new pair."""
    app = small.app()
    await app.authorize()
    pair = await prepared(small, app, act)
    gate = small.twitch.hold(REFRESH, when="after")
    caller = asyncio.create_task(act(app, pair))
    await gate.reached()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(app.close(), 0.1)
    gate.release()
    await within(asyncio.gather(caller, return_exceptions=True))
    await within(app.close())
    assert await at_home(small, pair)
    assert small.twitch.counts.replays == 0


async def test_close_cancelled_at_every_step(small: World) -> None:
    """However far `close()` came before it was cancelled, a second one ends well, all is stored."""
    for at in itertools.count():
        with steps(at) as counter:
            app = small.app()
            await app.authorize()
            pair = await prepared(small, app, own_refresh)
            gate, caller = await small.committed(app.get_user_by_id(pair.user_id))
            counter.victim = asyncio.create_task(app.close())
            await asyncio.sleep(0)
            gate.release()
            with suppress(asyncio.CancelledError):
                await counter.victim
            finished = not counter.victim.cancelled()
            await asyncio.wait({caller})
            await within(app.close())
        assert await at_home(small, pair), f"cancelled at step {at}"
        if finished:
            break
    assert at > 3


async def test_authorize_cancelled_at_every_step(world: World) -> None:
    """A cancelled `authorize()` can be repeated, and closing after it ends at once."""
    pair = world.pair()
    for at in itertools.count():
        with steps(at) as counter:
            app = world.app()
            app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
            counter.victim = asyncio.create_task(app.authorize())
            with suppress(asyncio.CancelledError):
                await counter.victim
            finished = not counter.victim.cancelled()
            async with asyncio.timeout(2):
                await app.authorize()
                await app.sync()
                assert app.tokens[pair.user_id] == (pair.access_token, pair.refresh_token)
                await app.close()
        if finished:
            break
    assert at > 0
    assert await world.stored() == (pair.access_token, pair.refresh_token)


async def test_flush_cancelled_at_every_step(small: World) -> None:
    """A cancelled `flush()` takes nothing back: the next one finds all written."""
    pair = small.pair()
    for at in itertools.count():
        with steps(at) as counter:
            async with small.app() as app:
                app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
                counter.victim = asyncio.create_task(app.flush())
                with suppress(asyncio.CancelledError):
                    await counter.victim
                await app.flush()
                assert await small.stored() is not None
            finished = not counter.victim.cancelled()
        async with small.app() as app:
            app.remove_token(pair.user_id)
        if finished:
            break
    assert at > 0


async def test_clear_at_every_step_of_a_login(small: World) -> None:
    """Whenever `clear()` comes, the pair of a login is not lost: the next one finds it."""
    for at in itertools.count():
        pair = small.pair(user=small.new_user(), expired=True)
        app = small.app()
        await app.authorize()
        with steps(at, app.clear) as counter:
            counter.victim = asyncio.create_task(
                app.add_user(pair.access_token, pair.refresh_token)
            )
            async with asyncio.timeout(2):
                with suppress(TwitchVaultError):
                    await counter.victim
                await app.authorize()
                await app.add_user(pair.access_token, pair.refresh_token)
            await app.close()
        await small.check(user=pair.user_id)
        if not counter.reached:
            break
    assert at > 4


async def test_clear_at_every_step_of_authorize(world: World) -> None:
    """Whenever `clear()` comes, `authorize()` ends, and the next one shows what is there."""
    pair = world.pair()
    async with world.app() as first:
        await first.add_user(pair.access_token, pair.refresh_token)
    for at in itertools.count():
        app = world.app()
        with steps(at, app.clear) as counter:
            counter.victim = asyncio.create_task(app.authorize())
            async with asyncio.timeout(2):
                with suppress(StoreError):
                    await counter.victim
                await app.authorize()
                await app.sync()
                assert set(app.tokens) == {pair.user_id}, f"cleared at step {at}"
                await app.close()
        if not counter.reached:
            break
    assert at > 2


async def test_clear_during_an_exchange(world: World) -> None:
    """The pair comes home to the store and not to the views, which the next `authorize()` fills."""
    app = world.app()
    await app.authorize()
    user = await world.own_pair(app)
    gate, call = await world.committed(user)
    app.clear()
    assert dict(app.tokens) == {}
    gate.release()
    await asyncio.wait({call})
    await within(app.flush())
    assert dict(app.tokens) == {}, "what was forgotten stays forgotten"
    await app.authorize()
    assert app.get_token(user.user_id) == world.live()
    await app.close()
    await world.check(exchanges=2)


async def test_a_refresh_after_close(world: World) -> None:
    """A flow that is closed spends no refresh token, for it could not keep the new pair."""
    async with world.app() as app:
        user = await world.own_pair(app)
    for act in (user.refresh, user.get_user, lambda: app.refresh_token(world.live()[1])):
        with suppress(TwitchVaultError):
            await within(act())
    await app.close()
    await world.check(exchanges=1)


async def test_a_call_that_outlives_close(small: World) -> None:
    """A call under way during `close()`, whose 401 comes after it, loses no pair."""
    async with aiohttp.ClientSession() as session:
        async with small.app(session=session) as app:
            user = await small.own_pair(app)
            small.twitch.expire_access(user.token)
            gate = small.twitch.hold("helix")
            call = asyncio.create_task(user.get_user())
            await gate.reached()
        gate.release()
        with suppress(TwitchVaultError):
            await call
        await app.close()
    await small.check()


@pytest.mark.parametrize("state", ["before authorize", "after clear", "after close"])
async def test_a_vaulted_refresh_token_without_a_view(small: World, state: str) -> None:
    """It is not sent past the vault because the flow does not know its users just now."""
    async with small.app() as first:
        await small.own_pair(first)
    app = small.app()
    if state != "before authorize":
        await app.authorize()
    if state == "after clear":
        app.clear()
    if state == "after close":
        await app.close()
    with suppress(TwitchVaultError):
        await app.refresh_token(small.live()[1])
    await app.close()
    await small.check()


@pytest.mark.parametrize("act", ["remove_token", "add_user", "add_token"])
@pytest.mark.parametrize("seeded", [False, True], ids=["own", "seed"])
async def test_somebody_decides_during_an_exchange(world: World, act: str, seeded: bool) -> None:
    """Removed, or signed in anew, while the answer is under way: that decision stands.

    The spent token is remembered all the same: coming back from a file, it is not sent.
    """
    async with world.app() as app, world.app() as other:
        if seeded:
            spent = world.pair(expired=True)
            user = app.add_token(spent.user_id, spent.access_token, spent.refresh_token)
            await app.flush()
        else:
            spent = await prepared(world, app, own_refresh, world.alice)
            user = app.get_user_by_id(spent.user_id)
        gate, call = await world.committed(user)
        login = world.pair()
        if act == "remove_token":
            other.remove_token(user.user_id)
        elif act == "add_token":
            other.add_token(user.user_id, login.access_token, login.refresh_token)
        else:
            await other.add_user(login.access_token, login.refresh_token)
        await other.flush()
        gate.release()
        await _decided(call, login, removed=act == "remove_token")
        await app.flush()
        sent = world.sent()
        await _comes_back(app, spent)
        if act == "remove_token":
            assert app.get_token(user.user_id) is None
            await other.add_user(login.access_token, login.refresh_token)
            await _comes_back(app, spent)
        assert world.sent() == sent
    assert world.twitch.counts.replays == 0
    assert await world.stored() == (login.access_token, login.refresh_token)


async def _decided(call: asyncio.Task[Token], login: Pair, *, removed: bool) -> None:
    if removed:
        with pytest.raises(TokenError):
            await call
    else:
        token = await call
        assert (token.access_token, token.refresh_token) == (
            login.access_token,
            login.refresh_token,
        )


async def _comes_back(app: App, spent: Pair) -> None:
    """A start-up script brings an old pair, in all ways there are."""
    for act in (add_user, unknown_refresh_token):
        with suppress(TwitchVaultError):
            await act(app, spent)
