"""`UserAPI` and `AppAPI`."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.world import said, within
from twitchvault import (
    AppAPI,
    AuthFailure,
    BadRequest,
    Conflict,
    Forbidden,
    HTTPException,
    NoAnswer,
    NotFound,
    RateLimited,
    TokenError,
    TwitchServerError,
    Unauthorized,
    User,
    UserAPI,
)

if TYPE_CHECKING:
    from tests.world import World
    from twitchvault.oauth import DeviceCodeFlow
    from twitchvault.testing.fake import Client


async def _alice(world: World, flow: DeviceCodeFlow, client: Client | None = None) -> UserAPI:
    pair = world.pair(client or world.client, scopes=["chat:read", "user:read:email"])
    return await flow.add_user(pair.access_token, pair.refresh_token)


async def test_get_user(small: World) -> None:
    """A user gets itself; an application gets anybody by id or by login."""
    async with small.device() as flow:
        user = await _alice(small, flow)
        me = await user.get_user()
        assert isinstance(me, User)
        assert (me.id, me.login, me.display_name) == (small.alice.user_id, "alice", "Alice")
        assert me.email is not None
        assert me.email not in repr(me)
        app = flow.application
        assert isinstance(app, AppAPI)
        assert (await app.get_user(user_id=small.bob.user_id)).login == "bob"
        assert (await app.get_user(login="bob")).id == small.bob.user_id
        assert app.user_id == small.client.client_id
        assert (app.login, app.scopes) == (None, ())
        assert app.token == flow.tokens[small.client.client_id][0]
        with pytest.raises(NotFound):
            await app.get_user(login="nobody")
        with pytest.raises(ValueError, match="'user_id'"):
            await app.get_user()
        with pytest.raises(ValueError, match="'login'"):
            await app.get_user(user_id="1", login="bob")


async def test_the_methods(small: World) -> None:
    """get, post, put, patch and delete send what they say; an empty answer is {}."""
    small.twitch.add_resource("things", [{"n": 1}])
    async with small.device() as flow:
        user = await _alice(small, flow)
        assert (await user.get("things"))["data"] == [{"n": 1}]
        assert (await user.get("/things"))["data"] == [{"n": 1}]
        assert (await user.post("things", json={"a": 1}))["data"] == [{"a": 1}]
        assert (await user.put("things", json={"b": 2}))["data"] == [{"b": 2}]
        assert (await user.patch("things", json={"c": [None]}))["data"] == [{"c": [None]}]
        assert await user.delete("things", params={"id": 1}) == {}
        assert (await user.request("POST", "things"))["data"] == []
        methods = [r.method for r in small.twitch.requests if r.path == "/helix/things"]
        assert methods == ["GET", "GET", "POST", "PUT", "PATCH", "DELETE", "POST"]


async def test_params(small: World) -> None:
    """A list repeats the parameter, None leaves it out, a bool is true or false."""
    async with small.device() as flow:
        user = await _alice(small, flow)
        both = [small.alice.user_id, small.bob.user_id]
        for ids in (both, tuple(both), set(both), frozenset(both)):
            answer = await user.get("users", params={"id": ids, "login": None})
            assert {each["id"] for each in answer["data"]} == set(both)
        answer = await user.get("users", params={"id": int(small.bob.user_id), "flag": True})
        assert [each["login"] for each in answer["data"]] == ["bob"]
        answer = await user.get("users", params={"login": "bob&id=1", "none": []})
        assert answer["data"] == []
        assert small.twitch.requests[-2].parameters == ("id", "flag")
        assert small.twitch.requests[-1].parameters == ("login",)
        query = await user.get(f"users?id={small.bob.user_id}", params={"login": "alice"})
        assert {each["login"] for each in query["data"]} == {"alice", "bob"}


async def test_paginate(small: World) -> None:
    """All elements of all pages, in order; the caller's parameters stay as they are."""
    small.twitch.add_resource("things", [{"n": n} for n in range(45)])
    async with small.device() as flow:
        user = await _alice(small, flow)
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


