"""The authorization code flow: redirects, consent, and the exchange."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING

import aiohttp
import pytest

from .http import FIRST, HOME, HTTP, register

if TYPE_CHECKING:
    from twitchvault.testing.fake import Client, User

MISMATCH = "Parameter redirect_uri does not match registered URI"
INVALID = (400, "Invalid authorization code")


def app(http: HTTP) -> tuple[Client, User]:
    """A client with two redirect URIs, and alice."""
    return register(http), http.twitch.add_user("alice")


async def test_consent_by_command(http: HTTP) -> None:
    """The redirect keeps the URI's own query, echoes the state and names the scopes."""
    client, alice = app(http)
    http.twitch.auto_consent(alice)
    uri, params = (await http.authorize(client)).redirected
    assert uri == "http://localhost:3000/cb"
    assert re.fullmatch(r"[a-z0-9]{30}", params.pop("code"))
    assert params == {"keep": "1", "scope": "chat:read chat:edit", "state": "a b&c"}
    _, params = (await http.authorize(client, state=None, scope="")).redirected
    assert set(params) == {"keep", "code", "scope"}


async def test_exchange_once(http: HTTP) -> None:
    """A code is good once."""
    client, alice = app(http)
    code = await http.code(client, alice)
    answer = (await http.exchange(client, code)).json
    assert (await http.validate(str(answer["access_token"]))).json["login"] == "alice"
    assert (await http.exchange(client, code)).message == INVALID
    assert http.twitch.counts.code_exchanges == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"client_id": "nobody"}, (400, "invalid client")),
        ({"client_secret": "wrong"}, (403, "invalid client secret")),
        ({"client_secret": ""}, (400, "missing client secret")),
        ({"redirect_uri": ""}, (400, "missing redirect_uri")),
        ({"redirect_uri": FIRST}, (400, MISMATCH)),
    ],
)
async def test_exchange_refusals(
    http: HTTP, change: dict[str, str], expected: tuple[int, str]
) -> None:
    """Every refusal has its exact text, and the code stays good."""
    client, alice = app(http)
    code = await http.code(client, alice)
    assert (await http.exchange(client, code, **change)).message == expected
    assert (await http.exchange(client, code)).status == 200


async def test_a_code_expires_and_belongs_to_one_client(http: HTTP) -> None:
    """An old code, and a code of another client, are invalid."""
    client, alice = app(http)
    code = await http.code(client, alice)
    assert (await http.exchange(register(http), code)).message == INVALID
    http.twitch.advance(600)
    assert (await http.exchange(client, code)).message == INVALID


@pytest.mark.parametrize("uri", [HOME + "/", HOME.upper(), "http://evil.example/", "", None])
async def test_mismatch_goes_to_the_first_uri_without_state(http: HTTP, uri: str | None) -> None:
    """A redirect URI must match to the byte; otherwise the first registered one gets an error."""
    client, alice = app(http)
    http.twitch.auto_consent(alice)
    uri, params = (await http.authorize(client, redirect_uri=uri)).redirected
    assert uri == FIRST
    assert params == {"error": "redirect_mismatch", "error_description": MISMATCH}


async def test_bad_response_type(http: HTTP) -> None:
    """Anything but code and token is not supported here."""
    _, params = (await http.authorize(register(http), response_type="id_token")).redirected
    assert params["error"] == "unsupported_response_type"
    assert params["error_description"] == "Response type is not supported"


async def test_denial(http: HTTP) -> None:
    """A denial, by command or on the page, comes back with error, description and state."""
    client, _ = app(http)
    http.twitch.auto_consent(None, deny=True)
    by_command = await http.authorize(client)
    url, form = http.twitch.id_url + "authorize", {"scope": "", "decision": "cancel"}
    params = {"client_id": client.client_id, "redirect_uri": HOME, "response_type": "code"}
    by_click = await http.send("POST", url, data=form | params | {"state": "a b&c"})
    for reply in (by_command, by_click):
        assert reply.redirected[1] == {
            "keep": "1",
            "error": "access_denied",
            "error_description": "The user denied you access",
            "state": "a b&c",
        }


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
    """Some errors are a JSON page of status 400; an unknown or retired scope is one."""
    client, alice = app(http)
    http.twitch.auto_consent(alice)
    assert (await http.authorize(client, **change)).message == (400, text)


async def test_click_then_straight_back(http: HTTP) -> None:
    """The page asks; after a click the same scopes pass silently, more of them or force ask."""
    client, alice = app(http)
    url = http.twitch.id_url + "authorize"
    # The jar's own rules would keep no cookie of an address without a name.
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        person = HTTP(http.twitch, session)
        page = await person.authorize(client)
        assert page.status == 200
        assert "This is not Twitch" in page.text
        hidden = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page.text)
        form = {name: unescape(value) for name, value in hidden}
        form |= {"user": alice.user_id, "decision": "authorize"}
        _, params = (await person.send("POST", url, data=form)).redirected
        assert params["state"] == "a b&c"
        assert (await http.exchange(client, params["code"])).status == 200
        assert (await person.authorize(client, scope="chat:read")).status == 302
        assert (await person.authorize(client, scope="chat:read bits:read")).status == 200
        assert (await person.authorize(client, scope="", force_verify="true")).status == 200


async def test_a_narrower_consent_shrinks_nothing(http: HTTP) -> None:
    """Tokens that were issued keep their scopes."""
    client, alice = app(http)
    first = (await http.exchange(client, await http.code(client, alice))).json
    second = (await http.exchange(client, await http.code(client, alice, ""))).json
    assert "scope" not in second
    answer = (await http.validate(str(first["access_token"]))).json
    assert answer["scopes"] == ["chat:read", "chat:edit"]
