"""`ensure_user`: one device login for all processes that need the same user."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.environment import on_each_store, until, within
from twitchvault import AuthFailure, DeviceCode, DeviceCodeFlow, UserAPI

if TYPE_CHECKING:
    from tests.environment import Environment

SCOPES = ("chat:read", "bits:read")


@pytest.fixture(autouse=True)
def quick(env: Environment) -> None:
    """Twitch may be polled every second, which is the least."""
    env.twitch.device_interval = 0


class Screen:
    """Where the codes are shown."""

    def __init__(self) -> None:
        self.codes: list[str] = []

    def show(self, code: DeviceCode) -> None:
        """Show a code."""
        self.codes.append(code.user_code)


def ensuring(
    flow: DeviceCodeFlow, screen: Screen, user_id: str | None = None
) -> asyncio.Task[UserAPI]:
    """A bot that starts."""
    return asyncio.create_task(flow.ensure_user(SCOPES, screen.show, user_id=user_id))


@on_each_store
async def test_three_bots_show_one_code(env: Environment) -> None:
    """On an empty store one of them shows a code, and all get the user who approves it."""
    screen = Screen()
    async with AsyncExitStack() as stack:
        flows = [await stack.enter_async_context(env.device()) for _ in range(3)]
        bots = [ensuring(flow, screen) for flow in flows]
        await until(lambda: screen.codes)
        env.twitch.approve(screen.codes[0], env.alice)
        users = await within(asyncio.gather(*bots))
        assert {user.user_id for user in users} == {env.alice.user_id}
        assert len(screen.codes) == 1
        # The lease is gone, and no scan for users has found it.
        assert [*flows[0].tokens] == [env.alice.user_id]
    assert [*await env.storage.values()] == [env.key(env.alice)]


@pytest.mark.parametrize("endpoint", ["token:device", "validate"])
async def test_a_caller_that_is_cancelled_after_the_grant(env: Environment, endpoint: str) -> None:
    """The pair is stored all the same: the person has approved, and the code is used up."""
    screen = Screen()
    env.twitch.auto_approve(env.alice)
    async with env.device() as flow:
        with env.twitch.hold(endpoint, when="after") as gate:
            bot = ensuring(flow, screen)
            await within(gate.reached())
            bot.cancel()
            await asyncio.sleep(0)
            env.twitch.fail("validate", status=503, times=2)
        with pytest.raises(asyncio.CancelledError):
            await within(bot)
        assert env.alice.user_id in flow.tokens


async def test_a_caller_that_is_cancelled_during_a_poll(env: Environment) -> None:
    """Its answer is waited for, as it may be a grant; after a "pending" nothing more is asked."""
    screen = Screen()
    async with env.device() as flow:
        with env.twitch.hold("token:device", when="after") as gate:
            bot = ensuring(flow, screen)
            await within(gate.reached())
            bot.cancel()
            await asyncio.sleep(0)
            assert not bot.done()
        with pytest.raises(asyncio.CancelledError):
            await within(bot)
        assert env.log("token:device") == [("token", 400)]


@pytest.mark.parametrize("expired", [False, True])
async def test_a_pair_that_was_never_validated(env: Environment, expired: bool) -> None:
    """It may have the scopes: nobody has to sign in before that is known, bad moments or not."""
    screen, pair = Screen(), env.pair(scopes=SCOPES, expired=expired)
    env.twitch.fail("validate", status=503)
    async with env.device(maintain=False) as flow:
        flow.add_token(env.alice.user_id, pair.access_token, pair.refresh_token)
        user = await within(flow.ensure_user(SCOPES, screen.show))
        assert user.user_id == env.alice.user_id
    assert not screen.codes


@pytest.mark.parametrize("user_id", [None, "the user"])
async def test_a_bad_moment_after_the_grant(env: Environment, user_id: str | None) -> None:
    """A pair that Twitch has handed out is kept, also if the next answer is a 503."""
    screen = Screen()
    async with env.device() as flow:
        bot = ensuring(flow, screen, user_id and env.alice.user_id)
        await until(lambda: screen.codes)
        env.twitch.fail("validate", status=503)
        env.twitch.approve(screen.codes[0], env.alice)
        assert (await within(bot)).user_id == env.alice.user_id
    assert len(screen.codes) == 1


async def test_a_stored_user_with_the_scopes_will_do(env: Environment) -> None:
    """More scopes are welcome; too few, a lost login, or another user's are not enough."""
    screen = Screen()
    async with env.device() as flow:
        few = env.pair(user=env.bob, scopes=["chat:read"])
        await flow.add_user(few.access_token, few.refresh_token)
        many = env.pair(scopes=[*SCOPES, "chat:edit"])
        await flow.add_user(many.access_token, many.refresh_token)
        assert (await within(ensuring(flow, screen))).user_id == env.alice.user_id
        assert (await within(ensuring(flow, screen, env.alice.user_id))).login == "alice"
        assert screen.codes == []
        bot = ensuring(flow, screen, env.bob.user_id)
        await until(lambda: len(screen.codes) == 1)
        env.twitch.approve(screen.codes[0], env.bob)
        assert set((await within(bot)).scopes) == set(SCOPES)
        for user in (env.alice, env.bob):
            env.twitch.disconnect(env.client, user)
            with pytest.raises(AuthFailure):
                await flow.get_user_by_id(user.user_id).refresh()
        bot = ensuring(flow, screen)
        await until(lambda: len(screen.codes) == 2)
        env.twitch.approve(screen.codes[1], env.alice)
        assert (await within(bot)).needs_login is None


