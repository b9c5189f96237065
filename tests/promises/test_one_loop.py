"""A flow belongs to the event loop of `authorize()`: elsewhere nothing is sent and nothing hangs.

The loops here are real ones in threads of their own; the double listens on the test's loop.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import weakref
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.environment import REDIRECT, until, within
from tests.own_stores import OwnStore
from twitchvault import (
    App,
    AppAPI,
    AuthFailure,
    AuthorizationCodeGrantFlow,
    DeviceCodeFlow,
    StoreError,
    Token,
    UserAPI,
    WrongEventLoop,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.environment import Environment
    from twitchvault.testing.fake import Gate

    Call = Callable[[], Coroutine[Any, Any, object]]

ELSEWHERE = "run_coroutine_threadsafe"
"""What every refusal names as the way back."""


async def on_another_loop(call: Call, flow: App | None = None) -> object:
    """The result of the call on an event loop of its own, in a thread of its own.

    The sockets of `flow` are closed before the loop ends: of those that are left behind Python
    rightly warns.
    """

    async def run() -> object:
        try:
            return await within(call())
        finally:
            if flow is not None:
                await flow.http.close()

    return await asyncio.to_thread(asyncio.run, run())


ARGUMENTS: dict[str, tuple[object, ...]] = {
    "add_user": ("access", "refresh"),
    "authorize": (),
    "check_id_token": (Token(access_token="access"),),
    "close": (),
    "credentials_grant_flow": (),
    "delete": ("users",),
    "ensure_user": (("chat:read",), print),
    "flush": (),
    "get": ("users",),
    "get_authorization_token": ("code", REDIRECT),
    "get_device_token": ("device-code",),
    "get_user": (),
    "health": (),
    "patch": ("users",),
    "post": ("users",),
    "put": ("users",),
    "refresh": (),
    "refresh_token": ("refresh",),
    "renew": ("access",),
    "request": ("GET", "users"),
    "request_device_code": (),
    "revoke": (),
    "revoke_token": ("access",),
    "sync": (),
    "validate": (),
    "validate_token": ("access",),
    "wait_for_device_token": ("device-code", 0.01),
}
"""Every public coroutine, and what it is called with here."""


def coroutines(thing: object) -> dict[str, Call]:
    """The public coroutines of an object, with their arguments."""
    names = [name for name in dir(type(thing)) if not name.startswith("_")]
    methods = {name: getattr(thing, name) for name in names if callable(getattr(type(thing), name))}
    found = {name for name, each in methods.items() if inspect.iscoroutinefunction(each)}

    def call(name: str) -> Call:
        keywords = {"login": "alice"} if (name, type(thing)) == ("get_user", AppAPI) else {}
        return lambda: methods[name](*ARGUMENTS[name], **keywords)

    return {name: call(name) for name in found}


@pytest.mark.parametrize("kind", [DeviceCodeFlow, AuthorizationCodeGrantFlow])
@pytest.mark.parametrize("ended", [False, True], ids=["another loop runs", "the loop is closed"])
async def test_every_coroutine_looks_at_the_loop_first(
    env: Environment, kind: type[App], ended: bool
) -> None:
    """On another loop each is refused in words that help; nothing is sent, bound or closed."""
    flow = kind(**env.arguments(env.confidential))
    if ended:
        user, app = await on_another_loop(lambda: authorized(flow, env), flow)  # type: ignore[misc]
    else:
        user, app = await authorized(flow, env)
    before = flow.get_token(user.user_id)
    asked = env.asked()
    calls = [each for thing in (flow, user, app) for each in coroutines(thing).items()]
    calls.append(("from_app", lambda: kind.from_app(flow).validate_token("access")))
    if not ended:
        calls.append(("enter", flow.__aenter__))
    for name, call in calls:
        if ended and name in {"authorize", "close"}:
            continue  # they are the way out, see below
        with pytest.raises(RuntimeError, match=ELSEWHERE) as caught:
            await on_another_loop(call)
        assert isinstance(caught.value, WrongEventLoop), name
    with pytest.raises(RuntimeError, match=ELSEWHERE):
        await on_another_loop(lambda: anext(user.paginate("users")))  # type: ignore[arg-type]
    assert env.asked() == asked
    assert flow.get_token(user.user_id) == before
    if not ended:
        assert (await user.get_user()).login == "alice"
    await flow.close()


async def authorized(flow: App, env: Environment) -> tuple[UserAPI, AppAPI]:
    """Authorize the flow here; a user of it and its application."""
    await flow.authorize()
    assert flow.application is not None
    return await env.login(flow, client=env.confidential), flow.application


async def test_the_way_back(env: Environment) -> None:
    """From another thread `asyncio.run_coroutine_threadsafe` does what the error says."""
    home = asyncio.get_running_loop()
    async with env.device() as flow:
        user = await env.login(flow)

        async def elsewhere() -> object:
            calling = asyncio.run_coroutine_threadsafe(user.get_user(), home)
            return await asyncio.wrap_future(calling)

        assert await asyncio.to_thread(asyncio.run, elsewhere()) == await user.get_user()


async def test_two_asyncio_runs(env: Environment) -> None:
    """A call in the second `asyncio.run` spends nothing; after `authorize()` there it works."""
    flow = env.device()
    pair = env.pair()

    async def first() -> UserAPI:
        await flow.authorize()
        return await flow.add_user(pair.access_token, pair.refresh_token)

    async def second(user: UserAPI) -> None:
        with pytest.raises(RuntimeError, match="authorize"):
            await user.refresh()
        assert env.twitch.counts.exchanges == 0
        await flow.authorize()
        await user.refresh()
        assert (await user.get_user()).login == "alice"
        await flow.close()

    user = await on_another_loop(first, flow)
    assert isinstance(user, UserAPI)
    await on_another_loop(lambda: second(user))
    assert (env.twitch.counts.exchanges, env.twitch.counts.replays) == (1, 0)


async def test_crowded_starts_and_ends_on_two_loops(env: Environment) -> None:
    """Calls that waited for each other on one loop may do so on the next one."""
    flow = env.device()

    async def start_and_end() -> None:
        await asyncio.gather(*(flow.authorize() for _ in range(3)))
        await flow.close()
        begun = asyncio.ensure_future(flow.authorize())
        await asyncio.sleep(0)
        await flow.close()
        with suppress(StoreError):
            await begun
        async with flow:
            await (await env.login(flow)).refresh()

    for _ in range(2):
        await within(asyncio.to_thread(asyncio.run, start_and_end()))


@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}/tokens.db"])
async def test_close_after_the_loop_has_ended(env: Environment, url: str, tmp_path: object) -> None:
    """It closes what it can, at once, on whatever loop; the flow can be used again."""
    flow = env.device(store=url.format(tmp_path), maintain=True)
    await on_another_loop(flow.authorize, flow)
    await within(flow.close(), 5)
    await flow.close()
    await flow.authorize()
    flow.add_token("1", "a", "r")
    await flow.close()


async def test_close_after_the_loop_has_ended_reports_what_was_not_written(
    env: Environment,
) -> None:
    """What the closed loop could not write is reported, stays queued, and is written later."""
    store = OwnStore()
    flow = env.device(store=store)

    async def first() -> None:
        await flow.authorize()
        store.broken = OSError("disk full")
        flow.add_token("1", "a", "r")

    await on_another_loop(first, flow)
    with pytest.raises(StoreError):
        await within(flow.close())
    store.broken = None
    await flow.authorize()
    await flow.flush()
    assert await store.inner.get(env.key("1")) is not None


async def leave_a_refresh(env: Environment, flow: App, gate: Gate) -> None:
    """Open the flow, and end with an exchange on its way."""
    await flow.authorize()
    user = await env.login(flow)
    asyncio.create_task(user.refresh())  # noqa: RUF006 - the loop ends under it
    await until(lambda: gate.arrived)


async def test_close_ends_a_refresh_that_was_left_behind(env: Environment) -> None:
    """The loop ended while an exchange was on its way: `close()` does not wait for it."""
    flow = env.device()
    with env.twitch.hold("token:refresh_token") as gate:
        await on_another_loop(partial(leave_a_refresh, env, flow, gate), flow)
        await within(flow.close())


async def close_loop_under(first: Call) -> weakref.ref[asyncio.AbstractEventLoop]:
    """Close the loop of a call without its tasks being cancelled."""

    def run_and_close() -> weakref.ref[asyncio.AbstractEventLoop]:
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _loop, _context: None)  # it tells of the tasks it loses
        loop.run_until_complete(first())
        loop.close()
        return weakref.ref(loop)

    return await asyncio.to_thread(run_and_close)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_loop_that_was_closed_under_a_refresh(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that was closed without its tasks being cancelled leaves nothing to wait for.

    On the next loop a refresh ends soon, each time, no spent token is sent, and `close()` takes
    less than 5 s.
    """
    # pytest would keep the errors of what is lost with the loop, and by them the loop.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    flow = env.device()
    gate = env.twitch.hold("token:refresh_token", when="after")
    closed = await close_loop_under(partial(leave_a_refresh, env, flow, gate))
    gate.release()
    for _ in range(2):
        await flow.authorize()
        user = flow.get_user_by_id(env.alice.user_id)
        for _ in range(2):
            with pytest.raises(AuthFailure):
                await within(user.refresh())
        await within(flow.close(), 5)
    assert (env.twitch.counts.exchanges, env.twitch.counts.replays) == (1, 0)
    # What the closed loop leaves behind warns of itself here, not in another test.
    await until(lambda: gc.collect() >= 0 and closed() is None)


