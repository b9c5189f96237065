"""The device code flow: its life cycle, its scopes, and what nobody knows about it."""

from __future__ import annotations

import re

import aiohttp
import pytest

from .wire import Wire, register

PENDING = (400, "authorization_pending")
INVALID = (400, "invalid device code")


async def test_life_cycle(wire: Wire) -> None:
    """Pending any number of times, the token once, then `invalid device code` for ever."""
    client = wire.twitch.register_client(public=True)
    alice = wire.twitch.add_user("alice")
    start = (await wire.device(client, scopes="chat:read chat:edit")).json
    for _ in range(3):
        assert (await wire.poll(client, start["device_code"])).message == PENDING
    wire.twitch.approve(str(start["user_code"]), alice)
    answer = (await wire.poll(client, start["device_code"])).json
    assert set(answer) == {"access_token", "expires_in", "refresh_token", "scope", "token_type"}
    assert answer["scope"] == ["chat:read", "chat:edit"]
    for _ in range(2):
        assert (await wire.poll(client, start["device_code"])).message == INVALID
    assert (await wire.validate(str(answer["access_token"]))).json["login"] == "alice"
    assert (wire.twitch.counts.device_starts, wire.twitch.counts.polls) == (1, 6)


async def test_start_answer(wire: Wire) -> None:
    """Formats and numbers as recorded; the link has the code in it, and leads here."""
    answer = (await wire.device(wire.twitch.register_client())).json
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
    link = f"{wire.twitch.url}/activate?device-code={answer['user_code']}"
    assert answer["verification_uri"] == link


async def test_start_refusals(wire: Wire) -> None:
    """An unknown client and an unknown scope are refused."""
    url = wire.twitch.id_url + "device"
    reply = await wire.send("POST", url, data={"client_id": "nobody"})
    assert reply.message == (400, "invalid client")
    client = wire.twitch.register_client()
    reply = await wire.device(client, scopes="no:such")
    assert reply.message == (400, "invalid scope requested: 'no:such'")
    wire.twitch.switch(client, unknown_scopes="grant")
    assert (await wire.device(client, scopes="no:such")).status == 200


async def test_poll_refusals(wire: Wire) -> None:
    """No code, an unknown code, another client's code, an unknown client."""
    client, other = wire.twitch.register_client(), wire.twitch.register_client()
    code = (await wire.device(client)).json["device_code"]
    assert (await wire.poll(client, "")).message == (400, "missing device_code")
    assert (await wire.poll(client, "x" * 40)).message == INVALID
    assert (await wire.poll(other, code)).message == INVALID
    grant = "urn:ietf:params:oauth:grant-type:device_code"
    reply = await wire.token(client_id="nobody", device_code=str(code), grant_type=grant)
    assert reply.message == (400, "invalid client")


async def test_a_confidential_client_polls_without_secret_but_cannot_refresh(wire: Wire) -> None:
    """Start and poll need no secret; the refresh afterwards does."""
    client = wire.twitch.register_client()
    wire.twitch.auto_approve(wire.twitch.add_user("alice"))
    code = (await wire.device(client)).json["device_code"]
    refresh = str((await wire.poll(client, code)).json["refresh_token"])
    reply = await wire.token(
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
    wire: Wire, place: str, name: str, switches: dict[str, object], granted: bool
) -> None:
    """Only `scopes` in a body counts; what is ignored yields a good token with no scopes."""
    client = register(wire, public=True, **switches)
    wire.twitch.auto_approve(wire.twitch.add_user("alice"))
    reply = await _start(wire, place, {"client_id": client.client_id, name: "chat:read"})
    answer = (await wire.poll(client, reply["device_code"])).json
    assert answer.get("scope") == (["chat:read"] if granted else None)


async def _start(wire: Wire, place: str, values: dict[str, str]) -> dict[str, object]:
    url = wire.twitch.id_url + "device"
    if place == "query":
        return (await wire.send("POST", url, params=values)).json
    if place == "form":
        return (await wire.send("POST", url, data=values)).json
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in values.items():
        form.add_field(name, value)
    return (await wire.send("POST", url, data=form)).json


