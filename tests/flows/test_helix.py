"""`UserAPI` and `AppAPI`: requests, pages, errors, and what a refused token leads to."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.environment import REFRESH, within
from twitchvault import AppAPI, AuthFailure, Forbidden, HTTPException, NotFound, Unauthorized, User

if TYPE_CHECKING:
    from tests.environment import Environment
    from twitchvault import DeviceCodeFlow, UserAPI


async def test_get_user(env: Environment) -> None:
    """A user gets itself; an application gets anybody by id or by login."""
    env.client = env.confidential
    async with env.device() as flow:
        pair = env.pair(scopes=["user:read:email"])
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        me = await user.get_user()
        assert isinstance(me, User)
        assert (me.id, me.login, me.display_name) == (env.alice.user_id, "alice", "Alice")
        assert me.email is not None
        assert me.email not in repr(me)
        app = flow.application
        assert isinstance(app, AppAPI)
        assert (await app.get_user(user_id=env.bob.user_id)).login == "bob"
        assert (await app.get_user(login="bob")).id == env.bob.user_id
        assert app.user_id == env.client.client_id
        assert (app.login, app.scopes) == (None, ())
        assert app.token == flow.tokens[env.client.client_id][0]
        with pytest.raises(NotFound):
            await app.get_user(login="nobody")
        with pytest.raises(ValueError, match="'user_id'"):
            await app.get_user()
        with pytest.raises(ValueError, match="'login'"):
            await app.get_user(user_id="1", login="bob")


async def test_the_methods(env: Environment, user: UserAPI) -> None:
    """They send what they say, anew after a renewal; an empty answer is {}, a list is "data"."""
    env.twitch.add_resource("things", [{"n": 1}])
    assert (await user.get("things"))["data"] == [{"n": 1}]
    assert (await user.get("/things"))["data"] == [{"n": 1}]
    assert (await user.post("things", json={"a": 1}))["data"] == [{"a": 1}]
    assert (await user.put("things", json={"b": 2}))["data"] == [{"b": 2}]
    assert (await user.patch("things", json={"c": [None]}))["data"] == [{"c": [None]}]
    assert await user.delete("things", params={"id": 1}) == {}
    assert (await user.request("POST", "things"))["data"] == []
    methods = [r.method for r in env.twitch.requests if r.path == "/helix/things"]
    assert methods == ["GET", "GET", "POST", "PUT", "PATCH", "DELETE", "POST"]
    env.twitch.kill_access_token(user.token)
    assert (await user.post("things", json={"a": 1}))["data"] == [{"a": 1}]
    env.twitch.fail("helix:users", status=200, body="[1, 2]", content_type="application/json")
    assert await user.get("users") == {"data": [1, 2]}


async def test_params(env: Environment, user: UserAPI) -> None:
    """A list repeats, None leaves out, a bool is a word; no value breaks out of its parameter."""
    both = [env.alice.user_id, env.bob.user_id]
    for ids in (both, tuple(both), set(both), frozenset(both)):
        answer = await user.get("users", params={"id": ids, "login": None})
        assert {each["id"] for each in answer["data"]} == set(both)
    answer = await user.get("users", params={"id": int(env.bob.user_id), "flag": True})
    assert [each["login"] for each in answer["data"]] == ["bob"]
    assert [*env.twitch.requests[-1].parameters] == ["id", "flag"]
    for value in ("bob&id=1", "bob#x", "bob\r\nX-Y: z", "a\x00b", "../x", "bob%26id%3D1"):
        answer = await user.get("users", params={"login": value, "none": []})
        assert answer["data"] == []
        assert env.twitch.requests[-1].parameters == ("login",)
    query = await user.get(f"users?id={env.bob.user_id}", params={"login": "alice"})
    assert {each["login"] for each in query["data"]} == {"alice", "bob"}


async def test_paginate(env: Environment) -> None:
    """All elements of all pages, in order; the caller's parameters stay as they are."""
    env.twitch.add_resource("things", [{"n": n} for n in range(45)])
    async with env.device(env.confidential) as flow:
        user = await env.login(flow, client=env.confidential)
        params = {"first": 20}
        found = [item["n"] async for item in user.paginate("things", params=params)]
        assert found == list(range(45))
        assert params == {"first": 20}
        assert [item async for item in user.paginate("users")] == (await user.get("users"))["data"]
        async for item in user.paginate("things"):
            assert item == {"n": 0}
            break
        assert flow.application is not None
        assert len([i async for i in flow.application.paginate("things")]) == 45


async def test_paginate_where_the_list_is_wrapped(env: Environment, user: UserAPI) -> None:
    """The schedule has its list inside an object; its cursor is where all have it."""
    pages: list[tuple[dict[str, object], dict[str, str]]] = [
        ({"segments": [{"n": 1}, {"n": 2}], "vacation": None}, {"cursor": "c"}),
        ({"segments": None}, {"cursor": "d"}),
        ({"segments": [{"n": 3}], "broadcaster_id": "1"}, {}),
    ]
    for page, pagination in pages:
        body = {"data": page, "pagination": pagination}
        env.twitch.fail("helix:schedule", status=200, body=body)
    assert [item["n"] async for item in user.paginate("schedule")] == [1, 2, 3]


