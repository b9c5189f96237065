"""The endpoints over real HTTP: what exactly is sent, and that no secret is seen anywhere."""

from __future__ import annotations

import logging
import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from tests.http_servers import free_port, web_server
from twitchvault.errors import (
    BadRequest,
    ClientException,
    HTTPException,
    NoAnswer,
    NotFound,
    RateLimited,
    Unauthorized,
)
from twitchvault.http import HTTPClient
from twitchvault.identity import Identity
from twitchvault.scopes import Scopes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SECRET = "canary-client/secret=%"
REFRESH = "canary-refresh/%=+ä"
ACCESS = "canary-access"
DEVICE = "canary-device"
CODE = "canary-code"
NEW = "canary-new"

TOKEN = {"access_token": NEW, "refresh_token": f"{NEW}-r", "expires_in": 14124, "scope": ["a"]}
ANSWERS: dict[str, object] = {
    "device": {
        "device_code": DEVICE,
        "user_code": "ABCDEFGH",
        "verification_uri": "https://www.twitch.tv/activate?device-code=ABCDEFGH",
        "expires_in": 1800,
        "interval": 5,
    },
    "token": TOKEN,
    "validate": {"client_id": "abc", "login": "l", "user_id": "1", "scopes": None, "expires_in": 9},
}


class Seen(NamedTuple):
    """A request as the server saw it."""

    method: str
    url: str
    form: list[tuple[str, str]]
    authorization: str | None
    content_type: str


@asynccontextmanager
async def service(
    secret: str | None = SECRET, answers: dict[str, object] | None = None, status: int = 200
) -> AsyncIterator[tuple[Identity, list[Seen]]]:
    """An identity service below a path of its own, and a client for it."""
    seen: list[Seen] = []

    async def handler(request: web.Request) -> web.Response:
        body = (await request.read()).decode()
        form = parse_qsl(body, keep_blank_values=True, strict_parsing=bool(body))
        authorization = request.headers.get("Authorization")
        seen.append(
            Seen(request.method, request.raw_path, form, authorization, request.content_type)
        )
        given = (answers or ANSWERS).get(request.path.rpartition("/")[2])
        return (
            web.Response(status=status)
            if given is None
            else web.json_response(given, status=status)
        )

    async with web_server(handler) as url:
        http = HTTPClient(client_id="abc")
        yield Identity(http, "abc", secret, f"{url}some/oauth2/"), seen
        await http.close()


FORM_TYPE = "application/x-www-form-urlencoded"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def form_of(grant_type: str, **fields: str) -> list[tuple[str, str]]:
    """The fields of a token request, in the order they are sent in."""
    return [("grant_type", grant_type), ("client_id", "abc"), *fields.items()]


async def test_client_credentials() -> None:
    """The app token request: everything in the body."""
    async with service() as (identity, seen):
        credentials = await identity.client_credentials()
    form = form_of("client_credentials", client_secret=SECRET)
    assert seen == [Seen("POST", "/some/oauth2/token", form, None, FORM_TYPE)]
    assert (credentials.access_token, credentials.expires_in) == (NEW, 14124)


@pytest.mark.parametrize("secret", [None, ""])
async def test_public_client_has_no_credentials(secret: str | None) -> None:
    """A public client asks for no app token, and an empty secret is none."""
    async with service(secret) as (identity, seen):
        assert identity.public
        with pytest.raises(ClientException, match="'client_secret'"):
            await identity.client_credentials()
    assert seen == []


@pytest.mark.parametrize("secret", [None, "", SECRET])
async def test_start_device(secret: str | None) -> None:
    """The device flow starts with `scopes`, plural, sorted, once, and without a secret."""
    async with service(secret) as (identity, seen):
        code = await identity.start_device({Scopes.CHAT_READ, "bits:read", "chat:read"})
        await identity.start_device()
    scopes = ("scopes", "bits:read chat:read")
    assert seen == [
        Seen("POST", "/some/oauth2/device", [("client_id", "abc"), scopes], None, FORM_TYPE),
        Seen("POST", "/some/oauth2/device", [("client_id", "abc")], None, FORM_TYPE),
    ]
    assert (code.device_code, code.user_code, code.interval) == (DEVICE, "ABCDEFGH", 5)


@pytest.mark.parametrize("secret", [None, SECRET])
async def test_poll_device(secret: str | None) -> None:
    """A poll carries the device code and no secret."""
    async with service(secret) as (identity, seen):
        token = await identity.poll_device(DEVICE)
    form = form_of(DEVICE_GRANT, device_code=DEVICE)
    assert seen == [Seen("POST", "/some/oauth2/token", form, None, FORM_TYPE)]
    assert token.raw == TOKEN


