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
    """A client with two redirect URIs, and alice, who consents to everything."""
    alice = http.twitch.add_user("alice")
    http.twitch.auto_consent(alice)
    return register(http), alice


async def test_consent_and_exchange(http: HTTP) -> None:
    """The redirect keeps the URI's own query, echoes the state and names the scopes.

    Its code is good once; a later, narrower consent shrinks nothing.
    """
    client, alice = app(http)
    uri, params = (await http.authorize(client)).redirected
    code = params.pop("code")
    assert uri == "http://localhost:3000/cb"
    assert params == {"keep": "1", "scope": "chat:read chat:edit", "state": "a b&c"}
    assert re.fullmatch(r"[a-z0-9]{30}", code)
    answer = (await http.exchange(client, code)).json
    assert answer["scope"] == ["chat:read", "chat:edit"]
    assert (await http.exchange(client, code)).message == INVALID
    assert http.twitch.counts.code_exchanges == 1
    narrow = (await http.exchange(client, await http.code(client, alice, ""))).json
    assert "scope" not in narrow
    found = (await http.validate(str(answer["access_token"]))).json
    assert (found["login"], found["scopes"]) == ("alice", ["chat:read", "chat:edit"])


async def test_exchange_refusals(http: HTTP) -> None:
    """A refused exchange leaves the code good; it expires, and belongs to one client."""
    client, alice = app(http)
    code = await http.code(client, alice)
    for change, expected in (
        ({"client_secret": "wrong"}, (403, "invalid client secret")),
        ({"client_secret": ""}, (400, "missing client secret")),
        ({"redirect_uri": ""}, (400, "missing redirect_uri")),
        ({"redirect_uri": FIRST}, (400, MISMATCH)),
    ):
        assert (await http.exchange(client, code, **change)).message == expected
    assert (await http.exchange(register(http), code)).message == INVALID
    assert (await http.exchange(client, code)).status == 200
    code = await http.code(client, alice)
    http.twitch.advance(600)
    assert (await http.exchange(client, code)).message == INVALID


@pytest.mark.parametrize("uri", [HOME + "/", HOME.upper(), "http://evil.example/", "", None])
async def test_mismatch_goes_to_the_first_uri_without_state(http: HTTP, uri: str | None) -> None:
    """A redirect URI must match to the byte; otherwise the first registered one gets an error."""
    client, _ = app(http)
    uri, params = (await http.authorize(client, redirect_uri=uri)).redirected
    assert uri == FIRST
    assert params == {"error": "redirect_mismatch", "error_description": MISMATCH}


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
    client, _ = app(http)
    assert (await http.authorize(client, **change)).message == (400, text)


async def test_bad_response_type(http: HTTP) -> None:
    """The double has no flow but that of the code."""
    _, params = (await http.authorize(register(http), response_type="token")).redirected
    assert params["error"] == "unsupported_response_type"


async def test_click_then_straight_back(http: HTTP) -> None:
    """The page asks; after a click the same scopes pass silently, more of them or force ask."""
    client = register(http)
    http.twitch.add_user("alice")
    url = http.twitch.id_url + "authorize"
    # The jar's own rules would store no cookie of an address without a name.
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        person = HTTP(http.twitch, session)
        page = await person.authorize(client)
        assert "This is not Twitch" in page.text
        fields = re.findall(r'<input [^>]*name="([^"]+)" value="([^"]*)"', page.text)
        form = {name: unescape(value) for name, value in fields}
        assert form["user"] == "alice"
        form["decision"] = "authorize"
        _, params = (await person.send("POST", url, data=form)).redirected
        assert params["state"] == "a b&c"
        assert (await http.exchange(client, params["code"])).status == 200
        assert (await person.authorize(client, scope="chat:read")).status == 302
        assert (await person.authorize(client, scope="chat:read bits:read")).status == 200
        assert (await person.authorize(client, scope="", force_verify="true")).status == 200
