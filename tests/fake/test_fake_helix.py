"""Helix: authorization, users, resources, rate limits."""

from __future__ import annotations

import time
from typing import Any

import pytest

from .http import HTTP, connected, register


@pytest.mark.parametrize("header", [None, "OAuth {token}", "Bearer"])
async def test_authorization(http: HTTP, header: str | None) -> None:
    """Only `Bearer` and a token will do; the answer has no WWW-Authenticate."""
    client, pair = connected(http)
    headers = {"Client-Id": client.client_id}
    if header is not None:
        headers["Authorization"] = header.format(token=pair.access_token)
    reply = await http.send("GET", http.twitch.api_url + "users", headers=headers)
    assert reply.helix == (401, "OAuth token is missing")
    assert "WWW-Authenticate" not in reply.headers
    assert http.twitch.counts.helix_unauthorized == 1


async def test_users(http: HTTP) -> None:
    """Without parameters "me"; ids and logins mix, unknown ones are left out.

    The e-mail needs its scope, and is one's own only.
    """
    client, pair = connected(http)
    http.twitch.add_user("bob", user_id="77")
    http.twitch.add_user("carol")
    (me,) = await users(http, client, pair.access_token)
    assert (me["id"], me["login"], me["display_name"]) == ("100000001", "alice", "Alice")
    with_email = http.twitch.issue(client, "alice", ["user:read:email"]).access_token
    assert [set(user) - set(me) for user in await users(http, client, with_email)] == [{"email"}]
    path = "users?id=77&login=carol&id=404&login=nobody&login=bob"
    found = await users(http, client, with_email, path)
    assert [user["login"] for user in found] == ["bob", "carol"]
    assert not any("email" in user for user in found)


@pytest.mark.parametrize(
    ("path", "status"),
    [("users?id=abc", 400), ("users?" + "id=1&" * 101, 400), ("users", 400), ("nothing", 404)],
)
async def test_bad_requests(http: HTTP, path: str, status: int) -> None:
    """Malformed ids, too many of them, nobody asked for, and unknown paths."""
    client = register(http)
    assert (await http.helix(client, await http.app_token(client), path)).helix[0] == status


async def test_a_resource_may_need_an_app_token(http: HTTP) -> None:
    """A user token will not do then."""
    http.twitch.add_resource("bits/leaderboard", [1], needs="app")
    client, pair = connected(http)
    reply = await http.helix(client, pair.access_token, "bits/leaderboard")
    assert reply.helix == (401, "Must provide valid app token.")
    reply = await http.helix(client, await http.app_token(client), "bits/leaderboard")
    assert reply.json["data"] == [1]


async def test_pages(http: HTTP) -> None:
    """A resource comes in pages; the last one has no cursor."""
    client, pair = connected(http)
    http.twitch.add_resource("things", range(5))
    found: list[object] = []
    pagination: dict[str, str] = {}
    for _ in range(3):
        after = {"after": pagination["cursor"]} if pagination else {}
        params = {"first": "2"} | after
        answer: Any = (await http.helix(client, pair.access_token, "things", params=params)).json
        found, pagination = found + answer["data"], answer["pagination"]
    assert (found, pagination) == ([0, 1, 2, 3, 4], {})
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
    assert 0 < int(reply.headers["Ratelimit-Reset"]) - time.time() <= 3
    assert (await http.helix(client, bob.access_token)).status == 200
    http.twitch.advance(1)
    assert (await http.helix(client, pair.access_token)).status == 200
    assert http.twitch.counts.rate_limited == 1


async def test_rate_limit_headers(http: HTTP) -> None:
    """Good answers and faults have the three headers, a repeated fault the numbers of its time.

    A 401 has none, and a switch takes them away.
    """
    client, pair = connected(http)
    http.twitch.fail("helix:users", status=429, times=2, when="after")
    replies = [await http.helix(client, pair.access_token) for _ in range(3)]
    assert [reply.status for reply in replies] == [429, 429, 200]
    left = [int(reply.headers["Ratelimit-Remaining"]) for reply in replies]
    assert left == sorted(left, reverse=True)
    assert left[0] > left[2] > 700
    assert "Ratelimit-Limit" not in (await http.helix(client, "garbage")).headers
    http.twitch.helix_headers = False
    assert "Ratelimit-Limit" not in (await http.helix(client, pair.access_token)).headers


async def users(http: HTTP, client: Any, token: str, path: str = "users") -> Any:  # noqa: ANN401
    """The users in the answer."""
    answer = (await http.helix(client, token, path)).json
    assert set(answer) == {"data"}
    return answer["data"]