@pytest.mark.parametrize("secret", [None, "", SECRET])
async def test_exchange_code(secret: str | None) -> None:
    """The code exchange carries the redirect URI, and the secret if there is one."""
    async with service(secret) as (identity, seen):
        await identity.exchange_code(CODE, "http://localhost/back?a=b")
    form = form_of("authorization_code", code=CODE, redirect_uri="http://localhost/back?a=b")
    form += [("client_secret", secret)] if secret else []
    assert seen == [Seen("POST", "/some/oauth2/token", form, None, FORM_TYPE)]


@pytest.mark.parametrize("secret", [None, "", SECRET])
async def test_refresh(secret: str | None) -> None:
    """A refresh encodes the token exactly once, and carries the secret if there is one."""
    async with service(secret) as (identity, seen):
        token = await identity.refresh(REFRESH)
    form = form_of("refresh_token", refresh_token=REFRESH)
    form += [("client_secret", secret)] if secret else []
    assert seen == [Seen("POST", "/some/oauth2/token", form, None, FORM_TYPE)]
    assert (token.access_token, token.refresh_token) == (NEW, f"{NEW}-r")


async def test_refresh_that_may_not_leave() -> None:
    """A refresh for which it is too late does not leave."""
    async with service() as (identity, seen):
        with pytest.raises(NoAnswer) as caught:
            await identity.refresh(REFRESH, may_send=lambda: False)
    assert caught.value.too_late
    assert seen == []


async def test_validate() -> None:
    """Validation carries the token in its header, with no body."""
    async with service() as (identity, seen):
        valid = await identity.validate(ACCESS)
    assert [one[:4] for one in seen] == [("GET", "/some/oauth2/validate", [], f"OAuth {ACCESS}")]
    assert (valid.user_id, valid.scopes, valid.expires_in) == ("1", (), 9)


@pytest.mark.parametrize("token", [f"{ACCESS}\n", f"a {ACCESS}", f"{ACCESS}\r\nX: y", "\ud800"])
async def test_validate_of_no_token(token: str) -> None:
    """What cannot be a token is refused like a bad one, without asking; it is not shown."""
    async with service() as (identity, seen):
        with pytest.raises(Unauthorized, match="white space or a control character") as caught:
            await identity.validate(token)
    assert ACCESS not in str(caught.value)
    assert seen == []


async def test_revoke() -> None:
    """Revocation carries client id and token, no secret; an empty 200 is success."""
    async with service(answers={"other": 1}) as (identity, seen):
        await identity.revoke(ACCESS)
    form = [("client_id", "abc"), ("token", ACCESS)]
    assert seen == [Seen("POST", "/some/oauth2/revoke", form, None, FORM_TYPE)]
    async with service(answers={"revoke": {"message": "client does not exist"}}, status=404) as (
        identity,
        _,
    ):
        with pytest.raises(NotFound, match="404: client does not exist"):
            await identity.revoke(ACCESS)


async def test_empty_429_and_redirects() -> None:
    """An empty 429 is RateLimited; a redirect is an error and is not followed."""
    async with service(answers={"other": 1}, status=429) as (identity, _):
        with pytest.raises(RateLimited) as limited:
            await identity.validate(ACCESS)
        assert limited.value.message == ""
    async with service(answers={"other": 1}, status=307) as (identity, seen):
        with pytest.raises(HTTPException) as moved:
            await identity.refresh(REFRESH)
        assert (moved.value.status, len(seen)) == (307, 1)


@pytest.mark.parametrize("number", range(7))
async def test_huge_answers_are_no_answer(number: int) -> None:
    """No endpoint reads an answer without end: 10 MB is no answer to a request that was sent."""
    async with service(answers=dict.fromkeys([*ANSWERS, "revoke"], "x" * (10 << 20))) as (
        identity,
        _,
    ):
        with pytest.raises(NoAnswer, match="longer than 4194304 bytes") as caught:
            await calls_of(identity)[number]()
    assert caught.value.sent


