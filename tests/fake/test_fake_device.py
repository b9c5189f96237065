"""The device code flow: its life cycle, its scopes, and what nobody knows about it."""

from __future__ import annotations

import re

import aiohttp
import pytest

from .http import HTTP, register

PENDING = (400, "authorization_pending")
INVALID = (400, "invalid device code")


async def test_life_cycle(http: HTTP) -> None:
    """Pending any number of times, the token once, then `invalid device code` for ever."""
    client = http.twitch.register_client(public=True)
    alice = http.twitch.add_user("alice")
    start = (await http.device(client, scopes="chat:read chat:edit")).json
    for _ in range(3):
        assert (await http.poll(client, start["device_code"])).message == PENDING
    http.twitch.approve(str(start["user_code"]), alice)
    answer = (await http.poll(client, start["device_code"])).json
    assert set(answer) == {"access_token", "expires_in", "refresh_token", "scope", "token_type"}
    assert answer["scope"] == ["chat:read", "chat:edit"]
    for _ in range(2):
        assert (await http.poll(client, start["device_code"])).message == INVALID
    assert (await http.validate(str(answer["access_token"]))).json["login"] == "alice"
    assert (http.twitch.counts.device_starts, http.twitch.counts.polls) == (1, 6)


async def test_start_answer(http: HTTP) -> None:
    """Formats and numbers as recorded; the link has the code in it, and leads here."""
    answer = (await http.device(http.twitch.register_client())).json
    assert set(answer) == {
        "device_code",
        "expires_in",
        "interval",
        "user_code",
        "verification_uri",
    }
    assert re.fullmatch(r"[A-Za-z0-9]{40}", str(answer["device_code"]))
    assert re.fullmatch(r"[A-Z]{8}", str(answer["user_code"]))
    assert (answer["expires_in"], answer["interval"]) == (1800, 5)
    link = f"{http.twitch.url}/activate?device-code={answer['user_code']}"
    assert answer["verification_uri"] == link


async def test_start_refusals(http: HTTP) -> None:
    """An unknown client and an unknown scope are refused."""
    url = http.twitch.id_url + "device"
    reply = await http.send("POST", url, data={"client_id": "nobody"})
    assert reply.message == (400, "invalid client")
    client = http.twitch.register_client()
    reply = await http.device(client, scopes="no:such")
    assert reply.message == (400, "invalid scope requested: 'no:such'")
    http.twitch.switch(client, unknown_scopes="grant")
    assert (await http.device(client, scopes="no:such")).status == 200


async def test_poll_refusals(http: HTTP) -> None:
    """No code, an unknown code, another client's code, an unknown client."""
    client, other = http.twitch.register_client(), http.twitch.register_client()
    code = (await http.device(client)).json["device_code"]
    assert (await http.poll(client, "")).message == (400, "missing device_code")
    assert (await http.poll(client, "x" * 40)).message == INVALID
    assert (await http.poll(other, code)).message == INVALID
    grant = "urn:ietf:params:oauth:grant-type:device_code"
    reply = await http.token(client_id="nobody", device_code=str(code), grant_type=grant)
    assert reply.message == (400, "invalid client")


async def test_a_confidential_client_polls_without_secret_but_cannot_refresh(http: HTTP) -> None:
    """Start and poll need no secret; the refresh afterwards does."""
    client = http.twitch.register_client()
    http.twitch.auto_approve(http.twitch.add_user("alice"))
    code = (await http.device(client)).json["device_code"]
    refresh = str((await http.poll(client, code)).json["refresh_token"])
    reply = await http.token(
        client_id=client.client_id, grant_type="refresh_token", refresh_token=refresh
    )
    assert reply.message == (400, "missing client secret")


@pytest.mark.parametrize(
    ("place", "name", "switches", "granted"),
    [
        ("form", "scopes", {}, True),
        ("multipart", "scopes", {}, True),
        ("form", "scope", {}, False),
        ("query", "scopes", {}, False),
        ("form", "scope", {"honour_scope": True}, True),
        ("query", "scopes", {"honour_query": True}, True),
    ],
)
async def test_scopes_versus_scope(
    http: HTTP, place: str, name: str, switches: dict[str, object], granted: bool
) -> None:
    """Only `scopes` in a body counts; what is ignored yields a good token with no scopes."""
    client = register(http, public=True, **switches)
    http.twitch.auto_approve(http.twitch.add_user("alice"))
    reply = await _start(http, place, {"client_id": client.client_id, name: "chat:read"})
    answer = (await http.poll(client, reply["device_code"])).json
    assert answer.get("scope") == (["chat:read"] if granted else None)


async def _start(http: HTTP, place: str, values: dict[str, str]) -> dict[str, object]:
    url = http.twitch.id_url + "device"
    if place == "query":
        return (await http.send("POST", url, params=values)).json
    if place == "form":
        return (await http.send("POST", url, data=values)).json
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in values.items():
        form.add_field(name, value)
    return (await http.send("POST", url, data=form)).json


async def test_scopes_of_the_poll_are_ignored(http: HTTP) -> None:
    """Only the first request decides."""
    client = http.twitch.register_client(public=True)
    http.twitch.auto_approve(http.twitch.add_user("alice"))
    code = str((await http.device(client, scopes="chat:read")).json["device_code"])
    reply = await http.token(
        client_id=client.client_id,
        device_code=code,
        grant_type="urn:ietf:params:oauth:grant-type:device_code",
        scopes="chat:edit",
    )
    assert reply.json["scope"] == ["chat:read"]