async def test_paginate_where_the_list_is_wrapped(small: World) -> None:
    """The schedule has its list inside an object; its cursor is where all have it."""
    pages: list[dict[str, object]] = [
        {
            "data": {"segments": [{"n": 1}, {"n": 2}], "vacation": None},
            "pagination": {"cursor": "c"},
        },
        {"data": {"segments": None}, "pagination": {"cursor": "d"}},
        {"data": {"segments": [{"n": 3}], "broadcaster_id": "1"}, "pagination": {}},
    ]
    async with small.device() as flow:
        user = await _alice(small, flow)
        for page in pages:
            small.twitch.fail("helix:schedule", status=200, body=page)
        assert [item["n"] async for item in user.paginate("schedule")] == [1, 2, 3]


async def test_pages_without_an_element_come_to_an_end(small: World) -> None:
    """A service that has only empty pages, each with a new cursor, is not asked for ever."""
    async with small.device() as flow:
        user = await _alice(small, flow)
        for number in range(150):
            page = {"data": [], "pagination": {"cursor": str(number)}}
            small.twitch.fail("helix:things", status=200, body=page)
        asked = len(small.twitch.requests)
        assert [item async for item in user.paginate("things")] == []
        assert len(small.twitch.requests) - asked == 100


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadRequest),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (429, RateLimited),
        (500, TwitchServerError),
        (503, TwitchServerError),
        (418, HTTPException),
    ],
)
async def test_every_status_has_its_exception(
    small: World, status: int, error: type[HTTPException]
) -> None:
    """Status, message and headers are there, and no token is."""
    async with small.device() as flow:
        user = await _alice(small, flow)
        body = {"error": "E", "status": status, "message": f"no good: {user.token}"}
        small.twitch.fail("helix:users", status=status, body=body, headers={"X-Echo": user.token})
        with pytest.raises(error) as caught:
            await user.get("users")
        assert type(caught.value) is error
        assert (caught.value.status, caught.value.message) == (status, "no good: [secret]")
        assert ("Ratelimit-Remaining" in caught.value.headers) is (status != 400)
        assert user.token not in said(caught.value)
        assert user.token not in str(dict(caught.value.headers))
    assert small.twitch.counts.exchanges == 0


async def test_no_answer(small: World) -> None:
    """A dropped connection is a NoAnswer, an HTTPException with status 0."""
    async with small.device() as flow:
        user = await _alice(small, flow)
        small.twitch.fail("helix:users", drop=True, times=None)
        with pytest.raises(NoAnswer) as caught:
            await user.get("users")
        assert isinstance(caught.value, HTTPException)
        assert caught.value.status == 0


async def test_a_real_rate_limit(small: World) -> None:
    """429 is RateLimited; its headers are found whatever their spelling."""
    small.twitch.configure(helix_limit=2, helix_refill=0.001)
    async with small.device() as flow:
        user = await _alice(small, flow)
        await user.get("users")
        await user.get("users")
        assert flow.get_token_quota(user.user_id) == 0
        with pytest.raises(RateLimited) as caught:
            await user.get("users")
        assert int(caught.value.headers["Ratelimit-Reset"]) > 0
        assert caught.value.headers.get("ratelimit-limit") == "2"


async def test_a_dead_token_is_renewed_once(world: World) -> None:
    """A 401 `Invalid OAuth token` leads to one exchange, however many calls meet it."""
    async with world.device(world.public) as flow:
        user = await _alice(world, flow, world.public)
        world.twitch.expire_access(user.token)
        answers = await within(asyncio.gather(*(user.get("users") for _ in range(20))), 10)
        assert all(answer["data"][0]["login"] == "alice" for answer in answers)
    assert (world.twitch.counts.exchanges, world.twitch.counts.replays) == (1, 0)


