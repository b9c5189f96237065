"""Refresh: one use, rotation, replay, the secret, limits, and what ends a connection."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from .http import HTTP, connected, public

INVALID = (400, "Invalid refresh token")


async def test_public_refresh_rotates_and_kills_the_old_access_token(http: HTTP) -> None:
    """A refresh gives two new tokens and all scopes; the old access token is dead at once."""
    client, pair = public(http)
    reply = await http.refresh(client, pair.refresh_token, scope="")
    newest = http.twitch.live_pair(client, "alice")
    assert newest is not None
    assert reply.json["access_token"] == newest.access_token != pair.access_token
    assert reply.json["refresh_token"] == newest.refresh_token != pair.refresh_token
    assert reply.json["scope"] == ["chat:read"]
    assert (await http.validate(pair.access_token)).message == (401, "invalid access token")
    assert (await http.validate(newest.access_token)).status == 200
    assert http.twitch.counts.exchanges == 1


async def test_replay_ends_the_connection_of_a_public_client(http: HTTP) -> None:
    """A spent token: refused, and every access and refresh token of user and client dies.

    A later login lives, and a replay is counted all the same. From another client the token is
    merely invalid.
    """
    client, pair = public(http)
    second = http.twitch.issue(client, "alice")
    access, refresh = await http.refreshed(client, pair.refresh_token)
    other = http.twitch.register_client(public=True)
    assert (await http.refresh(other, pair.refresh_token)).message == INVALID
    assert http.twitch.counts.replays == 0
    for token in (pair.refresh_token, refresh, second.refresh_token):
        assert (await http.refresh(client, token)).message == INVALID
    assert not http.twitch.is_live(access)
    assert not http.twitch.is_live(second.access_token)
    assert http.twitch.live_pair(client, "alice") is None
    counts = http.twitch.counts
    assert (counts.exchanges, counts.replays, counts.refused_refreshes) == (1, 1, 4)
    fresh = http.twitch.issue(client, "alice")
    assert (await http.refresh(client, pair.refresh_token)).message == INVALID
    assert http.twitch.counts.replays == 2
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
    assert (await http.refresh(client, pair.refresh_token, client_secret=old)).status == 403
    await http.refreshed(client, pair.refresh_token)


@pytest.mark.parametrize("command", ["disconnect", "change_password", "kill_access_token"])
async def test_invalidation_by_command(http: HTTP, command: str) -> None:
    """A disconnect and a new password kill all tokens at once; a killed access token dies alone."""
    client, pair = public(http)
    arguments = {"disconnect": (client, "alice"), "change_password": ("alice",)}
    getattr(http.twitch, command)(*arguments.get(command, (pair.access_token,)))
    assert (await http.validate(pair.access_token)).message == (401, "invalid access token")
    assert (await http.helix(client, pair.access_token)).helix == (401, "Invalid OAuth token")
    reply = await http.refresh(client, pair.refresh_token)
    assert reply.status == (200 if command == "kill_access_token" else 400)


@pytest.mark.parametrize("encoding", ["multipart", "params"])
async def test_other_encodings(http: HTTP, encoding: str) -> None:
    """The token endpoint takes multipart, and the query string (flagged)."""
    client, pair = public(http)
    values = {
        "client_id": client.client_id,
        "grant_type": "refresh_token",
        "refresh_token": pair.refresh_token,
    }
    form = aiohttp.FormData(values, default_to_multipart=True)
    sent = {"data": form} if encoding == "multipart" else {encoding: values}
    assert (await http.send("POST", http.twitch.id_url + "token", **sent)).status == 200
    assert http.twitch.counts.secrets_in_query == (encoding == "params")


async def test_fifty_token_rule(http: HTTP) -> None:
    """The 51st live access token of a user and client kills the oldest, or is refused if switched:
    then nothing is spent.
    """
    client, pair = connected(http)
    for alive in [True] * 49 + [False]:
        newer = http.twitch.issue(client, "alice")
        assert http.twitch.is_live(pair.access_token) is alive
    assert http.twitch.is_live(newer.access_token)
    http.twitch.switch(client, over_limit="fail", refresh_kills_access=False)
    assert (await http.refresh(client, pair.refresh_token)).status == 400
    http.twitch.expire_access("alice")
    await http.refreshed(client, pair.refresh_token)


@pytest.mark.parametrize(("switch", "alive"), [("keep", True), ("replace", False)])
async def test_second_approval(http: HTTP, switch: str, alive: bool) -> None:
    """A second consent makes a new pair; the older one stays as it was unless switched."""
    client, pair = public(http, reconsent=switch)
    http.twitch.issue(client, "alice", ["user:read:email"])
    assert (await http.validate(pair.access_token)).json.get("scopes") == (
        ["chat:read"] if alive else None
    )
