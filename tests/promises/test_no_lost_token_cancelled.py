"""No rotated token is lost when a caller, `close()` or `clear()` comes at the wrong moment."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import aiohttp
import pytest

from tests.environment import REFRESH, Environment, on_each_store, our_tasks, within
from tests.promises.steps import at_every_step, steps
from twitchvault import StoreError, TwitchVaultError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from twitchvault import App
    from twitchvault.testing.fake import Pair

    Act: TypeAlias = Callable[[App, Pair], Coroutine[Any, Any, object]]


async def add_user(app: App, pair: Pair) -> object:
    """A login."""
    return await app.add_user(pair.access_token, pair.refresh_token)


async def add_token(app: App, pair: Pair) -> object:
    """A pair that is stored without validation, then refreshed."""
    return await app.add_token(pair.user_id, pair.access_token, pair.refresh_token).refresh()


async def refresh_token(app: App, pair: Pair) -> object:
    """The exchange of a refresh token, vaulted or not."""
    return await app.refresh_token(pair.refresh_token)


async def refresh(app: App, pair: Pair) -> object:
    """The refresh of a user."""
    return await app.get_user_by_id(pair.user_id).refresh()


async def call(app: App, pair: Pair) -> object:
    """A call with a dead access token."""
    return await app.get_user_by_id(pair.user_id).get_user()


FROM_OUTSIDE: Final = ((add_user, False), (refresh_token, False), (add_token, False))
ALL: Final = (*FROM_OUTSIDE, (refresh, True), (call, True), (refresh_token, True))
"""Each act, and whether the vault has got its pair by an exchange of its own."""


async def prepared(env: Environment, app: App, *, own: bool, dead: bool = False) -> Pair:
    """A pair of a new user: an expired one from outside, or one of the vault's own."""
    user = env.new_user()
    if not own:
        return env.pair(user=user, expired=True)
    handle = await env.own_pair(app, user)
    pair = env.twitch.live_pair(env.client, user)
    assert pair is not None
    if dead:
        env.twitch.expire_access(handle.token)
    return pair


async def is_safe(env: Environment, pair: Pair) -> bool:
    """Whether the pair that is good at Twitch can be found, from the old one if need be.

    And no lease has been left behind: it can be refreshed at once.
    """
    async with env.app() as app:
        if app.get_token(pair.user_id) is None:
            await add_user(app, pair)
        found = app.get_token(pair.user_id) == env.live(pair.user_id)
        await refresh(app, pair)
        return found


# Callers


@pytest.mark.parametrize(
    ("act", "own", "storage"),
    [*((*each, "memory") for each in ALL), (refresh, True, "sqlite"), (add_user, False, "sqlite")],
    indirect=["storage"],
)
async def test_a_caller_cancelled_at_every_step(env: Environment, act: Act, own: bool) -> None:
    """Whenever the caller is cancelled, the rotated pair is in the store, or nothing was sent."""
    env.twitch.delay("token", headers=0.002, body=0.002)

    async def attempt(at: int) -> bool:
        connector = aiohttp.TCPConnector(force_close=True)
        with steps(at) as counter:
            async with env.app(connector=connector) as app:  # closing waits for what is under way
                pair = await prepared(env, app, own=own, dead=act is call)
                finished = await counter.run(act(app, pair))
        assert await within(is_safe(env, pair)), f"cancelled at step {at}: pair lost"
        assert env.twitch.counts.replays == 0, f"cancelled at step {at}: replayed"
        return finished

    await at_every_step(attempt, 6)


@pytest.mark.parametrize(("act", "own"), [(refresh, True), (add_user, False)])
async def test_all_but_one_caller_cancelled(env: Environment, act: Act, own: bool) -> None:
    """Fifty callers share the exchange; those who stay get its result."""
    async with env.app() as app:
        pair = await prepared(env, app, own=own)
        before = env.twitch.counts.exchanges
        gate = env.twitch.hold(REFRESH, when="after")
        callers = [asyncio.create_task(act(app, pair)) for _ in range(50)]
        await gate.reached()
        for caller in callers[:-1]:
            caller.cancel()
        await asyncio.wait(callers[:-1])
        gate.release()
        await callers[-1]
        assert app.get_token(pair.user_id) == env.live(pair.user_id)
    await env.expect(exchanges=before + 1, user=pair.user_id)


# close()


@on_each_store
@pytest.mark.parametrize(("act", "own"), [*FROM_OUTSIDE, (refresh, True)])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_close_waits_for_an_exchange(
    env: Environment, act: Act, own: bool, when: Literal["before", "after"]
) -> None:
    """`close()` returns when the pair of an exchange that was sent is stored.

    Also when its caller has gone, and to all tasks that close at the same time.
    """
    app = env.app()
    await app.authorize()
    pair = await prepared(env, app, own=own)
    gate = env.twitch.hold(REFRESH, when=when)
    caller = asyncio.create_task(act(app, pair))
    await gate.reached()
    caller.cancel()
    closing = [asyncio.create_task(app.close()) for _ in range(3)]
    await asyncio.wait(closing, timeout=0.05)
    assert not any(task.done() for task in closing)
    gate.release()
    await within(asyncio.gather(*closing))
    assert env.live(pair.user_id)[1] != pair.refresh_token
    assert await is_safe(env, pair)
    assert env.twitch.counts.replays == 0


