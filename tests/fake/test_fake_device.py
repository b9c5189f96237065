"""The device code flow: its life cycle, its scopes, and what is not known about it."""

from __future__ import annotations

import re

import aiohttp
import pytest

from .http import HTTP, register

PENDING = (400, "authorization_pending")
INVALID = (400, "invalid device code")


async def test_life_cycle(http: HTTP) -> None:
    """Pending any number of times, the token once, then `invalid device code` for ever.

    The token answer does not say who approved; validate does. The formats are as recorded, and the
    link has the code in it.
    """
    client = http.twitch.register_client(public=True)
    start = (await http.device(client, scopes="chat:read chat:edit")).json
    device_code, user_code = str(start["device_code"]), str(start["user_code"])
    assert re.fullmatch(r"[A-Za-z0-9]{40}", device_code)
    assert re.fullmatch(r"[A-Z]{8}", user_code)
    assert (start["expires_in"], start["interval"]) == (1800, 5)
    address = f"{http.twitch.url}/activate?device-code={user_code}"
    assert start["verification_uri"] == address
    for _ in range(3):
        assert (await http.poll(client, device_code)).message == PENDING
    http.twitch.approve(user_code.lower(), http.twitch.add_user("alice"))
    answer = (await http.poll(client, device_code)).json
    assert set(answer) == {"access_token", "expires_in", "refresh_token", "scope", "token_type"}
    assert answer["scope"] == ["chat:read", "chat:edit"]
    for _ in range(2):
        assert (await http.poll(client, device_code)).message == INVALID
    assert (await http.validate(str(answer["access_token"]))).json["login"] == "alice"
    assert (http.twitch.counts.device_starts, http.twitch.counts.polls) == (1, 6)


async def test_refusals(http: HTTP) -> None:
    """An unknown scope, unless the switch grants it, and another client's code."""
    client = register(http)
    reply = await http.device(client, scopes="no:such")
    assert reply.message == (400, "invalid scope requested: 'no:such'")
    http.twitch.switch(client, unknown_scopes="grant")
    code = (await http.device(client, scopes="no:such")).json["device_code"]
    assert (await http.poll(register(http), code)).message == INVALID
    assert (await http.poll(client, code)).message == PENDING


async def test_a_confidential_client_polls_without_secret_but_cannot_refresh(http: HTTP) -> None:
    """Start and poll need no secret; the refresh afterwards does."""
    client = register(http)
    http.twitch.auto_approve(http.twitch.add_user("alice"))
    code = (await http.device(client)).json["device_code"]
    token = str((await http.poll(client, code)).json["refresh_token"])
    reply = await http.refresh(client, token, client_secret="")
    assert reply.message == (400, "missing client secret")


@pytest.mark.parametrize(
    ("where", "name", "switches", "granted"),
    [
        ("data", "scopes", {}, True),
        ("multipart", "scopes", {}, True),
        ("data", "scope", {}, False),
        ("params", "scopes", {}, False),
        ("data", "scope", {"honour_scope": True}, True),
        ("params", "scopes", {"honour_query": True}, True),
    ],
)
async def test_scopes_versus_scope(
    http: HTTP, where: str, name: str, switches: dict[str, object], granted: bool
) -> None:
    """Only `scopes` in a body of the start counts; the rest yields a good token with no scopes."""
    client = register(http, **switches)
    http.twitch.auto_approve(http.twitch.add_user("alice"))
    values = {"client_id": client.client_id, name: "chat:read"}
    form = aiohttp.FormData(values, default_to_multipart=True)
    sent = {"data": form} if where == "multipart" else {where: values}
    start = (await http.send("POST", http.twitch.id_url + "device", **sent)).json
    answer = (await http.poll(client, start["device_code"], scopes="chat:edit")).json
    assert answer.get("scope") == (["chat:read"] if granted else None)


@pytest.mark.parametrize("text", ["invalid device code", "expired_token"])
async def test_expiry(http: HTTP, text: str) -> None:
    """After `expires_in` the code is over, approved or not; the lifetime can be one second."""
    http.twitch.device_code_lifetime = 1
    client = register(http, expired_device=text)
    start = (await http.device(client)).json
    assert start["expires_in"] == 1
    http.twitch.approve(str(start["user_code"]), http.twitch.add_user("alice"))
    http.twitch.advance(1)
    assert (await http.poll(client, start["device_code"])).message == (400, text)
    with pytest.raises(ValueError, match="no device login waits"):
        http.twitch.approve(str(start["user_code"]), "alice")