async def test_another_user_than_expected(env: Environment) -> None:
    """The token is revoked, nothing is stored, and the next one may try again."""
    screen = Screen()
    async with env.device() as flow:
        env.twitch.auto_approve(env.alice)
        with pytest.raises(AuthFailure, match=r"the token was revoked, and nothing is stored"):
            await within(ensuring(flow, screen, env.bob.user_id))
        assert not flow.tokens
        assert env.log("revoke")[-1].status == 200
        env.twitch.auto_approve(env.bob)
        assert (await within(ensuring(flow, screen, env.bob.user_id))).login == "bob"


async def test_a_code_that_nobody_approves(env: Environment) -> None:
    """The wait ends with it; the next call shows another one at once."""
    screen = Screen()
    env.twitch.device_code_lifetime = 1
    async with env.device() as flow:
        with pytest.raises(TimeoutError, match=r"the user has not approved within 1 s"):
            await within(ensuring(flow, screen))
        env.twitch.device_code_lifetime = 100
        env.twitch.auto_approve(env.alice)
        await within(ensuring(flow, screen))
    assert len(screen.codes) == 2


async def test_whoever_gives_up_lets_the_next_one_ask(env: Environment) -> None:
    """A bot that is cancelled leaves nothing behind; a bot that waited shows a code of its own."""
    screen = Screen()
    async with env.device() as first, env.device() as second:
        owner = ensuring(first, screen)
        await until(lambda: screen.codes)
        waiter = ensuring(second, screen)
        await asyncio.sleep(0)
        owner.cancel()
        await until(lambda: len(screen.codes) == 2)
        env.twitch.approve(screen.codes[1], env.alice)
        assert (await within(waiter)).login == "alice"
        assert owner.cancelled()
        assert not first.tokens.keys() - {env.alice.user_id}


async def test_what_shows_the_code_may_fail_or_be_a_coroutine(env: Environment) -> None:
    """Its error is the caller's, and the lease is free again."""

    async def fail(code: DeviceCode) -> None:
        del code
        await asyncio.sleep(0)
        raise LookupError("no screen")

    async with env.device() as flow:
        with pytest.raises(LookupError, match=r"no screen"):
            await within(flow.ensure_user(SCOPES, fail))
        env.twitch.auto_approve(env.alice)
        await within(ensuring(flow, Screen()))
