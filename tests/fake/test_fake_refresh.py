"""Refresh: one use, rotation, replay, the secret, limits, and what ends a connection."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from .http import HTTP, connected, public

INVALID = (400, "Invalid refresh token")


async def test_public_refresh_rotates_and_kills_the_old_access_token(http: HTTP) -> None:
    """A refresh gives two new tokens; the old access token is dead at that instant."""
    client, pair = public(http)
    access, refresh = await http.refreshed(client, pair.refresh_token)
    assert access != pair.access_token
    assert refresh != pair.refresh_token
    assert (await http.validate(pair.access_token)).message == (401, "invalid access token")
    assert (await http.validate(access)).status == 200
    newest = http.twitch.live_pair(client, "alice")
    assert newest is not None
    assert (newest.access_token, newest.refresh_token) == (access, refresh)
    assert http.twitch.counts.exchanges == 1


async def test_replay_ends_the_connection_of_a_public_client(http: HTTP) -> None:
    """A spent token: refused, and every access and refresh token of user and client dies."""
    client, pair = public(http)
    second = http.twitch.issue(client, "alice")
    access, refresh = await http.refreshed(client, pair.refresh_token)
    assert (await http.refresh(client, pair.refresh_token)).message == INVALID
    for token in (access, second.access_token):
        assert (await http.validate(token)).status == 401
    for token in (refresh, second.refresh_token):
        assert (await http.refresh(client, token)).message == INVALID
    counts = http.twitch.counts
    assert (counts.exchanges, counts.replays, counts.refused_refreshes) == (1, 1, 3)
    assert http.twitch.live_pair(client, "alice") is None


async def test_replay_spares_a_later_login_and_other_clients(http: HTTP) -> None:
    """A spent token of an ended connection is counted; from another client it is just invalid."""
    client, pair = public(http)
    other = http.twitch.register_client(public=True)
    await http.refreshed(client, pair.refresh_token)
    assert (await http.refresh(other, pair.refresh_token)).message == INVALID
    assert http.twitch.counts.replays == 0
    http.twitch.disconnect(client, "alice")
    fresh = http.twitch.issue(client, "alice")
    assert (await http.refresh(client, pair.refresh_token)).message == INVALID
    assert http.twitch.counts.replays == 1
    assert http.twitch.is_live(fresh.access_token)


async def test_of_two_refreshes_at_once_one_wins_and_the_other_is_a_replay(http: HTTP) -> None:
    """Exactly one gets a pair, and the replay ends it."""
    client, pair = public(http)
    with http.twitch.hold("token:refresh_token") as gate:
        both = [asyncio.create_task(http.refresh(client, pair.refresh_token)) for _ in range(2)]
        await gate.reached(2)
    replies = sorted(await asyncio.gather(*both), key=lambda reply: reply.status)
    assert [reply.status for reply in replies] == [200, 400]
    assert not http.twitch.is_live(str(replies[0].json["access_token"]))
    assert http.twitch.counts.replays == 1


@pytest.mark.parametrize(
    ("switches", "same", "status", "alive"),
    [
        ({}, False, 400, True),
        ({"confidential_refresh": "rotate-keep"}, False, 200, True),
        ({"confidential_refresh": "same"}, True, 200, False),
        ({"punish_replay": True}, False, 400, False),
        ({"refresh_kills_access": False}, False, 400, True),
    ],
)
async def test_confidential_refresh(
    http: HTTP, switches: dict[str, object], same: bool, status: int, alive: bool
) -> None:
    """By default both old tokens are dead, and a replay is not punished; switches change that."""
    client, pair = connected(http, **switches)
    access, refresh = await http.refreshed(client, pair.refresh_token)
    assert (refresh == pair.refresh_token) is same
    assert http.twitch.is_live(pair.access_token) is ("refresh_kills_access" in switches)
    assert (await http.refresh(client, pair.refresh_token)).status == status
    assert http.twitch.is_live(access) is alive
    assert http.twitch.counts.replays == (status == 400)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"refresh_token": "garbage"}, INVALID),
        ({"refresh_token": ""}, (400, "missing refresh token")),
        ({"client_id": "nobody"}, (400, "invalid client")),
        ({"client_id": ""}, (400, "missing client id")),
        ({"client_secret": ""}, (400, "missing client secret")),
        ({"client_secret": "wrong"}, (403, "invalid client secret")),
        ({"scope": "chat:read no:such"}, (400, "invalid scope requested: 'no:such'")),
        ({"grant_type": ""}, (400, "missing grant type")),
        ({"grant_type": "device_code"}, (400, "invalid grant type")),
    ],
)
async def test_refusals_leave_the_pair_alone(
    http: HTTP, change: dict[str, str], expected: tuple[int, str]
) -> None:
    """Every refusal has its exact status and text, and the pair stays good."""
    client, pair = connected(http)
    form = {"grant_type": "refresh_token", "refresh_token": pair.refresh_token} | change
    assert (await http.token(client, **form)).message == expected
    assert http.twitch.is_live(pair.access_token)
    await http.refreshed(client, pair.refresh_token)


async def test_a_public_client_sends_no_secret(http: HTTP) -> None:
    """Any client_secret from a public client, an empty one too, is refused."""
    client, pair = public(http)
    for secret in ("", "something"):
        reply = await http.refresh(client, pair.refresh_token, client_secret=secret)
        assert reply.message == (403, "invalid client secret")
    await http.refreshed(client, pair.refresh_token)


async def test_switches_of_a_refused_refresh(http: HTTP) -> None:
    """A dead token may answer 401, and a good token may be refused once."""
    client, pair = public(http, dead_refresh_status=401, false_invalid_refresh=1)
    assert (await http.refresh(client, pair.refresh_token)).message == INVALID
    assert (await http.refresh(client, "garbage")).message == (401, "Invalid refresh token")
    await http.refreshed(client, pair.refresh_token)
    assert http.twitch.counts.replays == 0


async def test_scopes_of_a_refresh_are_ignored(http: HTTP) -> None:
    """Asking for fewer scopes gives all of them back."""
    client, _ = public(http)
    pair = http.twitch.issue(client, "alice", ["chat:read", "chat:edit"])
    reply = await http.refresh(client, pair.refresh_token, scope="chat:read")
    assert reply.json["scope"] == ["chat:read", "chat:edit"]


async def test_public_refresh_token_dies_after_30_days(http: HTTP) -> None:
    """A public refresh token lives 30 days from its issue, sliding; a confidential one for ever."""
    client, pair = public(http)
    confidential = http.twitch.register_client()
    endless = http.twitch.issue(confidential, "alice")
    refresh = pair.refresh_token
    for _ in range(2):
        http.twitch.advance(29 * 86_400)
        _, refresh = await http.refreshed(client, refresh)
    http.twitch.advance(30 * 86_400)
    assert (await http.refresh(client, refresh)).message == INVALID
    http.twitch.advance(900 * 86_400)
    await http.refreshed(confidential, endless.refresh_token)


async def test_secret_rotation_by_command(http: HTTP) -> None:
    """After a rotation the old secret is refused with 403 and the new one works."""
    client, pair = connected(http)
    old = str(client.client_secret)
    http.twitch.rotate_secret(client)
    reply = await http.refresh(client, pair.refresh_token, client_secret=old)
    assert reply.message == (403, "invalid client secret")
    await http.refreshed(client, pair.refresh_token)


@pytest.mark.parametrize("command", ["disconnect", "change_password", "kill_access_token"])
async def test_invalidation_by_command(http: HTTP, command: str) -> None:
    """A disconnect and a new password kill all tokens at once; a killed access token dies alone."""
    client, pair = public(http)
    if command == "disconnect":
        http.twitch.disconnect(client, "alice")
    elif command == "change_password":
        http.twitch.change_password("alice")
    else:
        http.twitch.kill_access_token(pair.access_token)
    assert (await http.validate(pair.access_token)).message == (401, "invalid access token")
    assert (await http.helix(client, pair.access_token)).helix == (401, "Invalid OAuth token")
    reply = await http.refresh(client, pair.refresh_token)
    assert reply.status == (200 if command == "kill_access_token" else 400)


@pytest.mark.parametrize("encoding", ["data", "multipart", "params"])
async def test_all_three_encodings(http: HTTP, encoding: str) -> None:
    """The token endpoint takes a urlencoded body, multipart, and the query string (flagged)."""
    client, pair = public(http)
    values = {
        "client_id": client.client_id,
        "grant_type": "refresh_token",
        "refresh_token": pair.refresh_token,
    }
    form = aiohttp.FormData(values, default_to_multipart=True)
    sent = {"data": form} if encoding == "multipart" else {encoding: values}
    reply = await http.send("POST", http.twitch.id_url + "token", **sent)
    assert reply.status == 200
    assert http.twitch.counts.secrets_in_query == (encoding == "params")


async def test_fifty_token_rule(http: HTTP) -> None:
    """The 51st live access token of a user and client kills the oldest."""
    client, pair = connected(http)
    for alive in [True] * 49 + [False]:
        newer = http.twitch.issue(client, "alice")
        assert http.twitch.is_live(pair.access_token) is alive
    assert http.twitch.is_live(newer.access_token)
    await http.refreshed(client, pair.refresh_token)


async def test_fifty_token_rule_may_refuse(http: HTTP) -> None:
    """The switch: the token that is one too many is refused, and nothing is spent."""
    client, pair = connected(http, token_limit=1, over_limit="fail", refresh_kills_access=False)
    assert (await http.refresh(client, pair.refresh_token)).status == 400
    assert http.twitch.is_live(pair.access_token)
    http.twitch.expire_access("alice")
    await http.refreshed(client, pair.refresh_token)


@pytest.mark.parametrize(("switch", "alive"), [("keep", True), ("replace", False)])
async def test_second_approval(http: HTTP, switch: str, alive: bool) -> None:
    """A second consent makes a new pair; the older one stays as it was unless switched."""
    client, pair = public(http, reconsent=switch)
    http.twitch.issue(client, "alice", ["user:read:email"])
    reply = await http.validate(pair.access_token)
    assert (reply.status == 200) is alive
    assert reply.json.get("scopes") == (["chat:read"] if alive else None)
