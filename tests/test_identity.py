"""The endpoints over real HTTP: what exactly is sent."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from tests.http_servers import web_server
from twitchvault.errors import (
    ClientException,
    NoAnswer,
    NotFound,
    Unauthorized,
)
from twitchvault.http import HTTPClient
from twitchvault.identity import Identity
from twitchvault.scopes import Scopes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from twitchvault.models import Token

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


GRANTS: list[tuple[Callable[[Identity], Awaitable[Token]], list[tuple[str, str]], bool]] = [
    (
        lambda identity: identity.poll_device(DEVICE),
        form_of(DEVICE_GRANT, device_code=DEVICE),
        False,
    ),
    (
        lambda identity: identity.exchange_code(CODE, "http://localhost/back?a=b"),
        form_of("authorization_code", code=CODE, redirect_uri="http://localhost/back?a=b"),
        True,
    ),
    (
        lambda identity: identity.refresh(REFRESH),
        form_of("refresh_token", refresh_token=REFRESH),
        True,
    ),
]


@pytest.mark.parametrize("secret", [None, "", SECRET])
@pytest.mark.parametrize(("call", "form", "with_secret"), GRANTS, ids=["device", "code", "refresh"])
async def test_token_requests(
    secret: str | None,
    call: Callable[[Identity], Awaitable[Token]],
    form: list[tuple[str, str]],
    with_secret: bool,
) -> None:
    """Each value is encoded once; the secret, if there is one, goes along, but not with a poll."""
    async with service(secret) as (identity, seen):
        token = await call(identity)
    form = form + ([("client_secret", secret)] if secret and with_secret else [])
    assert seen == [Seen("POST", "/some/oauth2/token", form, None, FORM_TYPE)]
    assert token.raw == TOKEN


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