async def test_a_renewed_token_that_is_refused_as_well(small: World) -> None:
    """Helix calls every token dead, also new ones: a few exchanges, then it is Unauthorized."""
    async with small.device(small.public) as flow:
        user = await _alice(small, flow, small.public)
        body = {"error": "Unauthorized", "status": 401, "message": "Invalid OAuth token"}
        small.twitch.fail("helix:users", status=401, body=body, times=None)
        with pytest.raises(Unauthorized):
            await within(user.get("users"))
    assert small.twitch.counts.exchanges <= 3


@pytest.mark.parametrize(
    "message",
    [
        "Missing scope: bits:read",
        "Missing user:edit scope",
        "Missing required scope A or B",
        "Missing User OAUTH Token",
        "Must provide valid app token.",
        "Client ID is missing",
        "Client ID and OAuth token do not match",
        "The ID in user_id must match the user ID found in the request's OAuth token.",
    ],
)
async def test_a_401_that_is_not_about_the_token(small: World, message: str) -> None:
    """Scopes, client ids and the kind of user: Unauthorized, and Twitch is asked nothing else."""
    async with small.device(small.public) as flow:
        user = await _alice(small, flow, small.public)
        small.twitch.fail("helix:users", status=401, body=unauthorized(message), times=None)
        asked = len(small.twitch.requests)
        with pytest.raises(Unauthorized, match=re.escape(message)):
            await user.get("users")
        assert len(small.twitch.requests) == asked + 1
    assert small.twitch.counts.exchanges == 0


def unauthorized(message: str) -> dict[str, object]:
    """Helix's body for a 401."""
    return {"error": "Unauthorized", "status": 401, "message": message}


UNKNOWN_WORDS: list[object] = [
    unauthorized("OAuth token is missing"),
    unauthorized("Invalid OAuth token."),
    unauthorized("your token has gone stale"),
    unauthorized(""),
    "",
    "<html><body>401 Authorization Required</body></html>",
    {"error": "invalid_token", "error_description": "The access token expired"},
]


@pytest.mark.parametrize("body", UNKNOWN_WORDS)
async def test_a_dead_token_that_is_refused_in_other_words(small: World, body: Any) -> None:  # noqa: ANN401
    """A validation settles it: the token is dead, so it is renewed and the call repeated."""
    async with small.device(small.public) as flow:
        user = await _alice(small, flow, small.public)
        small.twitch.expire_access(user.token)
        small.twitch.fail("helix:users", status=401, body=body)
        assert (await user.get_user()).login == "alice"
    assert small.twitch.counts.exchanges == 1


@pytest.mark.parametrize("body", UNKNOWN_WORDS)
async def test_a_living_token_that_is_refused_in_other_words(small: World, body: Any) -> None:  # noqa: ANN401
    """A validation settles it: the token lives, so nothing is spent and the 401 stands."""
    async with small.device(small.public) as flow:
        user = await _alice(small, flow, small.public)
        small.twitch.fail("helix:users", status=401, body=body, times=None)
        before, asked = user.token, len(small.twitch.requests)
        with pytest.raises(Unauthorized) as caught:
            await user.get("users")
        if isinstance(body, dict) and body["error"] == "invalid_token":
            assert caught.value.message == "invalid_token: The access token expired"
        assert user.token == before
        assert len(small.twitch.requests) == asked + 2
    assert small.twitch.counts.exchanges == 0


async def test_renew_for_whoever_learnt_elsewhere(world: World) -> None:
    """A socket refused a token: a newer one that stands, else one exchange, only if it is dead."""
    async with world.device(world.public) as flow:
        user = await _alice(world, flow, world.public)
        first = user.token
        assert await user.renew(first) == first, "it lives: nothing is spent"
        world.twitch.expire_access(first)
        second, *others = await asyncio.gather(*(user.renew(first) for _ in range(5)))
        assert {second, *others} == {user.token}
        asked = len(world.twitch.requests)
        assert await user.renew(first) == second, "it stands already: Twitch is not asked"
        assert len(world.twitch.requests) == asked
        world.twitch.disconnect(world.public, world.alice)
        with pytest.raises(AuthFailure, match="sign in again"):
            await user.renew(second)
        asked = len(world.twitch.requests)
        for call in (lambda: user.renew(second), user.get_user, user.refresh):
            with pytest.raises(AuthFailure):
                await call()
        assert len(world.twitch.requests) == asked
    assert (world.twitch.counts.exchanges, world.twitch.counts.replays) == (1, 0)


