"""Bad input: a clear error of the documented kind that names it, and nothing lost."""

from __future__ import annotations

import asyncio
import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from tests.environment import application_of, on_each_store, within
from twitchvault import App, AuthFailure, HTTPException, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.environment import Environment
    from twitchvault import DeviceCodeFlow, UserAPI

PASTED = ["{}\n", "  {}\t", "oauth:{}", "OAuth:{}\r\n", "Bearer {}", " bearer  {} ", "oauth: {}"]
NO_TOKENS: list[tuple[Any, str]] = [
    ("", "is empty"),
    (" \n", "is empty"),
    ("oauth:", "is empty"),
    ("Bearer ", "is empty"),
    ("two words", "white space"),
    ("OAuth abc", "white space"),
    ("line\r\nX-Header: 1", "white space"),
    ("a\u3000b", "white space"),
    ("a\x00b", "control"),
    ("a\x1b[31mb", "control"),
    ("\ufeffabc", "invisible"),
    ("a\ud800", "lone surrogate"),
    (None, "not NoneType"),
    (7, "not int"),
    (b"abc", "not bytes"),
]
"""What is no token, and the fault that is named."""

NO_USER_IDS: list[tuple[Any, type[Exception], str]] = [
    *((value, TypeError, " must be a non-empty str") for value in ("", "  ", None, 7, b"1")),
    *((value, ValueError, "") for value in ("x" * 600, "1\ud800")),
]
BAD_TTLS: list[Any] = [0, 0.99, -5, float("nan"), float("inf"), "60", True, None]

# Tokens, secrets and ids


@on_each_store
@pytest.mark.parametrize("pasted", PASTED)
async def test_a_pair_that_was_pasted(env: Environment, pasted: str) -> None:
    """White space around, `oauth:` and `Bearer ` in front are taken off, wherever it comes in."""
    pair = env.pair()
    access, refresh = pasted.format(pair.access_token), pasted.format(pair.refresh_token)
    async with env.device() as flow:
        user = await flow.add_user(access, refresh)
        assert flow.get_token(user.user_id) == (pair.access_token, pair.refresh_token)
        assert flow.add_token(user.user_id, access, refresh).token == pair.access_token
        assert (await flow.validate_token(access)).login == "alice"
        assert await user.renew(access) == pair.access_token
        token = await flow.refresh_token(refresh)
        assert user.token == token.access_token
        await flow.revoke_token(pasted.format(token.access_token))
        assert user.user_id not in flow.tokens
    assert (env.twitch.counts.exchanges, env.twitch.counts.replays) == (1, 0)


@pytest.mark.usefixtures("confidential")
async def test_an_app_that_was_pasted(env: Environment) -> None:
    """Client id, secret, the app's token and device codes are cleaned as well."""
    client_id, secret = f" {env.client.client_id}\n", f"\t{env.client.client_secret} "
    async with env.device(client_id=client_id, client_secret=secret) as flow:
        assert flow.http.client_id == env.client.client_id
        token = (await flow.credentials_grant_flow()).access_token
        await flow.authorize(token=f"Bearer {token}")
        assert flow.get_token(f" {env.client.client_id} ") == (token, None)
        env.twitch.auto_approve(env.alice)
        code = await flow.request_device_code()
        assert (await flow.get_device_token(f"{code.device_code}\n")).access_token


@pytest.mark.parametrize(("value", "fault"), NO_TOKENS)
async def test_what_is_no_token(env: Environment, value: Any, fault: str) -> None:  # noqa: ANN401
    """It is a ValueError that names argument and fault, before anything is sent or stored."""
    async with env.device() as flow:
        user = flow.add_token("1", "good", "good-refresh")
        await flow.flush()
        asked = env.asked()
        calls: list[tuple[str, Callable[[], Awaitable[object]]]] = [
            ("access_token", lambda: flow.add_user(value, "refresh")),
            ("token", lambda: flow.validate_token(value)),
            ("token", lambda: flow.refresh_token(value)),
            ("token", lambda: flow.revoke_token(value)),
            ("refused", lambda: user.renew(value)),
        ]
        if value not in {"OAuth abc", "oauth:", "Bearer "}:
            calls.append(("device_code", lambda: flow.get_device_token(value)))
        if value is not None:
            calls.append(("token", lambda: flow.authorize(token=value)))
        for name, call in calls:
            with pytest.raises(ValueError, match=f"'{name}' .*{fault}"):
                await call()
        with pytest.raises(ValueError, match=f"'access_token' .*{fault}"):
            flow.add_token("1", value, None)
        if value is not None and str(value).strip():
            with pytest.raises(ValueError, match=f"'refresh_token' .*{fault}"):
                flow.add_token("1", "access", value)
        await flow.flush()
        assert env.asked() == asked
        assert flow.get_token("1") == ("good", "good-refresh")