@pytest.mark.parametrize("text", [None, "access_denied"])
async def test_denial(http: HTTP, text: str | None) -> None:
    """By default a denied code goes on pending until it expires."""
    client = register(http, denied_device=text)
    start = (await http.device(client)).json
    http.twitch.deny(str(start["user_code"]))
    for _ in range(2):
        reply = await http.poll(client, start["device_code"])
        assert reply.message == (400, text or "authorization_pending")
    http.twitch.advance(1800)
    assert (await http.poll(client, start["device_code"])).message == INVALID


@pytest.mark.parametrize(
    ("rule", "texts"),
    [
        ("ignore", ["authorization_pending"] * 6),
        ("slow_down", ["authorization_pending", *["slow_down"] * 4, "authorization_pending"]),
        ("kill", ["authorization_pending", *["invalid device code"] * 5]),
    ],
)
async def test_polls_that_are_too_fast(http: HTTP, rule: str, texts: list[str]) -> None:
    """Ignored by default; a switch asks for 5 s more each time, another kills the code."""
    client = register(http, fast_poll=rule)
    code = (await http.device(client)).json["device_code"]
    messages = []
    for wait in (0, 1, 6, 10, 15, 25):
        http.twitch.advance(wait)
        messages.append((await http.poll(client, code)).message[1])
    assert messages == texts


async def test_spurious_invalid_code(http: HTTP) -> None:
    """The service fault: `invalid device code` while pending; the user can still finish."""
    client = http.twitch.register_client(spurious_invalid_device=1)
    start = (await http.device(client)).json
    polls = [(await http.poll(client, start["device_code"])).message for _ in range(2)]
    assert polls == [INVALID, PENDING]
    http.twitch.approve(str(start["user_code"]), http.twitch.add_user("alice"))
    assert (await http.poll(client, start["device_code"])).status == 200


async def test_auto_approve_after_a_while(http: HTTP) -> None:
    """Approval by command comes so many seconds after the start, on the double's clock."""
    client = register(http)
    http.twitch.auto_approve(http.twitch.add_user("alice"), after=60)
    code = (await http.device(client)).json["device_code"]
    assert (await http.poll(client, code)).message == PENDING
    http.twitch.advance(60)
    assert (await http.poll(client, code)).status == 200


# The page


async def test_the_page_approves(http: HTTP) -> None:
    """The page shows app, code, scopes and users, escaped; its form approves."""
    client = http.twitch.register_client(name="<script>app</script>")
    alice = http.twitch.add_user("alice", display_name="<i>Alice</i>")
    start = (await http.device(client, scopes="chat:read")).json
    page = await http.send("GET", str(start["verification_uri"]))
    assert page.status == 200
    for text in ("&lt;script&gt;app", "&lt;i&gt;Alice", "chat:read", str(start["user_code"])):
        assert text in page.text
    assert "<script>" not in page.text
    form = {"device-code": start["user_code"], "user": "999", "decision": "authorize"}
    assert (await http.send("POST", http.twitch.url + "/activate", data=form)).status == 400
    assert (await http.poll(client, start["device_code"])).message == PENDING
    form["user"] = alice.user_id
    done = await http.send("POST", http.twitch.url + "/activate", data=form)
    assert (done.status, "Done" in done.text) == (200, True)
    answer = (await http.poll(client, start["device_code"])).json
    assert (await http.validate(str(answer["access_token"]))).json["login"] == "alice"


async def test_the_page_denies(http: HTTP) -> None:
    """Cancel denies the code; after that nothing waits under it."""
    client = http.twitch.register_client(denied_device="access_denied")
    start = (await http.device(client)).json
    form = {"device-code": start["user_code"], "decision": "cancel"}
    assert (await http.send("POST", http.twitch.url + "/activate", data=form)).status == 200
    assert (await http.poll(client, start["device_code"])).message == (400, "access_denied")
    assert (await http.send("GET", str(start["verification_uri"]))).status == 404