async def test_a_reader_of_events_whose_loop_was_closed(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be woken any more; `close()` ends its stream all the same."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    flow = env.device()
    streams = []

    async def first() -> None:
        await flow.authorize()
        streams.append(flow.events())
        asyncio.ensure_future(anext(streams[0]))  # noqa: RUF006 - the loop is closed under it
        await asyncio.sleep(0)

    closed = await close_loop_under(first)
    await within(flow.close(), 5)
    with pytest.raises(StopAsyncIteration):
        await anext(streams.pop())
    await until(lambda: gc.collect() >= 0 and closed() is None)


CHANGES: dict[str, Callable[[App], object]] = {
    "add_token": lambda flow: flow.add_token("1", "other", None),
    "remove_token": lambda flow: flow.remove_token("1"),
    "clear": lambda flow: flow.clear(),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_changes_come_from_the_loop_only(env: Environment, name: str) -> None:
    """In another thread they are refused and change nothing; `call_soon_threadsafe` works."""
    change = CHANGES[name]

    async def elsewhere() -> object:
        return change(flow)

    async with env.device() as flow:
        flow.add_token("1", "a", "r")
        for attempt in (lambda: change(flow), lambda: asyncio.run(elsewhere())):
            with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
                await asyncio.to_thread(attempt)
        assert flow.get_token("1") == ("a", "r")
        home = asyncio.get_running_loop()
        await asyncio.to_thread(home.call_soon_threadsafe, change, flow)
        await until(lambda: flow.get_token("1") != ("a", "r"))


@pytest.mark.parametrize("name", ["authorize", "close", "request_device_code", "sync"])
def test_without_asyncio(name: str) -> None:
    """Where no asyncio loop runs (trio, a plain thread) one sentence says what is missing."""
    flow = DeviceCodeFlow("client-id")
    with pytest.raises(RuntimeError, match="needs a running asyncio event loop"):
        getattr(flow, name)().send(None)
