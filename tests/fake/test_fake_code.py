"""The authorization code flow: redirects, consent, and the exchange."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest

from .http import FIRST, HOME, HTTP, Reply, register

if TYPE_CHECKING:
    from twitchvault.testing.fake import Client, User

MISMATCH = "Parameter redirect_uri does not match registered URI"


def app(http: HTTP) -> tuple[Client, User]:
    """A client with two redirect URIs, and alice."""
    return register(http), http.twitch.add_user("alice")


async def authorize(http: HTTP, client: Client, **change: str | None) -> Reply:
    """GET /oauth2/authorize."""
    params = {
        "client_id": client.client_id,
        "redirect_uri": HOME,
        "response_type": "code",
        "scope": "chat:read chat:edit",
        "state": "a b&c",
    } | change
    sent = {name: value for name, value in params.items() if value is not None}
    return await http.send("GET", http.twitch.id_url + "authorize", params=sent)


def landed(reply: Reply, mark: str = "query") -> tuple[str, dict[str, str]]:
    """Where a redirect goes, and with which parameters."""
    assert reply.status == 302
    parts = urlsplit(reply.headers["Location"])
    params = dict(parse_qsl(getattr(parts, mark), keep_blank_values=True))
    return f"{parts.scheme}://{parts.netloc}{parts.path}", params


async def exchange(http: HTTP, client: Client, code: str, **change: str) -> Reply:
    """The code exchange."""
    form = {
        "client_id": client.client_id,
        "client_secret": str(client.client_secret),
        "code": code,
        "grant_type": "authorization_code",
        "redirect_uri": HOME,
    } | change
    return await http.token(**form)


async def test_consent_by_command(http: HTTP) -> None:
    """The redirect keeps the URI's own query, echoes the state and names the scopes."""
    client, alice = app(http)
    http.twitch.auto_consent(alice)
    place, params = landed(await authorize(http, client))
    assert place == "http://localhost:3000/cb"
    assert re.fullmatch(r"[a-z0-9]{30}", params.pop("code"))
    assert params == {"keep": "1", "scope": "chat:read chat:edit", "state": "a b&c"}
    _, params = landed(await authorize(http, client, state=None, scope=""))
    assert set(params) == {"keep", "code", "scope"}


async def test_exchange_once(http: HTTP) -> None:
    """A code is good once."""
    client, alice = app(http)
    http.twitch.auto_consent(alice)
    code = landed(await authorize(http, client))[1]["code"]
    answer = (await exchange(http, client, code)).json
    assert set(answer) == {"access_token", "expires_in", "refresh_token", "scope", "token_type"}
    assert (await http.validate(str(answer["access_token"]))).json["login"] == "alice"
    assert (await exchange(http, client, code)).message == (400, "Invalid authorization code")
    assert http.twitch.counts.code_exchanges == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"code": "x" * 30}, (400, "Invalid authorization code")),
        ({"code": ""}, (400, "missing code")),
        ({"client_id": "nobody"}, (400, "invalid client")),
        ({"client_secret": "wrong"}, (403, "invalid client secret")),
        ({"client_secret": ""}, (400, "missing client secret")),
        ({"redirect_uri": FIRST}, (400, MISMATCH)),
        ({"redirect_uri": HOME + "/"}, (400, MISMATCH)),
    ],
)
async def test_exchange_refusals(
    http: HTTP, change: dict[str, str], expected: tuple[int, str]
) -> None:
    """Every refusal has its exact text, and the code stays good."""
    client, alice = app(http)
    http.twitch.auto_consent(alice)
    code = landed(await authorize(http, client))[1]["code"]
    assert (await exchange(http, client, **({"code": code} | change))).message == expected
    assert (await exchange(http, client, code)).status == 200


async def test_a_code_expires_and_belongs_to_one_client(http: HTTP) -> None:
    """An old code, and a code of another client, are invalid."""
    client, alice = app(http)
    http.twitch.auto_consent(alice)
    code = landed(await authorize(http, client))[1]["code"]
    other = http.twitch.register_client(redirect_uris=[HOME])
    assert (await exchange(http, other, code)).message == (400, "Invalid authorization code")
    http.twitch.advance(600)
    assert (await exchange(http, client, code)).message == (400, "Invalid authorization code")


