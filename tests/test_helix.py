"""Helix calls against a service that contradicts itself, and with arguments that cannot be sent."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.environment import within
from twitchvault import HTTPException, Unauthorized

if TYPE_CHECKING:
    from tests.environment import Environment
    from twitchvault import DeviceCodeFlow, UserAPI

DEAD = {"error": "Unauthorized", "status": 401, "message": "Invalid OAuth token"}


async def test_a_call_that_helix_always_refuses_costs_one_exchange(
    env: Environment, user: UserAPI
) -> None:
    """Helix calls every token dead, `validate` none: twenty calls at once, and all after them."""
    env.twitch.fail("helix:users", status=401, body=DEAD, times=None)
    calls = [user.get("users") for _ in range(20)]
    outcomes = await within(asyncio.gather(*calls, return_exceptions=True), 10)
    assert {type(outcome) for outcome in outcomes} == {Unauthorized}
    for _ in range(5):
        with pytest.raises(Unauthorized, match="Invalid OAuth token"):
            await within(user.get("users"))
        assert env.twitch.counts.exchanges == 1
    assert user.needs_login is None
    assert env.twitch.counts.replays == 0


@pytest.mark.parametrize("doubted", [False, True])
async def test_a_token_that_dies_after_helix_was_wrong(
    env: Environment, user: UserAPI, doubted: bool
) -> None:
    """It is renewed in the same call: at once if Helix has taken a token since, else validated."""
    env.twitch.fail("helix:users", status=401, body=DEAD, times=2)
    with pytest.raises(Unauthorized):
        await user.get("users")
    if not doubted:
        await user.get("users")
    env.twitch.expire_access(user.token)
    asked = env.asked()
    assert (await user.get_user()).login == "alice"
    assert env.asked() == asked + 3 + doubted, "a call, an exchange, a call"
    assert env.twitch.counts.exchanges == 2


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ([("id", "1")], TypeError),
        ("id=1", TypeError),
        ({"id": b"1"}, TypeError),
        ({"id": [["1"]]}, TypeError),
        ({"started_at": datetime(2026, 1, 1, tzinfo=UTC)}, TypeError),
        ({b"id": "1"}, TypeError),
        ({"id": "a\ud800"}, ValueError),
        ({"id": float("nan")}, ValueError),
        ({"id": 10**5000}, ValueError),
    ],
)
async def test_params_that_cannot_be_sent(
    env: Environment,
    user: UserAPI,
    params: Any,  # noqa: ANN401
    error: type[Exception],
) -> None:
    """They are named before anything is sent: bytes and dates would reach Twitch as nonsense."""
    asked = env.asked()
    with pytest.raises(error, match="'params'"):
        await user.get("users", params=params)
    with pytest.raises(error, match="'params'"):
        await anext(user.paginate("users", params=params))
    assert env.asked() == asked


@pytest.mark.parametrize("method", ["", "FETCH", "GET /x", "GET\r\nX: y", "CONNECT", None, 7])
async def test_methods_that_are_none(env: Environment, user: UserAPI, method: Any) -> None:  # noqa: ANN401
    """Only Helix's own are sent; upper and lower case do not matter."""
    asked = env.asked()
    with pytest.raises(ValueError, match="'method' must be one of DELETE, GET"):
        await user.request(method, "users")
    assert env.asked() == asked
    assert (await user.request("get", "users"))["data"]


@pytest.mark.parametrize(
    "body",
    [
        '{"data":' * 100_000,
        '{"data": [' + "9" * 5000 + "]}",
        '{"data": "\ud800"'.encode("utf-8", "surrogatepass").decode("latin-1"),
        '{"data": [',
        "\x00",
        '{"a": "\x00"}',
    ],
)
async def test_helix_answers_that_cannot_be_read(
    env: Environment, user: UserAPI, body: str
) -> None:
    """Deep, huge, cut off or with raw control characters: an HTTPException that says so."""
    env.twitch.fail("helix:users", status=200, body=body, content_type="application/json")
    with pytest.raises(HTTPException, match="200: the answer cannot be used"):
        await user.get("users")


@pytest.mark.parametrize("name", ["access_token", "refresh_token"])
@pytest.mark.parametrize("token", ["a\x00b", "a b", "a\nb", "\ud800", 5, ["a"], {"a": 1}])
async def test_an_exchange_whose_answer_holds_no_token(
    env: Environment,
    flow: DeviceCodeFlow,
    user: UserAPI,
    name: str,
    token: Any,  # noqa: ANN401
) -> None:
    """What fits into no header becomes nobody's token: the old one lives, so it is repeated."""
    answer = {"access_token": "canary", "refresh_token": "canary", "expires_in": 1, name: token}
    env.twitch.fail("token:refresh_token", status=200, body=json.dumps(answer))
    await within(user.refresh())
    assert "canary" not in str(flow.get_token(user.user_id))
    assert (await user.get_user()).login == "alice"
    assert env.twitch.counts.replays == 0


async def test_a_page_with_status_200_proves_nothing(env: Environment) -> None:
    """A proxy's page is no word of Twitch's: it does not make a dead token a living one."""
    pair = env.pair()
    async with env.device() as flow:
        user = flow.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        env.twitch.expire_access(pair.access_token)
        env.twitch.fail("helix:users", status=200, body="<html>hello</html>")
        with pytest.raises(HTTPException, match="HTML"):
            await user.get_user()
        env.twitch.fail("token:refresh_token", status=502, body="<html>no</html>", times=None)
        with pytest.raises(HTTPException, match="502"):
            await within(user.refresh())
        assert user.needs_login is None
