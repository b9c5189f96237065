"""Helix: the gate, users, resources, rate limits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from .http import HTTP, connected

if TYPE_CHECKING:
    from twitchvault.testing.fake import Client


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"Authorization": None}, "OAuth token is missing"),
        ({"Authorization": "OAuth {token}"}, "OAuth token is missing"),
        ({"Authorization": "Bearer"}, "OAuth token is missing"),
        ({"Authorization": "Bearer garbage"}, "Invalid OAuth token"),
        ({"Client-Id": "someone-else"}, "Client ID and OAuth token do not match"),
        ({"Client-Id": None}, "Client ID and OAuth token do not match"),
    ],
)
async def test_gate(http: HTTP, headers: dict[str, str | None], text: str) -> None:
    """Each kind of refusal has its text; bodies have three keys, answers no WWW-Authenticate."""
    client, pair = connected(http)
    sent = {"Authorization": "Bearer {token}", "Client-Id": client.client_id} | headers
    filled = {k: v.format(token=pair.access_token) for k, v in sent.items() if v is not None}
    reply = await http.send("GET", http.twitch.api_url + "users", headers=filled)
    assert reply.helix == (401, text)
    assert reply.json["error"] == "Unauthorized"
    assert "WWW-Authenticate" not in reply.headers
    assert http.twitch.counts.helix_unauthorized == 1


async def test_me(http: HTTP) -> None:
    """Without parameters a user token means its user; the e-mail needs its scope."""
    client, pair = connected(http)
    reply = await http.helix(client, pair.access_token)
    assert set(reply.json) == {"data"}
    (me,) = _data(reply.json)
    assert (me["id"], me["login"], me["display_name"]) == ("100000001", "alice", "Alice")
    assert "email" not in me
    mailed = http.twitch.issue(client, "alice", ["user:read:email"])
    assert "email" in _data((await http.helix(client, mailed.access_token)).json)[0]


async def test_users_by_id_and_login(http: HTTP) -> None:
    """Ids and logins mix; unknown ones are left out; no e-mail of others."""
    client, _ = connected(http)
    pair = http.twitch.issue(client, "alice", ["user:read:email"])
    bob, carol = http.twitch.add_user("bob", user_id="77"), http.twitch.add_user("carol")
    path = f"users?id={bob.user_id}&login={carol.login}&id=404&login=nobody&login=bob"
    found = _data((await http.helix(client, pair.access_token, path)).json)
    assert [user["login"] for user in found] == ["bob", "carol"]
    assert not any("email" in user for user in found)


@pytest.mark.parametrize(
    ("path", "status"), [("users?id=abc", 400), ("users?" + "id=1&" * 101, 400), ("nothing", 404)]
)
async def test_bad_requests(http: HTTP, path: str, status: int) -> None:
    """Malformed ids, too many of them, and unknown paths."""
    client, pair = connected(http)
    assert (await http.helix(client, pair.access_token, path)).helix[0] == status


async def test_an_app_token_has_no_me(http: HTTP) -> None:
    """Without a user and without parameters there is nobody to tell about."""
    client, token = await _app(http)
    reply = await http.helix(client, token)
    assert reply.helix == (400, "Must provide an ID, Login or OAuth Token")


@pytest.mark.parametrize(
    ("wants", "kind", "text"),
    [
        ({"scope": "bits:read"}, "user", "Missing scope: bits:read"),
        ({"needs": "user"}, "app", "Missing User OAUTH Token"),
        ({"needs": "app"}, "user", "Must provide valid app token."),
    ],
)
async def test_resources_want_scopes_and_kinds(
    http: HTTP, wants: dict[str, str], kind: str, text: str
) -> None:
    """A resource may need a scope, a user token or an app token."""
    http.twitch.add_resource("bits/leaderboard", [1], **wants)
    if kind == "app":
        client, token = await _app(http)
    else:
        client, pair = connected(http)
        token = pair.access_token
    assert (await http.helix(client, token, "bits/leaderboard")).helix == (401, text)


async def test_pages(http: HTTP) -> None:
    """A resource comes in pages; the last one has no cursor."""
    client, pair = connected(http)
    http.twitch.add_resource("things", range(5))
    seen: list[object] = []
    after = ""
    for _ in range(3):
        answer = (await http.helix(client, pair.access_token, f"things?first=2{after}")).json
        seen += answer["data"]  # type: ignore[arg-type]
        pagination = answer["pagination"]
        assert isinstance(pagination, dict)
        after = f"&after={pagination.get('cursor')}"
    assert (seen, pagination) == ([0, 1, 2, 3, 4], {})
    for query, text in (("first=101", "less than or equal to 100"), ("after=x", "Invalid cursor.")):
        reply = await http.helix(client, pair.access_token, f"things?{query}")
        assert text in str(reply.helix[1])


async def test_other_methods(http: HTTP) -> None:
    """POST, PUT and PATCH give the JSON back, DELETE answers 204."""
    client, pair = connected(http)
    http.twitch.add_resource("things")
    for method in ("POST", "PUT", "PATCH"):
        reply = await http.helix(client, pair.access_token, "things", method, json={"a": 1})
        assert reply.json == {"data": [{"a": 1}]}
    reply = await http.helix(client, pair.access_token, "things", "DELETE")
    assert (reply.status, reply.text) == (204, "")


async def test_rate_limit(http: HTTP) -> None:
    """One bucket per client and user: 429 when it is empty, refilled by the second."""
    http.twitch.configure(helix_limit=2, helix_refill=60)
    client, pair = connected(http)
    bob = http.twitch.issue(client, http.twitch.add_user("bob"))
    left = [
        (await http.helix(client, pair.access_token)).headers["Ratelimit-Remaining"] for _ in "ab"
    ]
    assert left == ["1", "0"]
    reply = await http.helix(client, pair.access_token)
    assert reply.helix == (429, "Request limit exceeded")
    assert reply.json["error"] == "Too Many Requests"
    assert 0 < int(reply.headers["Ratelimit-Reset"]) - time.time() <= 3
    assert (await http.helix(client, bob.access_token)).status == 200
    http.twitch.advance(1)
    assert (await http.helix(client, pair.access_token)).status == 200
    assert http.twitch.counts.rate_limited == 1


async def test_headers_on_every_answer(http: HTTP) -> None:
    """Good, refused and injected answers have the three headers; a switch takes them away."""
    client, pair = connected(http)
    http.twitch.fail("helix:users", status=429)
    replies = [await http.helix(client, pair.access_token) for _ in range(2)]
    replies.append(await http.helix(client, "garbage"))
    assert [reply.status for reply in replies] == [429, 200, 401]
    for reply in replies:
        assert reply.headers["Ratelimit-Limit"] == "800"
        assert int(reply.headers["Ratelimit-Remaining"]) > 700
    http.twitch.helix_headers = False
    assert "Ratelimit-Limit" not in (await http.helix(client, pair.access_token)).headers


async def _app(http: HTTP) -> tuple[Client, str]:
    client = http.twitch.register_client()
    reply = await http.token(
        client_id=client.client_id,
        client_secret=str(client.client_secret),
        grant_type="client_credentials",
    )
    return client, str(reply.json["access_token"])


def _data(answer: dict[str, object]) -> list[dict[str, object]]:
    data = answer["data"]
    assert isinstance(data, list)
    return data
