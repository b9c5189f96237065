"""EventSub's websocket and chat, as strict as Twitch's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.environment import until

if TYPE_CHECKING:
    import aiohttp

    from .http import HTTP

STREAM = {"type": "stream.online", "version": "1"}


async def _message(socket: aiohttp.ClientWebSocketResponse) -> tuple[str, Any]:
    message = json.loads(await socket.receive_str(timeout=10))
    return message["metadata"]["message_type"], message["payload"]


async def _session(http: HTTP) -> tuple[aiohttp.ClientWebSocketResponse, str]:
    socket = await http.session.ws_connect(http.twitch.eventsub_url)
    kind, payload = await _message(socket)
    assert (kind, payload["session"]["status"]) == ("session_welcome", "connected")
    return socket, payload["session"]["id"]


async def _subscribe(
    http: HTTP,
    client_id: str,
    token: str,
    session_id: str,
    **body: Any,  # noqa: ANN401
) -> tuple[int, str]:
    transport = {"method": "websocket", "session_id": session_id}
    content = STREAM | {"condition": {"broadcaster_user_id": "1"}, "transport": transport} | body
    headers = {"Authorization": f"Bearer {token}", "Client-Id": client_id}
    url = f"{http.twitch.api_url}eventsub/subscriptions"
    async with http.session.post(url, json=content, headers=headers) as answer:
        return answer.status, (await answer.json()).get("message", "")


async def test_a_subscription_lives_as_long_as_the_consent(http: HTTP) -> None:
    """Rotations leave it alone; a reconnect takes it along; a disconnect revokes it."""
    client, alice = http.twitch.register_client(), http.twitch.add_user("alice")
    pair = http.twitch.issue(client, alice)
    socket, session_id = await _session(http)
    answer = await _subscribe(http, client.client_id, pair.access_token, session_id)
    assert answer == (202, "")
    http.twitch.expire_access(alice)
    http.twitch.reconnect_sockets()
    kind, payload = await _message(socket)
    assert kind == "session_reconnect"
    newer = await http.session.ws_connect(payload["session"]["reconnect_url"])
    assert (await _message(newer))[0] == "session_welcome"
    assert http.twitch.notify("stream.online", {"broadcaster_user_id": "1", "id": "9"}) == 1
    kind, payload = await _message(newer)
    assert (kind, payload["event"]["id"]) == ("notification", "9")
    http.twitch.disconnect(client, alice)
    kind, payload = await _message(newer)
    assert (kind, payload["subscription"]["status"]) == ("revocation", "authorization_revoked")
    assert http.twitch.subscriptions == ()


async def test_a_subscription_is_refused_as_twitch_does(http: HTTP) -> None:
    """The wrong token, session, scope, a second one, another user's on the same session."""
    client, alice = http.twitch.register_client(), http.twitch.add_user("alice")
    bob = http.twitch.issue(client, http.twitch.add_user("bob")).access_token
    token = http.twitch.issue(client, alice).access_token
    _, session_id = await _session(http)

    async def status(token: str, session_id: str = session_id, **body: Any) -> int:  # noqa: ANN401
        return (await _subscribe(http, client.client_id, token, session_id, **body))[0]

    assert await status("dead") == 401
    assert await status(token, "unknown") == 400
    assert await status(token, type="channel.chat.message") == 403
    assert await status(token, condition="none") == 400
    assert await status(token) == 202
    assert await status(token) == 409
    assert await status(bob) == 400


async def test_a_client_that_talks_to_eventsub_is_cut_off(http: HTTP) -> None:
    """4001: nothing but pongs may be sent there."""
    socket, _ = await _session(http)
    await socket.send_str("hello")
    await socket.receive(timeout=10)
    assert socket.close_code == 4001


async def _chat(http: HTTP, *lines: str) -> tuple[aiohttp.ClientWebSocketResponse, str]:
    """A connection to chat, and the first answer to these lines."""
    socket = await http.session.ws_connect(http.twitch.irc_url)
    await socket.send_str("".join(f"{line}\r\n" for line in lines))
    return socket, (await socket.receive_str(timeout=10)).strip()


@pytest.mark.parametrize(
    ("password", "login", "answer"),
    [
        ("oauth:dead", "alice", "Login authentication failed"),
        ("oauth:{token}", "bob", "Login authentication failed"),
        ("{token}", "alice", "Improperly formatted auth"),
        ("oauth:{token}", "alice", "Welcome, GLHF!"),
    ],
)
async def test_chat_lets_in_whose_token_it_is(
    http: HTTP, password: str, login: str, answer: str
) -> None:
    """A live token with chat:read, under its user's login, with `oauth:` in front."""
    client = http.twitch.register_client()
    token = http.twitch.issue(client, http.twitch.add_user("alice"), ["chat:read"]).access_token
    _, text = await _chat(http, f"PASS {password.format(token=token)}", f"NICK {login}")
    assert text.endswith(f":{answer}")


async def test_chat_wants_the_password_first(http: HTTP) -> None:
    """NICK before PASS is refused, and so is anything else before signing in."""
    assert (await _chat(http, "NICK alice"))[1].endswith(":Improperly formatted auth")
    assert (await _chat(http, "JOIN #bob"))[1].endswith(":Login unsuccessful")


async def test_chat_carries_messages_between_those_who_joined(http: HTTP) -> None:
    """Who has chat:edit writes; PING is answered."""
    client = http.twitch.register_client()
    sockets = {}
    for login in ("alice", "bob"):
        user = http.twitch.add_user(login)
        token = http.twitch.issue(client, user, ["chat:read", "chat:edit"]).access_token
        lines = (f"PASS oauth:{token}", f"NICK {login}", "JOIN #hall")
        sockets[login], _ = await _chat(http, *lines)
    await until(lambda: http.twitch.chatters == (("alice", "#hall"), ("bob", "#hall")))
    await sockets["alice"].send_str("PRIVMSG #hall :hello\r\nPING :x\r\n")
    await _reads(sockets["bob"], "alice.tmi.twitch.tv PRIVMSG #hall :hello")
    await _reads(sockets["alice"], "PONG tmi.twitch.tv :x")


async def _reads(socket: aiohttp.ClientWebSocketResponse, end: str) -> None:
    while not (await socket.receive_str(timeout=10)).strip().endswith(end):
        pass