@pytest.mark.parametrize(
    "url", ["http://h:1/x/oauth2", "http://h:1/x/oauth2/", "http://h:1/x/oauth2//"]
)
def test_authorization_url(url: str) -> None:
    """The page's URL is encoded, stable, and stays below the base URL's path."""
    identity = Identity(HTTPClient(client_id="abc"), "abc", SECRET, url)
    redirect = "http://localhost:3000/back?a=b&c"
    assert identity.authorization_url(redirect, {"user:read:chat", "bits:read"}) == (
        "http://h:1/x/oauth2/authorize?response_type=code&client_id=abc"
        "&redirect_uri=http%3A%2F%2Flocalhost%3A3000%2Fback%3Fa%3Db%26c"
        "&scope=bits%3Aread%20user%3Aread%3Achat"
    )
    full = identity.authorization_url(redirect, state="a&b=ä", force_verify=True)
    assert full.endswith("&scope=&state=a%26b%3D%C3%A4&force_verify=true")
    assert SECRET not in full
    with pytest.raises(TypeError, match="'scopes' must be a set or list"):
        identity.authorization_url(redirect, "chat:read")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "id.twitch.tv",
        "ftp://h/",
        "http://u:p@h/",
        "http://h/?a=b",
        "http://h/#a",
        "http://[::1",
    ],
)
def test_bad_base_url(url: str) -> None:
    """A base URL that cannot work is refused at once."""
    with pytest.raises(ValueError, match="'id_url' must be an http or https URL"):
        Identity(HTTPClient(client_id="abc"), "abc", None, url)


def calls_of(identity: Identity) -> list[Callable[[], Awaitable[object]]]:
    """Every endpoint, called with canaries."""
    return [
        identity.client_credentials,
        lambda: identity.start_device(["chat:read"]),
        lambda: identity.poll_device(DEVICE),
        lambda: identity.exchange_code(CODE, "http://localhost"),
        lambda: identity.refresh(REFRESH),
        lambda: identity.validate(ACCESS),
        lambda: identity.revoke(ACCESS),
    ]


def visible(error: HTTPException) -> str:
    """All that a log could show of an error."""
    assert error.__cause__ is None
    assert error.__context__ is None
    return "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))


async def outcomes(identity: Identity) -> str:
    """All that can be seen of the results and errors of all endpoints."""
    text = repr(identity)
    for call in calls_of(identity):
        try:
            result = await call()
        except HTTPException as error:
            text += visible(error)
        else:
            text += f"{result!r} {result} {getattr(result, 'raw', None)!r}"
    return text


ECHO = f"{SECRET} {REFRESH} {ACCESS} {DEVICE} {CODE}"


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (
            TOKEN
            | {
                "device_code": DEVICE,
                "user_code": "A",
                "verification_uri": "x",
                "client_id": "abc",
            },
            200,
        ),
        ({"status": 400, "message": ECHO, "access_token": NEW, "nested": [TOKEN]}, 400),
        ({"error": "invalid_request", "error_description": ECHO}, 401),
        ({"access_token": 5, "refresh_token": NEW, "message": ECHO}, 200),
        ({"unexpected": ECHO}, 200),
    ],
)
async def test_no_canary_is_ever_seen(
    given: object, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG level, whatever the service answers, logs, reprs and tracebacks show no secret."""
    caplog.set_level(logging.DEBUG)
    # Each endpoint may echo what was sent to it, and nothing else.
    answers = dict.fromkeys(("token", "device", "validate", "revoke"), given)
    async with service(answers=answers, status=status) as (identity, seen):
        seen_of_client = await outcomes(identity)
    assert len(seen) == 7
    records = [record for record in caplog.records if record.name != "aiohttp.access"]
    logged = "".join(f"{record.getMessage()} {record.__dict__}" for record in records)
    assert NEW not in seen_of_client + logged
    assert SECRET not in seen_of_client + logged
    for one in seen:
        assert "canary" not in one.url


async def test_no_canary_without_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """The same when nobody answers."""
    caplog.set_level(logging.DEBUG)
    http = HTTPClient(client_id="abc")
    identity = Identity(http, "abc", SECRET, f"http://127.0.0.1:{free_port()}/oauth2")
    text = await outcomes(identity)
    await http.close()
    assert "Connection refused" in text
    assert "canary" not in text + caplog.text


@pytest.mark.parametrize("number", range(7))
async def test_what_was_sent_is_cut_out_of_what_comes_back(number: int) -> None:
    """What an endpoint was sent is cut out of what it echoes, and so is the client secret."""
    sent = [SECRET, SECRET, DEVICE, CODE, REFRESH, ACCESS, ACCESS][number]
    given = {"status": 400, "message": f"bad: {sent} / {SECRET}"}
    answers: dict[str, object] = dict.fromkeys(("token", "device", "validate", "revoke"), given)
    async with service(answers=answers, status=400) as (identity, _):
        with pytest.raises(BadRequest) as caught:
            await calls_of(identity)[number]()
    assert caught.value.message == "bad: [secret] / [secret]"