async def test_close_cancelled_at_every_step(env: Environment) -> None:
    """However far `close()` came before it was cancelled, a second one ends well, all is stored."""

    async def attempt(at: int) -> bool:
        with steps(at) as counter:
            app = env.app()
            await app.authorize()
            pair = await prepared(env, app, own=True)
            gate, caller = await env.hold_answer(app.get_user_by_id(pair.user_id))
            closing = asyncio.ensure_future(counter.run(app.close()))
            await asyncio.sleep(0)
            gate.release()
            finished = await closing
            await asyncio.wait({caller})
            await within(app.close())
        assert await is_safe(env, pair), f"cancelled at step {at}"
        return finished

    await at_every_step(attempt, 4)


async def test_a_refresh_after_close(env: Environment) -> None:
    """A closed flow spends no refresh token: it could not keep the pair; nothing stays open."""
    async with env.app() as app:
        user = await env.own_pair(app)
    access_token, refresh_token = env.live()
    calls: list[Callable[[], Awaitable[object]]] = [
        user.refresh,
        user.get_user,
        lambda: app.refresh_token(refresh_token),
        lambda: app.validate_token(access_token),
        lambda: app.add_user(access_token, refresh_token),
    ]
    for start in calls:
        with suppress(TwitchVaultError):
            await within(start())
        assert our_tasks() == []
    await app.close()
    await env.expect(exchanges=1)


async def test_a_call_that_outlives_close(env: Environment) -> None:
    """A call under way during `close()`, whose 401 comes after it, loses no pair."""
    async with aiohttp.ClientSession() as session:
        async with env.app(session=session) as app:
            user = await env.own_pair(app)
            env.twitch.expire_access(user.token)
            gate = env.twitch.hold("helix")
            asked = asyncio.create_task(user.get_user())
            await gate.reached()
        gate.release()
        with suppress(TwitchVaultError):
            await asked
        await app.close()
    await env.expect()


@pytest.mark.parametrize("state", ["before authorize", "after clear", "after close"])
async def test_a_vaulted_refresh_token_without_a_view(env: Environment, state: str) -> None:
    """It is not sent past the vault because the flow does not know its users just now."""
    async with env.app() as first:
        await env.own_pair(first)
    app = env.app()
    if state != "before authorize":
        await app.authorize()
    if state == "after clear":
        app.clear()
    if state == "after close":
        await app.close()
    with suppress(TwitchVaultError):
        await app.refresh_token(env.live()[1])
    await app.close()
    await env.expect()


# authorize(), flush() and clear()


@on_each_store
async def test_authorize_cancelled_at_every_step(env: Environment) -> None:
    """A cancelled `authorize()` can be repeated, and closing after it ends at once."""
    pair = env.pair()

    async def attempt(at: int) -> bool:
        with steps(at) as counter:
            app = env.app()
            app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
            finished = await counter.run(app.authorize())
            await within(app.authorize())
            await within(app.sync())
            assert app.tokens[pair.user_id] == (pair.access_token, pair.refresh_token)
            await within(app.close())
        return finished

    await at_every_step(attempt, 1)
    assert await env.is_stored()


async def test_clear_at_every_step_of_a_login(env: Environment) -> None:
    """Whenever `clear()` comes, the pair of a login is not lost: the next one finds it."""

    async def attempt(at: int) -> bool:
        pair = env.pair(user=env.new_user(), expired=True)
        app = env.app()
        await app.authorize()
        with steps(at, app.clear) as counter:
            with suppress(TwitchVaultError):
                await within(counter.run(add_user(app, pair)))
            await within(app.authorize())
            await within(add_user(app, pair))
            await app.close()
        await env.expect(user=pair.user_id)
        return not counter.reached

    await at_every_step(attempt, 5)


@on_each_store
async def test_clear_at_every_step_of_authorize(env: Environment) -> None:
    """Whenever `clear()` comes, `authorize()` ends, and the next one shows what is there."""
    async with env.app() as first:
        await env.login(first)

    async def attempt(at: int) -> bool:
        app = env.app()
        with steps(at, app.clear) as counter:
            with suppress(StoreError):
                await within(counter.run(app.authorize()))
            await within(app.authorize())
            await within(app.sync())
            assert set(app.tokens) == {env.alice.user_id}, f"cleared at step {at}"
            await within(app.close())
        return not counter.reached

    await at_every_step(attempt, 3)


@on_each_store
@pytest.mark.parametrize("what", ["an exchange", "a write"])
async def test_clear_before_a_pair_is_stored(env: Environment, what: str) -> None:
    """The pair reaches the store and not the views, which the next `authorize()` fills."""
    app = env.app()
    await app.authorize()
    if what == "a write":
        pair = env.pair()
        app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        app.clear()
    else:
        gate, asked = await env.hold_answer(await env.own_pair(app))
        app.clear()
        assert dict(app.tokens) == {}
        gate.release()
        await asyncio.wait({asked})
    await within(app.flush())
    assert dict(app.tokens) == {}, "what was forgotten shows again"
    await app.authorize()
    assert app.get_token(env.alice.user_id) == env.live()
    await app.close()
    await env.expect()