@pytest.mark.usefixtures("confidential")
@pytest.mark.parametrize(("user_id", "error", "words"), NO_USER_IDS)
async def test_what_is_no_user_id(
    env: Environment,
    user_id: Any,  # noqa: ANN401
    error: type[Exception],
    words: str,
) -> None:
    """It is a TypeError everywhere, a ValueError if no store takes it; nothing is changed."""
    async with env.device() as flow:
        calls: list[Callable[[Any], object]] = [
            lambda name: flow.add_token(name, "access", "refresh"),
            flow.get_token,
            flow.get_user_by_id,
            flow.get_token_quota,
            flow.remove_token,
        ]
        for call in calls:
            with pytest.raises(error, match=f"'user_id'{words}"):
                call(user_id)
        if error is TypeError and user_id is not None:
            with pytest.raises(TypeError, match="'user_id'"):
                await application_of(flow).get_user(user_id=user_id)
        await within(flow.flush())
    async with env.device() as flow:
        assert (set(flow.tokens), dict(flow.damaged)) == ({env.client.client_id}, {})


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"client_id": ""}, ValueError, "'client_id' .*is empty"),
        ({"client_id": "a b"}, ValueError, "'client_id' .*white space"),
        ({"client_id": "abc:secret@host"}, ValueError, "'client_id' .*without ':'"),
        ({"client_id": 7}, ValueError, "'client_id' must be a str"),
        ({"client_secret": ""}, ValueError, "'client_secret' is empty"),
        ({"client_secret": "a b"}, ValueError, "'client_secret' .*white space"),
        ({"client_secret": 7}, ValueError, "'client_secret' must be a str"),
        *(({"lease_ttl": ttl}, ValueError, "'lease_ttl'") for ttl in BAD_TTLS),
        ({"store": 7}, TypeError, "'store'"),
        ({"store": "mysql://secret@host"}, ValueError, "expected (one of )?'memory://'"),
        ({"id_url": "not a url"}, ValueError, "'id_url'"),
        ({"api_url": "not a url"}, ValueError, "'api_url'"),
        ({"proxy": "socks5://u:secret@host:1"}, ValueError, "'proxy'"),
    ],
)
def test_a_wrong_argument_of_the_constructor(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    """It is named, and no password is shown."""
    with pytest.raises(error, match=words) as caught:
        App(**{"client_id": "id", **arguments})
    assert "secret@host" not in str(caught.value)


@on_each_store
@pytest.mark.parametrize("spent", [False, True])
async def test_a_pair_that_came_under_another_users_id_first(env: Environment, spent: bool) -> None:
    """It is nobody else's for that: not even when the other user has signed in since.

    If it was exchanged under the wrong id, the error says so.
    """
    pair = env.pair(user=env.bob, expired=spent)
    alice, bob = env.alice.user_id, env.bob.user_id
    async with env.app() as app:
        user = app.add_token(alice, pair.access_token, pair.refresh_token)
        with pytest.raises(AuthFailure) if spent else nullcontext():
            await user.refresh() if spent else await user.validate()
        await env.login(app)
        env.twitch.expire_access(pair.access_token)
        for bring in (
            lambda: app.refresh_token(pair.refresh_token),
            lambda: app.add_user(pair.access_token, pair.refresh_token),
        ):
            with pytest.raises(AuthFailure, match="does not belong") if spent else nullcontext():
                await bring()
            assert app.get_token(alice) == env.live()
        assert app.get_token(bob) == (None if spent else env.live(env.bob))
    assert (env.twitch.counts.exchanges, env.twitch.counts.replays) == (1, 0)


@pytest.mark.parametrize("alive", [True, False], ids=["alive", "expired"])
async def test_a_pair_that_was_mixed_up_and_corrected(env: Environment, alive: bool) -> None:
    """Another user's access token beside the right refresh token does no harm for good."""
    pair, other = env.pair(expired=not alive), env.pair(user=env.bob)
    async with env.app() as app, env.app() as second:
        user = app.add_token(env.alice.user_id, other.access_token, pair.refresh_token)
        await user.validate()
        assert user.needs_login
        await second.sync()
        user = await app.add_user(pair.access_token, pair.refresh_token)
        assert user.needs_login is None
        await second.sync()
        await asyncio.gather(
            second.get_user_by_id(user.user_id).get_user(),
            app.add_user(pair.access_token, pair.refresh_token),
        )
        assert app.needs_login == {}
    await env.expect(exchanges=0 if alive else 1)


async def test_a_lease_of_a_thousand_years(env: Environment) -> None:
    """It is as long as a record may say, so that other processes can read it."""
    async with env.app(lease_ttl=3e10) as app, env.app() as other:
        user = await env.own_pair(app)
        gate, call = await env.hold_answer(user)
        await other.sync()
        assert other.damaged == {}
        gate.release()
        await call


@pytest.mark.usefixtures("confidential")
async def test_the_app_token_cannot_be_replaced_by_a_users(env: Environment) -> None:
    """`add_token` and `get_user_by_id` of the client id are ValueErrors that say what to use."""
    client_id = env.client.client_id
    async with env.device() as flow:
        before = flow.get_token(client_id)
        words = "'user_id' is the client id: use the 'application' property"
        with pytest.raises(ValueError, match=words):
            flow.add_token(f" {client_id} ", "access", None)
        with pytest.raises(ValueError, match=words):
            flow.get_user_by_id(client_id)
        assert flow.get_token(client_id) == before


# Twitch's bad answers


PATHS: list[Any] = [
    "",
    "//evil.example/x",
    "https://evil.example/steal",
    "../oauth2/validate",
    "users/../../oauth2/validate",
    ".\t./oauth2/validate",
    "users\n",
    "%2e%2e/oauth2/validate",
    "%252e%252e/oauth2/validate",
    "users%2f..%2f..",
    "users/./x",
    "..\\oauth2\\validate",
    "users#x",
    "users?a=b c",
    "users\ud800",
    "@evil.example",
    "users:80",
    None,
    7,
]


@pytest.mark.parametrize("path", PATHS)
async def test_a_path_that_leaves_the_api(env: Environment, user: UserAPI, path: Any) -> None:  # noqa: ANN401
    """A token goes nowhere but below the API's base: else a ValueError, and nothing is sent."""
    asked = env.asked()
    with pytest.raises(ValueError, match="'path' must be a path below the API's base"):
        await user.get(path)
    with pytest.raises(ValueError, match="'path'"):
        await anext(user.paginate(path))
    assert env.asked() == asked


async def test_json_that_cannot_be_sent(env: Environment, user: UserAPI) -> None:
    """A body that is no JSON is an error before anything is sent."""
    asked = env.asked()
    with pytest.raises(TypeError, match="'json' cannot be sent"):
        await user.post("users", json={"a": object()})
    with pytest.raises(ValueError, match="'json' cannot be sent"):
        await user.post("users", json={"a": float("nan")})
    assert env.asked() == asked


@pytest.mark.parametrize(
    "body",
    [
        '{"data": 5}',
        '{"data": "text"}',
        '{"data": [5]}',
        '{"data": [null]}',
        '{"data": [["a"]]}',
        '{"data": {"a": [1], "b": [2]}}',
        '{"data": {"a": [1]}}',
        "5",
        '"text"',
    ],
)
async def test_helix_answers_of_odd_shapes(env: Environment, user: UserAPI, body: str) -> None:
    """What is no list of objects is an HTTPException, not an error of ours."""
    env.twitch.fail("helix:users", status=200, body=body, times=None)
    assert isinstance(await user.get("users"), dict)
    with pytest.raises(HTTPException, match="not as documented"):
        await user.get_user()
    with pytest.raises(HTTPException, match="not as documented"):
        await anext(user.paginate("users"))


@pytest.mark.parametrize(
    "body", ['{"data": null}', "{}", '{"data": []}', "", "null", '{"data": {"segments": null}}']
)
async def test_helix_answers_with_nothing_in_them(
    env: Environment, user: UserAPI, body: str
) -> None:
    """Nothing is nothing: no page has an element, and no user is found."""
    env.twitch.fail("helix:users", status=200, body=body, times=None)
    assert [element async for element in user.paginate("users")] == []
    with pytest.raises(HTTPException, match="no such user"):
        await user.get_user()


@pytest.mark.parametrize(
    "pagination", ['"same"', '{"cursor": "same"}', '{"cursor": 5}', "5", "[]", "null"]
)
async def test_cursors_without_end(env: Environment, user: UserAPI, pagination: str) -> None:
    """A cursor that repeats itself, or is none, ends the walk."""
    body = f'{{"data": [{{"n": 1}}], "pagination": {pagination}}}'
    env.twitch.fail("helix:users", status=200, body=body, times=None)
    assert len([element async for element in user.paginate("users")]) <= 2


@pytest.mark.parametrize("left", ["9" * 5000, "-5", "many", "", "1e3", "٣"])
async def test_points_that_are_no_number(
    env: Environment, flow: DeviceCodeFlow, user: UserAPI, left: str
) -> None:
    """Whatever stands in `Ratelimit-Remaining` never costs the answer."""
    headers = {"Ratelimit-Remaining": left}
    env.twitch.fail("helix:users", status=200, body='{"data": []}', headers=headers)
    assert await user.get("users") == {"data": []}
    assert flow.get_token_quota(user.user_id) in {None, 3}


async def test_a_token_of_no_form_in_the_store(env: Environment) -> None:
    """A token that an older version let in with a line break is refused like a dead one."""
    record = json.dumps({"schema": 1, "access_token": "a\nb", "refresh_token": "r"}).encode()
    await env.storage.write(env.key("1"), record)
    async with env.device() as flow:
        user = flow.get_user_by_id("1")
        with pytest.raises((Unauthorized, AuthFailure)):
            await user.validate()