@pytest.mark.parametrize(
    ("switches", "text"),
    [({}, "invalid device code"), ({"expired_device": "expired_token"}, "expired_token")],
)
async def test_expiry(http: HTTP, switches: dict[str, object], text: str) -> None:
    """After `expires_in` the code is over, approved or not; the lifetime can be one second."""
    http.twitch.device_code_lifetime = 1
    client = register(http, public=False, **switches)
    start = (await http.device(client)).json
    assert start["expires_in"] == 1
    http.twitch.approve(str(start["user_code"]), http.twitch.add_user("alice"))
    http.twitch.advance(1)
    assert (await http.poll(client, start["device_code"])).message == (400, text)
    with pytest.raises(ValueError, match="no device login waits"):
        http.twitch.approve(str(start["user_code"]), "alice")


@pytest.mark.parametrize(
    ("switches", "text"),
    [({}, "authorization_pending"), ({"denied_device": "access_denied"}, "access_denied")],
)
async def test_denial(http: HTTP, switches: dict[str, object], text: str) -> None:
    """By default a denied code goes on pending until it expires."""
    client = register(http, public=False, **switches)
    start = (await http.device(client)).json
    http.twitch.deny(str(start["user_code"]))
    for _ in range(2):
        assert (await http.poll(client, start["device_code"])).message == (400, text)
    http.twitch.advance(1800)
    assert (await http.poll(client, start["device_code"])).message == INVALID


async def test_fast_polls_are_ignored_by_default(http: HTTP) -> None:
    """Nobody knows whether Twitch minds, so the double does not."""
    client = http.twitch.register_client()
    code = (await http.device(client)).json["device_code"]
    assert [(await http.poll(client, code)).message for _ in range(3)] == [PENDING] * 3


async def test_slow_down(http: HTTP) -> None:
    """The switch: a poll that is too fast is told to slow down, by 5 s for good."""
    client = http.twitch.register_client(fast_poll="slow_down")
    code = (await http.device(client)).json["device_code"]
    texts = []
    for wait in (0, 1, 6, 10, 15):
        http.twitch.advance(wait)
        texts.append((await http.poll(client, code)).message[1])
    assert texts == [
        "authorization_pending",
        "slow_down",
        "slow_down",
        "slow_down",
        "slow_down",
    ]
    http.twitch.advance(25)
    assert (await http.poll(client, code)).message == PENDING


async def test_too_fast_a_poll_may_kill(http: HTTP) -> None:
    """The other switch: the code dies."""
    client = http.twitch.register_client(fast_poll="kill")
    code = (await http.device(client)).json["device_code"]
    assert [(await http.poll(client, code)).message for _ in range(3)] == [
        PENDING,
        INVALID,
        INVALID,
    ]


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
    client = http.twitch.register_client()
    http.twitch.auto_approve(http.twitch.add_user("alice"), after=60)
    code = (await http.device(client)).json["device_code"]
    assert (await http.poll(client, code)).message == PENDING
    http.twitch.advance(60)
    assert (await http.poll(client, code)).status == 200
    http.twitch.auto_approve(None)
    code = (await http.device(client)).json["device_code"]
    http.twitch.advance(60)
    assert (await http.poll(client, code)).message == PENDING
    assert len(http.twitch.waiting_codes()) == 1


async def test_somebody_else_approves(http: HTTP) -> None:
    """The token answer does not say who approved; validate does."""
    client = http.twitch.register_client()
    http.twitch.add_user("alice")
    start = (await http.device(client)).json
    http.twitch.approve(str(start["user_code"]).lower(), http.twitch.add_user("mallory"))
    answer = (await http.poll(client, start["device_code"])).json
    assert "mallory" not in str(answer)
    assert (await http.validate(str(answer["access_token"]))).json["login"] == "mallory"


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
    assert "This is not Twitch" in page.text
    form = {"device-code": start["user_code"], "user": alice.user_id, "decision": "authorize"}
    done = await http.send("POST", http.twitch.url + "/activate", data=form)
    assert (done.status, "Done" in done.text) == (200, True)
    answer = (await http.poll(client, start["device_code"])).json
    assert (await http.validate(str(answer["access_token"]))).json["login"] == "alice"


async def test_the_page_denies(http: HTTP) -> None:
    """Cancel denies the code; after that nothing waits under it."""
    client = http.twitch.register_client(denied_device="access_denied")
    http.twitch.add_user("alice")
    start = (await http.device(client)).json
    form = {"device-code": start["user_code"], "decision": "cancel"}
    assert (await http.send("POST", http.twitch.url + "/activate", data=form)).status == 200
    assert (await http.poll(client, start["device_code"])).message == (400, "access_denied")
    assert (await http.send("GET", str(start["verification_uri"]))).status == 404


async def test_the_page_without_a_code_asks_for_one(http: HTTP) -> None:
    """Somebody who typed the address can enter the code, in any case and with a dash."""
    page = await http.send("GET", http.twitch.url + "/activate")
    assert 'name="device-code"' in page.text
    http.twitch.add_user("alice")
    code = str((await http.device(http.twitch.register_client())).json["user_code"]).lower()
    params = {"device-code": f"{code[:4]}-{code[4:]}"}
    assert (await http.send("GET", http.twitch.url + "/activate", params=params)).status == 200


async def test_the_page_wants_somebody_chosen(http: HTTP) -> None:
    """Authorize without a user, or with an unknown one, decides nothing."""
    client = http.twitch.register_client()
    http.twitch.add_user("alice")
    start = (await http.device(client)).json
    form = {"device-code": start["user_code"], "user": "999", "decision": "authorize"}
    assert (await http.send("POST", http.twitch.url + "/activate", data=form)).status == 400
    assert (await http.poll(client, start["device_code"])).message == PENDING


async def test_the_page_without_users_says_so(http: HTTP) -> None:
    """A double without users tells what to do."""
    start = (await http.device(http.twitch.register_client())).json
    assert "add_user()" in (await http.send("GET", str(start["verification_uri"]))).text