async def test_pages_without_an_element_come_to_an_end(env: Environment, user: UserAPI) -> None:
    """A service that has only empty pages, each with a new cursor, is not asked for ever."""
    for number in range(150):
        page = {"data": [], "pagination": {"cursor": str(number)}}
        env.twitch.fail("helix:things", status=200, body=page)
    asked = env.asked()
    assert [item async for item in user.paginate("things")] == []
    assert env.asked() - asked == 100


async def test_an_error_of_helix(env: Environment, user: UserAPI) -> None:
    """Status, message and headers are there, and no token is; nothing is refreshed."""
    body = {"error": "E", "status": 403, "message": f"no good: {user.token}"}
    env.twitch.fail("helix:users", status=403, body=body, headers={"X-Echo": user.token})
    with pytest.raises(Forbidden, match=r"^403: no good: \[secret\]$") as caught:
        await user.get("users")
    assert "Ratelimit-Remaining" in caught.value.headers
    assert not env.shows_secret(caught.value)
    assert user.token not in str(dict(caught.value.headers))
    assert env.refreshes_sent() == 0


def unauthorized(message: str) -> dict[str, object]:
    """Helix's body for a 401."""
    return {"error": "Unauthorized", "status": 401, "message": message}


@pytest.mark.parametrize(
    "message",
    [
        "Missing required scope A or B",
        "Missing User OAUTH Token",
        "Must provide valid app token.",
        "Client ID is missing",
        "Client ID and OAuth token do not match",
        "The ID in user_id must match the user ID found in the request's OAuth token.",
    ],
)
async def test_a_401_that_is_not_about_the_token(
    env: Environment, user: UserAPI, message: str
) -> None:
    """Scopes, client ids and the kind of user: Unauthorized, and Twitch is asked nothing else."""
    env.twitch.fail("helix:users", status=401, body=unauthorized(message), times=None)
    asked = env.asked()
    with pytest.raises(Unauthorized, match=re.escape(message)):
        await user.get("users")
    assert env.asked() == asked + 1
    assert env.refreshes_sent() == 0


@pytest.mark.parametrize("alive", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        unauthorized("Invalid OAuth token."),
        unauthorized("your token has gone stale"),
        unauthorized(""),
        "",
        "<html><body>401 Authorization Required</body></html>",
        {"error": "invalid_token", "error_description": "The access token expired"},
    ],
)
async def test_a_token_that_is_refused_in_other_words(
    env: Environment,
    user: UserAPI,
    body: Any,  # noqa: ANN401
    alive: bool,
) -> None:
    """A validation settles it: a dead token is renewed, of a living one the 401 stands."""
    env.twitch.fail("helix:users", status=401, body=body, times=None if alive else 1)
    if not alive:
        env.twitch.expire_access(user.token)
        assert (await user.get_user()).login == "alice"
        assert env.twitch.counts.exchanges == 1
        return
    before, asked = user.token, env.asked()
    with pytest.raises(Unauthorized) as caught:
        await user.get("users")
    if isinstance(body, dict) and body["error"] == "invalid_token":
        assert caught.value.message == "invalid_token: The access token expired"
    assert user.token == before
    assert env.asked() == asked + 2
    assert env.refreshes_sent() == 0


async def test_renew(env: Environment, user: UserAPI) -> None:
    """A socket refused a token: a newer one that stands, else one exchange, only if it is dead."""
    first = user.token
    assert await user.renew(first) == first, "it lives, yet something was spent"
    env.twitch.expire_access(first)
    second, *others = await asyncio.gather(*(user.renew(first) for _ in range(5)))
    assert {second, *others} == {user.token}
    asked = env.asked()
    assert await user.renew(first) == second
    assert env.asked() == asked, "it stood already, yet Twitch was asked"
    env.twitch.disconnect(env.public, env.alice)
    with pytest.raises(AuthFailure, match="sign in again"):
        await user.renew(second)
    asked = env.asked()
    for call in (lambda: user.renew(second), user.get_user, user.refresh):
        with pytest.raises(AuthFailure):
            await call()
    assert env.asked() == asked
    assert (env.twitch.counts.exchanges, env.twitch.counts.replays) == (1, 0)


async def test_a_refresh_that_fails_inside_a_call(env: Environment) -> None:
    """The error says that it was the refresh, whose, after how long, and what Twitch said.

    Its class and status are those of Twitch's answer; a call right after gets the same error.
    """
    async with env.app() as app:
        user = await env.login(app)
        env.twitch.expire_access(env.alice)
        env.twitch.fail(REFRESH, status=404, body={"message": "gone fishing"}, times=None)
        for _ in range(2):
            with pytest.raises(NotFound) as caught:
                await user.get_user()
            text = rf"404: the refresh of user '{user.id}' failed after \d\.\d s: gone fishing"
            assert re.fullmatch(text, str(caught.value))
            assert (caught.value.status, caught.value.__cause__) == (404, None)
    assert env.refreshes_sent() == 1


async def test_equality_and_hash(env: Environment) -> None:
    """Two handles of one user are equal; those of different users or flows are not."""
    async with env.device() as flow, env.device(store=None) as other:
        one = flow.add_token("1", "a", None)
        assert one == flow.get_user_by_id("1")
        assert hash(one) == hash(flow.get_user_by_id("1"))
        assert one != flow.add_token("2", "a", None)
        assert one != other.add_token("1", "a", None)


DEAD = unauthorized("Invalid OAuth token")


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
