"""No token leaks: what an error shows, however it comes to its caller.

Each test ends with the fixture `witness`, which was shown the errors with all that is behind them,
local variables included, and must not have seen a secret. `tests/leaks` has the lives of whole
flows and stores under the same eyes.
"""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.leaks.conftest import witness, world
from tests.world import REDIRECT, within
from twitchvault import App, DeviceCodeFlow, HTTPException

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.leaks.witness import Witness
    from tests.world import World

__all__ = ["witness", "world"]


async def waiting_calls(witness: Witness, world: World) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Calls with secrets in them that wait for an endpoint which answers nothing."""
    pair, dead = world.pair(world.public), world.pair(world.public, world.bob, expired=True)
    flow = world.device(world.public)
    code_flow = world.code(store="memory://")
    await code_flow.authorize()
    await flow.authorize()
    user = await flow.add_user(pair.access_token, pair.refresh_token)
    code = (await flow.request_device_code()).device_code
    secret = witness.secret("an-authorization-code/+to-wait-for")
    return {
        "get": lambda: user.get("users"),
        "get_user": user.get_user,
        "paginate": lambda: anext(user.paginate("users")),
        "refresh": user.refresh,
        "validate": user.validate,
        "renew": lambda: user.renew(pair.access_token),
        "revoke": user.revoke,
        "validate_token": lambda: flow.validate_token(dead.access_token),
        "refresh_token": lambda: flow.refresh_token(dead.refresh_token),
        "add_user": lambda: flow.add_user(dead.access_token, dead.refresh_token),
        "get_device_token": lambda: flow.get_device_token(code),
        "wait_for_device_token": lambda: flow.wait_for_device_token(code, 5, 60),
        "get_authorization_token": lambda: code_flow.get_authorization_token(secret, REDIRECT),
        "credentials_grant_flow": code_flow.credentials_grant_flow,
    }


CALLS = [
    "get",
    "get_user",
    "paginate",
    "refresh",
    "validate",
    "renew",
    "revoke",
    "validate_token",
    "refresh_token",
    "add_user",
    "get_device_token",
    "wait_for_device_token",
    "get_authorization_token",
    "credentials_grant_flow",
]


@pytest.mark.parametrize("name", CALLS)
async def test_a_time_limit_of_the_callers(witness: Witness, world: World, name: str) -> None:
    """`asyncio.timeout` and `wait_for` around a call give a plain TimeoutError without frames."""
    call = (await waiting_calls(witness, world))[name]
    gates = [world.twitch.hold(endpoint) for endpoint in ("token", "validate", "revoke", "helix")]
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.05):
            await call()
    witness.catch(caught.value)
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    with pytest.raises(TimeoutError) as caught:
        await asyncio.wait_for(call(), 0.05)
    witness.catch(caught.value)
    for gate in gates:
        gate.release()


@pytest.mark.parametrize("name", CALLS)
async def test_a_cancelled_caller(witness: Witness, world: World, name: str) -> None:
    """It stays a proper cancellation, with its message, and carries no frame of ours."""
    call = (await waiting_calls(witness, world))[name]
    gates = [world.twitch.hold(endpoint) for endpoint in ("token", "validate", "revoke", "helix")]

    errors: list[asyncio.CancelledError] = []

    async def calling() -> None:
        try:
            await call()
        except asyncio.CancelledError as error:
            errors.append(error)
            raise

    task = asyncio.create_task(calling())
    await asyncio.sleep(0.02)
    task.cancel("enough")
    await asyncio.wait((task,), timeout=3)
    assert task.cancelled()
    assert task.cancelling() == 1
    assert errors[0].args == ("enough",)
    witness.catch(errors[0])
    for gate in gates:
        gate.release()


async def test_our_own_time_limit(witness: Witness, world: World) -> None:
    """The TimeoutError of `wait_for_device_token` shows no device code."""
    async with world.device(world.public) as flow:
        code = await flow.request_device_code()
        with pytest.raises(TimeoutError, match="has not approved") as caught:
            await flow.wait_for_device_token(code.device_code, 0.01, 0.05)
        witness.catch(caught.value)


async def test_bad_input(witness: Witness, world: World) -> None:
    """Of two arguments one is bad: the frames of its error do not hold the good one."""
    access, refresh = witness.secret("good-access-token/+1"), witness.secret("good-refresh-token/1")
    bad = witness.secret("a-b4d-token/+1 and-an0ther-word")
    async with world.device(world.public) as flow:
        user = flow.add_token("1", access, refresh)
        sync: list[Callable[[], object]] = [
            lambda: flow.add_token("1", access, bad),
            lambda: flow.add_token("1", bad, refresh),
            lambda: flow.add_token("", access, refresh),
            lambda: flow.add_token(world.public.client_id, access, refresh),
            lambda: App("id", bad),
            lambda: App("id:1", witness.secret("a-good-secret/+%s")),
            lambda: App("id", witness.secret("an0ther-secret/%d"), lease_ttl=0),
            lambda: App("id", store=f"bad://user:{witness.secret('passw0rd-in-a-url')}@host"),
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


async def test_a_call_on_another_loop(witness: Witness, world: World) -> None:
    """The refusal does not hold what the call was made with."""
    token = witness.secret("a-token-on-an0ther-loop")
    async with world.device(world.public) as flow:

        async def call() -> None:
            with pytest.raises(RuntimeError) as caught:
                await flow.validate_token(token)
            witness.catch(caught.value)
            with pytest.raises(RuntimeError) as caught:
                flow.add_token("1", token, None)
            witness.catch(caught.value)

        await asyncio.to_thread(asyncio.run, call())


async def test_a_bug_keeps_its_traceback(world: World) -> None:
    """An error of no expected kind reaches the caller as it was raised, to be mended."""
    trace = aiohttp.TraceConfig()

    async def broken(*_: object) -> None:
        raise KeyError("a bug")

    trace.on_request_start.append(broken)
    async with world.device(world.public, http_trace=trace) as flow:
        with pytest.raises(KeyError, match="a bug") as caught:
            await flow.request_device_code()
    files = [frame.filename for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert any(name.endswith("twitchvault/identity.py") for name in files)
    assert any(name.endswith("twitchvault/http.py") for name in files)


async def test_an_error_of_a_shared_refresh(witness: Witness, world: World) -> None:
    """All who wait for one refresh get its error, each without the frames of the others."""
    pair = world.pair(world.public)
    async with world.device(world.public) as flow:
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        world.twitch.fail("token:refresh_token", status=403, times=None)
        results = await within(
            asyncio.gather(*(user.refresh() for _ in range(5)), return_exceptions=True)
        )
    for error in results:
        assert isinstance(error, HTTPException)
        witness.catch(error)


async def test_a_body_of_the_rfc_is_readable(witness: Witness, world: World) -> None:
    """Error codes and words stay, and what was sent is cut out."""
    async with DeviceCodeFlow(**world.arguments(world.public)) as flow:
        token = witness.secret("acc3ss-token-0f-nobody")
        body = {"error": "invalid_token", "error_description": f"the access token {token} is bad"}
        world.twitch.fail("validate", status=401, body=body)
        with pytest.raises(HTTPException) as caught:
            await flow.validate_token(token)
        witness.catch(caught.value)
        assert caught.value.text == "invalid_token: the access token [secret] is bad"