@pytest.mark.parametrize("uri", [HOME + "/", HOME.upper(), "http://evil.example/", "", None])
async def test_mismatch_goes_to_the_first_uri_without_state(http: HTTP, uri: str | None) -> None:
    """The redirect URI must match to the byte; otherwise the first registered one is told."""
    client, alice = app(http)
    http.twitch.auto_consent(alice)
    place, params = landed(await authorize(http, client, redirect_uri=uri))
    assert place == FIRST
    assert params == {"error": "redirect_mismatch", "error_description": MISMATCH}


async def test_denial(http: HTTP) -> None:
    """A denial comes back with error, description and state."""
    client, _ = app(http)
    http.twitch.auto_consent(None, deny=True)
    _, params = landed(await authorize(http, client))
    assert params == {
        "keep": "1",
        "error": "access_denied",
        "error_description": "The user denied you access",
        "state": "a b&c",
    }


async def test_bad_response_type(http: HTTP) -> None:
    """Anything but code and token is not supported here."""
    client, _ = app(http)
    _, params = landed(await authorize(http, client, response_type="id_token"))
    assert params["error"] == "unsupported_response_type"
    assert params["error_description"] == "Response type is not supported"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"client_id": None}, "missing client ID"),
        ({"client_id": "nobody"}, "invalid client"),
        ({"scope": None}, "missing scope"),
        ({"scope": "no:such"}, "The scope no:such is currently unavailable"),
        ({"scope": "whispers:edit"}, "The scope whispers:edit is currently unavailable"),
    ],
)
async def test_errors_without_redirect(
    http: HTTP, change: dict[str, str | None], text: str
) -> None:
    """Some errors are a JSON page of status 400."""
    client, alice = app(http)
    http.twitch.auto_consent(alice)
    assert (await authorize(http, client, **change)).message == (400, text)


async def test_implicit_flow(http: HTTP) -> None:
    """response_type=token: an access token in the fragment, and no refresh token."""
    client, alice = app(http)
    http.twitch.auto_consent(alice)
    _, params = landed(await authorize(http, client, response_type="token"), "fragment")
    token = params.pop("access_token")
    assert params == {"scope": "chat:read chat:edit", "state": "a b&c", "token_type": "bearer"}
    assert (await http.validate(token)).json["login"] == "alice"


async def test_consent_page_and_silent_return(http: HTTP) -> None:
    """A click consents; the same scopes pass silently later, more scopes and force_verify ask."""
    client, alice = app(http)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        person = HTTP(http.twitch, browser)
        page = await authorize(person, client)
        assert page.status == 200
        hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
        hidden = {name: value.replace("&amp;", "&") for name, value in hidden.items()}
        form = {**hidden, "user": alice.user_id, "decision": "authorize"}
        clicked = await person.send("POST", http.twitch.id_url + "authorize", data=form)
        _, params = landed(clicked)
        assert params["state"] == "a b&c"
        assert (await authorize(person, client)).status == 200
        assert (await exchange(http, client, params["code"])).status == 200
        assert (await authorize(person, client, scope="chat:read")).status == 302
        assert (await authorize(person, client, scope="chat:read bits:read")).status == 200
        assert (await authorize(person, client, force_verify="true")).status == 200


async def test_cancel_on_the_page(http: HTTP) -> None:
    """The Cancel button denies."""
    client, _ = app(http)
    form = {
        "client_id": client.client_id,
        "redirect_uri": HOME,
        "response_type": "code",
        "scope": "",
        "decision": "cancel",
    }
    reply = await http.send("POST", http.twitch.id_url + "authorize", data=form)
    assert landed(reply)[1]["error"] == "access_denied"


async def test_a_narrower_consent_shrinks_nothing(http: HTTP) -> None:
    """Tokens that were issued keep their scopes."""
    client, alice = app(http)
    http.twitch.auto_consent(alice)
    code = landed(await authorize(http, client))[1]["code"]
    first = (await exchange(http, client, code)).json
    code = landed(await authorize(http, client, scope=""))[1]["code"]
    second = (await exchange(http, client, code)).json
    assert "scope" not in second
    answer = (await http.validate(str(first["access_token"]))).json
    assert answer["scopes"] == ["chat:read", "chat:edit"]
