"""The endpoints over real HTTP: what exactly is sent."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from tests.http_servers import web_server
from twitchvault.errors import ClientException
from twitchvault.http import HTTPClient
from twitchvault.identity import Identity
from twitchvault.scopes import Scopes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
async def service(secret: str | None = SECRET) -> AsyncIterator[tuple[Identity, list[Seen]]]:
    """An identity service below a path of its own, and a client for it."""
    seen: list[Seen] = []

    async def handler(request: web.Request) -> web.Response:
        body = (await request.read()).decode()
        form = parse_qsl(body, keep_blank_values=True, strict_parsing=bool(body))
        authorization = request.headers.get("Authorization")
        seen.append(
            Seen(request.method, request.raw_path, form, authorization, request.content_type)
        )
        given = ANSWERS.get(request.path.rpartition("/")[2])
        return web.Response() if given is None else web.json_response(given)

    async with web_server(handler) as url:
        http = HTTPClient(client_id="abc")
        yield Identity(http, "abc", secret, f"{url}some/oauth2/"), seen
        await http.close()


FORM_TYPE = "application/x-www-form-urlencoded"
ID = ("client_id", "abc")
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def form_of(grant_type: str, **fields: str) -> list[tuple[str, str]]:
    """The fields of a token request, in the order they are sent in."""
    return [("grant_type", grant_type), ID, *fields.items()]


BACK = "http://localhost/back?a=b"
SCOPES = {Scopes.CHAT_READ, "bits:read", "chat:read"}
REQUESTS: list[tuple[str, tuple[Any, ...], str, list[tuple[str, str]], bool]] = [
    ("client_credentials", (), "token", form_of("client_credentials"), True),
    ("start_device", (SCOPES,), "device", [ID, ("scopes", "bits:read chat:read")], False),
    ("start_device", (), "device", [ID], False),
    ("poll_device", (DEVICE,), "token", form_of(DEVICE_GRANT, device_code=DEVICE), False),
    (
        "exchange_code",
        (CODE, BACK),
        "token",
        form_of("authorization_code", code=CODE, redirect_uri=BACK),
        True,
    ),
    ("refresh", (REFRESH,), "token", form_of("refresh_token", refresh_token=REFRESH), True),
    ("revoke", (ACCESS,), "revoke", [ID, ("token", ACCESS)], False),
]


@pytest.mark.parametrize("secret", [None, "", SECRET])
@pytest.mark.parametrize(("name", "arguments", "path", "form", "with_secret"), REQUESTS)
async def test_requests(
    secret: str | None,
    name: str,
    arguments: tuple[Any, ...],
    path: str,
    form: list[tuple[str, str]],
    with_secret: bool,
) -> None:
    """All is in the body, each value encoded once; a secret goes along where one is asked for."""
    async with service(secret) as (identity, seen):
        call = getattr(identity, name)
        if identity.public and name == "client_credentials":
            with pytest.raises(ClientException, match="'client_secret'"):
                await call()
            assert seen == []
            return
        await call(*arguments)
    form = form + ([("client_secret", secret)] if secret and with_secret else [])
    assert seen == [Seen("POST", f"/some/oauth2/{path}", form, None, FORM_TYPE)]


async def test_validate() -> None:
    """Validation carries the token in its header, with no body."""
    async with service() as (identity, seen):
        await identity.validate(ACCESS)
    assert [one[:4] for one in seen] == [("GET", "/some/oauth2/validate", [], f"OAuth {ACCESS}")]


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


@pytest.mark.parametrize("url", ["", "ftp://h/", "http://u:p@h/", "http://h/?a=b", "http://[::1"])
def test_bad_base_url(url: str) -> None:
    """A base URL that cannot work is refused at once."""
    with pytest.raises(ValueError, match="'id_url' must be an http or https URL"):
        Identity(HTTPClient(client_id="abc"), "abc", None, url)
