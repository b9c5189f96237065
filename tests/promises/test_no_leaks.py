"""No token leaks: what an error shows, however it comes to its caller.

Each test ends with the fixture `witness`, which was shown the errors with all that is behind them,
local variables included, and must not have seen a secret. `tests/leaks` has the lives of whole
flows and stores under the same eyes.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from tests.environment import REDIRECT, until, within
from tests.leaks.conftest import env, witness
from twitchvault import (
    App,
    AppAPI,
    AuthorizationCodeGrantFlow,
    DeviceCodeFlow,
    FernetStore,
    HTTPException,
    MemoryStore,
    RedisStore,
    Token,
    UserAPI,
    open_store,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.environment import Environment
    from tests.leaks.witness import Witness
    from twitchvault.testing.fake import Gate, Pair

__all__ = ["env", "witness"]


@dataclass(repr=False)
class Given:
    """What the calls below are made with: all of it is secret."""

    flow: DeviceCodeFlow
    code_flow: AuthorizationCodeGrantFlow
    user: UserAPI
    dead: Pair
    device_code: str
    code: str
    gates: list[Gate]


CALLS: Final[dict[str, Callable[[Given], Awaitable[object]]]] = {
    "get": lambda given: given.user.get("users"),
    "get_user": lambda given: given.user.get_user(),
    "paginate": lambda given: anext(given.user.paginate("users")),
    "refresh": lambda given: given.user.refresh(),
    "validate": lambda given: given.user.validate(),
    "renew": lambda given: given.user.renew(given.user.token),
    "revoke": lambda given: given.user.revoke(),
    "validate_token": lambda given: given.flow.validate_token(given.dead.access_token),
    "revoke_token": lambda given: given.flow.revoke_token(given.dead.access_token),
    "refresh_token": lambda given: given.flow.refresh_token(given.dead.refresh_token),
    "add_user": lambda given: given.flow.add_user(
        given.dead.access_token, given.dead.refresh_token
    ),
    "authorize": lambda given: given.flow.authorize(token=given.dead.access_token),
    "request_device_code": lambda given: given.flow.request_device_code(),
    "ensure_user": lambda given: given.flow.ensure_user({"bits:read"}, print),
    "get_device_token": lambda given: given.flow.get_device_token(given.device_code),
    "wait_for_device_token": lambda given: given.flow.wait_for_device_token(given.device_code),
    "get_authorization_token": lambda given: given.code_flow.get_authorization_token(
        given.code, REDIRECT
    ),
    "check_id_token": lambda given: given.code_flow.check_id_token(
        Token(access_token=given.code, raw={"id_token": given.code}), nonce=given.code
    ),
    "credentials_grant_flow": lambda given: given.code_flow.credentials_grant_flow(),
}
"""Calls with secrets in them, which wait for an endpoint that answers nothing."""
AS_GET: Final = {"request", "post", "put", "patch", "delete"}
OF_THE_STORE: Final = {"close", "flush", "health", "sync"}
ENDPOINTS: Final = ("token", "device", "validate", "revoke", "keys", "helix")


@pytest.mark.parametrize("kind", [App, DeviceCodeFlow, AuthorizationCodeGrantFlow, UserAPI, AppAPI])
def test_no_public_coroutine_is_forgotten(kind: type) -> None:
    """Each has a call above, is sent as `get` is, or sends nothing."""
    names = [name for name in dir(kind) if not name.startswith("_")]
    coroutines = {name for name in names if inspect.iscoroutinefunction(getattr(kind, name))}
    assert len(coroutines) > 5
    assert coroutines <= set(CALLS) | AS_GET | OF_THE_STORE


@pytest.fixture
async def given(witness: Witness, env: Environment) -> AsyncIterator[Given]:
    """Two flows, a user, and secrets to call with, while no endpoint answers."""
    flow, code_flow = env.device(env.public), env.code(store="memory://")
    await code_flow.authorize()
    await flow.authorize()
    user = await env.login(flow, client=env.public)
    dead = env.pair(env.public, env.bob, expired=True)
    device_code = (await flow.request_device_code()).device_code
    code = witness.secret("an-authorization-code/+to-wait-for")
    gates = [env.twitch.hold(endpoint) for endpoint in ENDPOINTS]
    yield Given(flow, code_flow, user, dead, device_code, code, gates)
    for gate in gates:
        gate.release()


@pytest.mark.parametrize("name", CALLS)
async def test_a_time_limit_of_the_callers(witness: Witness, given: Given, name: str) -> None:
    """`asyncio.timeout` and `wait_for` around a call give a plain TimeoutError without frames."""
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.05):
            await CALLS[name](given)
    witness.catch(caught.value)
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    with pytest.raises(TimeoutError) as caught:
        await asyncio.wait_for(CALLS[name](given), 0.05)
    witness.catch(caught.value)


@pytest.mark.parametrize("name", CALLS)
async def test_a_cancelled_caller(witness: Witness, given: Given, name: str) -> None:
    """It stays a proper cancellation, with its message, and carries no frame of ours."""
    errors: list[asyncio.CancelledError] = []

    async def calling() -> None:
        try:
            await CALLS[name](given)
        except asyncio.CancelledError as error:
            errors.append(error)
            raise

    task = asyncio.create_task(calling())
    if name != "wait_for_device_token":  # which waits before it asks
        await until(lambda: any(gate.arrived for gate in given.gates))
    await asyncio.sleep(0)
    task.cancel("enough")
    await within(asyncio.wait({task}))
    assert task.cancelled()
    assert task.cancelling() == 1
    assert errors[0].args == ("enough",)
    witness.catch(errors[0])


async def test_bad_input(witness: Witness, env: Environment) -> None:
    """Of two arguments one is bad: the frames of its error do not hold the good one."""
    access, refresh = witness.secret("good-access-token/+1"), witness.secret("good-refresh-token/1")
    bad = witness.secret("a-b4d-token/+1 and-an0ther-word")
    redis = f"redis://user:{witness.secret('redis-passw0rd')}@host:port"
    async with env.device(env.public) as flow:
        user = flow.add_token("1", access, refresh)
        sync: list[Callable[[], object]] = [
            lambda: flow.add_token("1", access, bad),
            lambda: flow.add_token("1", bad, refresh),
            lambda: flow.add_token("", access, refresh),
            lambda: flow.add_token(env.public.client_id, access, refresh),
            lambda: App("id", bad),
            lambda: App("id:1", witness.secret("a-good-secret/+%s")),
            lambda: App("id", witness.secret("an0ther-secret/%d"), lease_ttl=0),
            lambda: App("id", store=f"bad://user:{witness.secret('passw0rd-in-a-url')}@host"),
            lambda: App("id", store=redis),
            lambda: open_store(redis),
            lambda: RedisStore(redis),
            lambda: FernetStore(redis, "k" * 43 + "="),
            lambda: App("id", proxy=f"bad://user:{witness.secret('pr0xy-passw0rd')}@host"),
        ]
        for call in sync:
            with pytest.raises((ValueError, TypeError)) as caught:
                call()
            witness.catch(caught.value)
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: flow.add_user(access, bad),
            lambda: flow.add_user(bad, refresh),
            lambda: flow.refresh_token(bad),
            lambda: flow.get_device_token(bad),
            lambda: user.renew(bad),
            lambda: user.get("../x"),
            lambda: user.request("FETCH", "users"),
            lambda: user.post("users", json={"a": float("nan")}),
            lambda: flow.wait_for_device_token(access, interval=-1),
        ]
        for start in calls:
            with pytest.raises(ValueError, match="'") as caught:
                await start()
            witness.catch(caught.value)


async def test_a_call_on_another_loop(witness: Witness, env: Environment) -> None:
    """The refusal does not hold what the call was made with."""
    token = witness.secret("a-token-on-an0ther-loop")
    async with env.device(env.public) as flow:

        async def call() -> None:
            with pytest.raises(RuntimeError) as caught:
                await flow.validate_token(token)
            witness.catch(caught.value)
            with pytest.raises(RuntimeError) as caught:
                flow.add_token("1", token, None)
            witness.catch(caught.value)

        await asyncio.to_thread(asyncio.run, call())


@pytest.mark.parametrize("kind", [KeyError, ValueError, TypeError])
async def test_a_bug_keeps_its_traceback(env: Environment, kind: type[Exception]) -> None:
    """An error that nobody raised on purpose is shown with its frames, whatever its kind."""

    def scopes() -> Iterator[str]:
        raise kind("a bug")
        yield ""

    class Broken(MemoryStore):
        @property
        def pushes_changes(self) -> bool:  # type: ignore[override]
            raise kind("a bug")

    async with env.device(env.public) as flow:
        with pytest.raises(kind, match="a bug") as in_coroutine:
            await flow.request_device_code(scopes())
    with pytest.raises(kind, match="a bug") as in_function:
        FernetStore(Broken(), "k" * 43 + "=")
    for caught in (in_coroutine, in_function):
        names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert names[-1] in {"scopes", "pushes_changes"}


async def test_an_error_of_a_shared_refresh(witness: Witness, env: Environment) -> None:
    """All who wait for one refresh get its error, each without the frames of the others."""
    pair = env.pair(env.public)
    async with env.device(env.public) as flow:
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        env.twitch.fail("token:refresh_token", status=403, times=None)
        results = await within(
            asyncio.gather(*(user.refresh() for _ in range(5)), return_exceptions=True)
        )
    for error in results:
        assert isinstance(error, HTTPException)
        witness.catch(error)