async def test_an_applications_renew(small: World) -> None:
    """It is there for the app token, too."""
    async with small.device() as flow:
        app = flow.application
        assert app is not None
        assert app.id == app.user_id
        assert app.needs_login is None
        first = app.token
        small.twitch.kill_app_tokens(small.client)
        assert await app.renew(first) == app.token != first


async def test_a_post_is_repeated_with_the_new_token(small: World) -> None:
    """The body goes out again after the renewal."""
    small.twitch.add_resource("things")
    async with small.device() as flow:
        user = await _alice(small, flow)
        small.twitch.kill_access_token(user.token)
        assert (await user.post("things", json={"a": 1}))["data"] == [{"a": 1}]


async def test_answers_of_other_shapes(small: World) -> None:
    """A list is put under "data"; HTML with 200 is an HTTPException."""
    async with small.device() as flow:
        user = await _alice(small, flow)
        small.twitch.fail("helix:users", status=200, body="[1, 2]", content_type="application/json")
        assert await user.get("users") == {"data": [1, 2]}
        small.twitch.fail("helix:users", status=200, body="<html>maintenance</html>")
        with pytest.raises(HTTPException, match="HTML"):
            await user.get("users")
        small.twitch.fail("helix:users", status=200, body='{"data": [{"id": 7}]}')
        with pytest.raises(HTTPException, match="not as documented"):
            await user.get_user()


async def test_validate_refresh_revoke(world: World) -> None:
    """A UserAPI does for its token what the flow does for any."""
    async with world.device() as flow:
        user = await _alice(world, flow)
        assert (await user.validate()).user_id == user.user_id
        old = user.token
        token = await user.refresh()
        assert token.access_token == user.token != old
        await user.revoke()
        assert user.user_id not in flow.tokens
        calls: list[Any] = [user.validate, user.refresh, user.revoke, user.get_user]
        for call in calls:
            with pytest.raises(TokenError):
                await call()


async def test_an_applications_own_methods(world: World) -> None:
    """An AppAPI validates, refreshes and revokes the app token."""
    async with world.device() as flow:
        app = flow.application
        assert app is not None
        assert (await app.validate()).user_id is None
        old = app.token
        token = await app.refresh()
        assert (token.access_token, token.refresh_token) == (app.token, None)
        assert app.token != old
        await app.revoke()
        assert not world.twitch.is_live(token.access_token)
        with pytest.raises(TokenError):
            await app.get_user(login="alice")
        await flow.authorize()
        assert flow.application is not None
        assert (await flow.application.get_user(login="alice")).login == "alice"


async def test_a_public_applications_dead_token(small: World) -> None:
    """Without a secret there is no new one: AuthFailure."""
    async with small.device() as helper:
        token = (await helper.credentials_grant_flow()).access_token
    flow = small.device(client_secret=None, store=None)
    await flow.authorize(token=token)
    app = flow.application
    assert app is not None
    small.twitch.kill_app_tokens(small.client)
    with pytest.raises(AuthFailure):
        await app.get_user(login="alice")


async def test_equality_and_hash(small: World) -> None:
    """Two handles of one user are equal; those of different users or flows are not."""
    async with small.device() as flow, small.device(store=None) as other:
        one = flow.add_token("1", "a", None)
        assert one == flow.get_user_by_id("1")
        assert hash(one) == hash(flow.get_user_by_id("1"))
        assert one != flow.add_token("2", "a", None)
        assert one != other.add_token("1", "a", None)