async def test_scopes_of_the_poll_are_ignored(wire: Wire) -> None:
    """Only the first request decides."""
    client = wire.twitch.register_client(public=True)
    wire.twitch.auto_approve(wire.twitch.add_user("alice"))
    code = str((await wire.device(client, scopes="chat:read")).json["device_code"])
    reply = await wire.token(
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
async def test_expiry(wire: Wire, switches: dict[str, object], text: str) -> None:
    """After `expires_in` the code is over, approved or not; the lifetime can be one second."""
    wire.twitch.device_code_lifetime = 1
    client = register(wire, public=False, **switches)
    start = (await wire.device(client)).json
    assert start["expires_in"] == 1
    wire.twitch.approve(str(start["user_code"]), wire.twitch.add_user("alice"))
    wire.twitch.advance(1)
    assert (await wire.poll(client, start["device_code"])).message == (400, text)
    with pytest.raises(ValueError, match="no device login waits"):
        wire.twitch.approve(str(start["user_code"]), "alice")


@pytest.mark.parametrize(
    ("switches", "text"),
    [({}, "authorization_pending"), ({"denied_device": "access_denied"}, "access_denied")],
)
async def test_denial(wire: Wire, switches: dict[str, object], text: str) -> None:
    """By default a denied code goes on pending until it expires."""
    client = register(wire, public=False, **switches)
    start = (await wire.device(client)).json
    wire.twitch.deny(str(start["user_code"]))
    for _ in range(2):
        assert (await wire.poll(client, start["device_code"])).message == (400, text)
    wire.twitch.advance(1800)
    assert (await wire.poll(client, start["device_code"])).message == INVALID


async def test_fast_polls_are_ignored_by_default(wire: Wire) -> None:
    """Nobody knows whether Twitch minds, so the double does not."""
    client = wire.twitch.register_client()
    code = (await wire.device(client)).json["device_code"]
    assert [(await wire.poll(client, code)).message for _ in range(3)] == [PENDING] * 3


async def test_slow_down(wire: Wire) -> None:
    """The switch: a poll that is too fast is told to slow down, by 5 s for good."""
    client = wire.twitch.register_client(fast_poll="slow_down")
    code = (await wire.device(client)).json["device_code"]
    texts = []
    for wait in (0, 1, 6, 10, 15):
        wire.twitch.advance(wait)
        texts.append((await wire.poll(client, code)).message[1])
    assert texts == [
        "authorization_pending",
        "slow_down",
        "slow_down",
        "slow_down",
        "slow_down",
    ]
    wire.twitch.advance(25)
    assert (await wire.poll(client, code)).message == PENDING


async def test_too_fast_a_poll_may_kill(wire: Wire) -> None:
    """The other switch: the code dies."""
    client = wire.twitch.register_client(fast_poll="kill")
    code = (await wire.device(client)).json["device_code"]
    assert [(await wire.poll(client, code)).message for _ in range(3)] == [
        PENDING,
        INVALID,
        INVALID,
    ]


async def test_spurious_invalid_code(wire: Wire) -> None:
    """The service fault: `invalid device code` while pending; the user can still finish."""
    client = wire.twitch.register_client(spurious_invalid_device=1)
    start = (await wire.device(client)).json
    polls = [(await wire.poll(client, start["device_code"])).message for _ in range(2)]
    assert polls == [INVALID, PENDING]
    wire.twitch.approve(str(start["user_code"]), wire.twitch.add_user("alice"))
    assert (await wire.poll(client, start["device_code"])).status == 200


async def test_auto_approve_after_a_while(wire: Wire) -> None:
    """Approval by command comes so many seconds after the start, on the double's clock."""
    client = wire.twitch.register_client()
    wire.twitch.auto_approve(wire.twitch.add_user("alice"), after=60)
    code = (await wire.device(client)).json["device_code"]
    assert (await wire.poll(client, code)).message == PENDING
    wire.twitch.advance(60)
    assert (await wire.poll(client, code)).status == 200
    wire.twitch.auto_approve(None)
    code = (await wire.device(client)).json["device_code"]
    wire.twitch.advance(60)
    assert (await wire.poll(client, code)).message == PENDING
    assert len(wire.twitch.waiting_codes()) == 1


async def test_somebody_else_approves(wire: Wire) -> None:
    """The token answer does not say who approved; validate does."""
    client = wire.twitch.register_client()
    wire.twitch.add_user("alice")
    start = (await wire.device(client)).json
    wire.twitch.approve(str(start["user_code"]).lower(), wire.twitch.add_user("mallory"))
    answer = (await wire.poll(client, start["device_code"])).json
    assert "mallory" not in str(answer)
    assert (await wire.validate(str(answer["access_token"]))).json["login"] == "mallory"


# The page


async def test_the_page_approves(wire: Wire) -> None:
    """The page shows app, code, scopes and users, escaped; its form approves."""
    client = wire.twitch.register_client(name="<script>app</script>")
    alice = wire.twitch.add_user("alice", display_name="<i>Alice</i>")
    start = (await wire.device(client, scopes="chat:read")).json
    page = await wire.send("GET", str(start["verification_uri"]))
    assert page.status == 200
    for text in ("&lt;script&gt;app", "&lt;i&gt;Alice", "chat:read", str(start["user_code"])):
        assert text in page.text
    assert "<script>" not in page.text
    assert "This is not Twitch" in page.text
    form = {"device-code": start["user_code"], "user": alice.user_id, "decision": "authorize"}
    done = await wire.send("POST", wire.twitch.url + "/activate", data=form)
    assert (done.status, "Done" in done.text) == (200, True)
    answer = (await wire.poll(client, start["device_code"])).json
    assert (await wire.validate(str(answer["access_token"]))).json["login"] == "alice"


async def test_the_page_denies(wire: Wire) -> None:
    """Cancel denies the code; after that nothing waits under it."""
    client = wire.twitch.register_client(denied_device="access_denied")
    wire.twitch.add_user("alice")
    start = (await wire.device(client)).json
    form = {"device-code": start["user_code"], "decision": "cancel"}
    assert (await wire.send("POST", wire.twitch.url + "/activate", data=form)).status == 200
    assert (await wire.poll(client, start["device_code"])).message == (400, "access_denied")
    assert (await wire.send("GET", str(start["verification_uri"]))).status == 404


async def test_the_page_without_a_code_asks_for_one(wire: Wire) -> None:
    """Somebody who typed the address can enter the code, in any case and with a dash."""
    page = await wire.send("GET", wire.twitch.url + "/activate")
    assert 'name="device-code"' in page.text
    wire.twitch.add_user("alice")
    code = str((await wire.device(wire.twitch.register_client())).json["user_code"]).lower()
    params = {"device-code": f"{code[:4]}-{code[4:]}"}
    assert (await wire.send("GET", wire.twitch.url + "/activate", params=params)).status == 200


async def test_the_page_wants_somebody_chosen(wire: Wire) -> None:
    """Authorize without a user, or with an unknown one, decides nothing."""
    client = wire.twitch.register_client()
    wire.twitch.add_user("alice")
    start = (await wire.device(client)).json
    form = {"device-code": start["user_code"], "user": "999", "decision": "authorize"}
    assert (await wire.send("POST", wire.twitch.url + "/activate", data=form)).status == 400
    assert (await wire.poll(client, start["device_code"])).message == PENDING


async def test_the_page_without_users_says_so(wire: Wire) -> None:
    """A double without users tells what to do."""
    start = (await wire.device(wire.twitch.register_client())).json
    assert "add_user()" in (await wire.send("GET", str(start["verification_uri"]))).text
