"""Refresh: one use, rotation, replay, secrets, and the exact refusals."""

from __future__ import annotations

import asyncio
import re

import aiohttp
import pytest

from .http import HTTP, connected, public

DEAD = (400, "Invalid refresh token")


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


async def test_token_formats(http: HTTP) -> None:
    """Client id, secret and access token have 30, the refresh token 50 letters and digits."""
    client, pair = connected(http)
    for value in (client.client_id, client.client_secret, pair.access_token):
        assert re.fullmatch(r"[a-z0-9]{30}", str(value))
    assert re.fullmatch(r"[a-z0-9]{50}", pair.refresh_token)


async def test_replay_kills_the_whole_connection_of_a_public_client(http: HTTP) -> None:
    """A spent token: refused, and every access and refresh token of user and client dies."""
    client, pair = public(http)
    second = http.twitch.issue(client, "alice")
    access, refresh = await http.refreshed(client, pair.refresh_token)
    assert (await http.refresh(client, pair.refresh_token)).message == DEAD
    for token in (access, second.access_token):
        assert (await http.validate(token)).status == 401
    for token in (refresh, second.refresh_token):
        assert (await http.refresh(client, token)).message == DEAD
    counts = http.twitch.counts
    assert (counts.exchanges, counts.replays, counts.refused_refreshes) == (1, 1, 3)
    assert http.twitch.live_pair(client, "alice") is None


async def test_replay_spares_a_later_login(http: HTTP) -> None:
    """A token of a connection that has ended is counted, and hurts no new connection."""
    client, pair = public(http)
    await http.refreshed(client, pair.refresh_token)
    http.twitch.disconnect(client, "alice")
    fresh = http.twitch.issue(client, "alice")
    assert (await http.refresh(client, pair.refresh_token)).message == DEAD
    assert http.twitch.counts.replays == 1
    assert http.twitch.is_live(fresh.access_token)


async def test_two_refreshes_at_once_one_wins_and_the_loser_punishes(http: HTTP) -> None:
    """Of two requests with one token exactly one wins; the other is a replay."""
    client, pair = public(http)
    with http.twitch.hold("token:refresh_token") as gate:
        both = [asyncio.create_task(http.refresh(client, pair.refresh_token)) for _ in range(2)]
        await gate.reached(2)
    replies = await asyncio.gather(*both)
    assert sorted(reply.status for reply in replies) == [200, 400]
    won = next(reply for reply in replies if reply.status == 200)
    assert not http.twitch.is_live(str(won.json["access_token"]))
    assert http.twitch.counts.replays == 1


@pytest.mark.parametrize(
    ("mode", "same", "again"),
    [("rotate", False, 400), ("rotate-keep", False, 200), ("same", True, 200)],
)
async def test_confidential_refresh_modes(http: HTTP, mode: str, same: bool, again: int) -> None:
    """The three ways a confidential client's refresh token may fare; none punishes."""
    client, pair = connected(http, confidential_refresh=mode)
    access, refresh = await http.refreshed(client, pair.refresh_token)
    assert (refresh == pair.refresh_token) is same
    assert not http.twitch.is_live(pair.access_token)
    assert (await http.refresh(client, pair.refresh_token)).status == again
    assert http.twitch.is_live(access) is (mode != "same")
    assert http.twitch.is_live_refresh(refresh)


async def test_confidential_default_is_rotation_without_punishment(http: HTTP) -> None:
    """By default the old token is dead, the new pair lives on after a replay."""
    client, pair = connected(http)
    access, refresh = await http.refreshed(client, pair.refresh_token)
    assert (await http.refresh(client, pair.refresh_token)).message == DEAD
    assert http.twitch.is_live(access)
    await http.refreshed(client, refresh)
    assert http.twitch.counts.replays == 1


async def test_old_access_token_may_survive_a_confidential_refresh(http: HTTP) -> None:
    """`refresh_kills_access=False` leaves the old access token alive."""
    client, pair = connected(http, refresh_kills_access=False)
    await http.refreshed(client, pair.refresh_token)
    assert http.twitch.is_live(pair.access_token)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"refresh_token": "garbage"}, DEAD),
        ({"refresh_token": ""}, (400, "missing refresh token")),
        ({"refresh_token": None}, (400, "missing refresh token")),
        ({"client_id": "nobody"}, (400, "invalid client")),
        ({"client_id": None}, (400, "missing client id")),
        ({"client_secret": None}, (400, "missing client secret")),
        ({"client_secret": "wrong"}, (403, "invalid client secret")),
        ({"scope": "chat:read no:such"}, (400, "invalid scope requested: 'no:such'")),
        ({"grant_type": None}, (400, "missing grant type")),
        ({"grant_type": "device_code"}, (400, "invalid grant type")),
    ],
)
async def test_refusals_leave_the_pair_alone(
    http: HTTP, change: dict[str, str | None], expected: tuple[int, str]
) -> None:
    """Every refusal has its exact status and text, and the stored pair stays good."""
    client, pair = connected(http)
    form = {
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "grant_type": "refresh_token",
        "refresh_token": pair.refresh_token,
    } | change
    reply = await http.token(**{name: value for name, value in form.items() if value is not None})
    assert reply.message == expected
    assert http.twitch.is_live(pair.access_token)
    await http.refreshed(client, pair.refresh_token)


@pytest.mark.parametrize("secret", ["", "something"])
async def test_a_public_client_sends_no_secret(http: HTTP, secret: str) -> None:
    """Any client_secret from a public client, an empty one too, is refused; a switch forgives."""
    client, pair = public(http)
    reply = await http.refresh(client, pair.refresh_token, client_secret=secret)
    assert reply.message == (403, "invalid client secret")
    http.twitch.switch(client, secret_on_public="ignore")
    reply = await http.refresh(client, pair.refresh_token, client_secret=secret)
    assert reply.status == 200


async def test_foreign_refresh_token(http: HTTP) -> None:
    """Another client's token is refused, and nobody is punished."""
    client, pair = public(http)
    other = http.twitch.register_client(public=True)
    await http.refreshed(client, pair.refresh_token)
    assert (await http.refresh(other, pair.refresh_token)).message == DEAD
    assert http.twitch.counts.replays == 0


async def test_dead_token_may_answer_401(http: HTTP) -> None:
    """A switch turns the status of a dead refresh token into 401."""
    client, _ = public(http, dead_refresh_status=401)
    assert (await http.refresh(client, "garbage")).message == (401, "Invalid refresh token")


async def test_false_invalid_refresh_once(http: HTTP) -> None:
    """The transient fault: a good token is refused once, then works."""
    client, pair = public(http, false_invalid_refresh=1)
    assert (await http.refresh(client, pair.refresh_token)).message == DEAD
    await http.refreshed(client, pair.refresh_token)
    assert http.twitch.counts.replays == 0


async def test_scopes_of_a_refresh_are_ignored(http: HTTP) -> None:
    """Asking for fewer scopes gives all of them back."""
    client = http.twitch.register_client(public=True)
    http.twitch.add_user("alice")
    pair = http.twitch.issue(client, "alice", ["chat:read", "chat:edit"])
    reply = await http.refresh(client, pair.refresh_token, scope="chat:read")
    assert reply.json["scope"] == ["chat:read", "chat:edit"]


async def test_public_refresh_token_dies_after_30_days(http: HTTP) -> None:
    """A public refresh token lives 30 days from its issue, sliding; a confidential one for ever."""
    client, pair = public(http)
    confidential = http.twitch.register_client()
    kept = http.twitch.issue(confidential, "alice")
    http.twitch.advance(29 * 86_400)
    _, refresh = await http.refreshed(client, pair.refresh_token)
    http.twitch.advance(29 * 86_400)
    _, refresh = await http.refreshed(client, refresh)
    http.twitch.advance(30 * 86_400)
    assert (await http.refresh(client, refresh)).message == DEAD
    http.twitch.advance(900 * 86_400)
    await http.refreshed(confidential, kept.refresh_token)


async def test_secret_rotation_by_command(http: HTTP) -> None:
    """After a rotation the old secret is refused with 403 and the new one works."""
    client, pair = connected(http)
    old = str(client.client_secret)
    http.twitch.rotate_secret(client)
    assert client.client_secret != old
    reply = await http.refresh(client, pair.refresh_token, client_secret=old)
    assert reply.message == (403, "invalid client secret")
    await http.refreshed(client, pair.refresh_token)


@pytest.mark.parametrize("command", ["disconnect", "change_password"])
async def test_invalidation_by_command(http: HTTP, command: str) -> None:
    """A disconnect and a new password kill every access and refresh token, at once."""
    client, pair = public(http)
    if command == "disconnect":
        http.twitch.disconnect(client, "alice")
    else:
        http.twitch.change_password("alice")
    assert (await http.validate(pair.access_token)).message == (401, "invalid access token")
    assert (await http.helix(client, pair.access_token)).helix == (401, "Invalid OAuth token")
    assert (await http.refresh(client, pair.refresh_token)).message == DEAD


async def test_a_killed_access_token_leaves_the_refresh_token(http: HTTP) -> None:
    """One killed access token: the refresh token survives."""
    client, pair = public(http)
    http.twitch.kill_access_token(pair.access_token)
    assert (await http.validate(pair.access_token)).status == 401
    await http.refreshed(client, pair.refresh_token)


@pytest.mark.parametrize("encoding", ["form", "multipart", "query"])
async def test_all_three_encodings(http: HTTP, encoding: str) -> None:
    """The token endpoint takes a urlencoded body, multipart, and the query string (flagged)."""
    client, pair = public(http)
    values = {
        "client_id": client.client_id,
        "grant_type": "refresh_token",
        "refresh_token": pair.refresh_token,
    }
    url = http.twitch.id_url + "token"
    if encoding == "query":
        reply = await http.send("POST", url, params=values)
    elif encoding == "form":
        reply = await http.send("POST", url, data=values)
    else:
        reply = await http.send("POST", url, data=_multipart(values))
    assert reply.status == 200
    assert http.twitch.counts.secrets_in_query == (encoding == "query")


def _multipart(values: dict[str, str]) -> object:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in values.items():
        form.add_field(name, value)
    return form


async def test_fifty_token_rule(http: HTTP) -> None:
    """The 51st live access token of a user and client kills the oldest."""
    client, pair = connected(http)
    for _ in range(49):
        last = http.twitch.issue(client, "alice")
    assert http.twitch.is_live(pair.access_token)
    newest = http.twitch.issue(client, "alice")
    assert not http.twitch.is_live(pair.access_token)
    assert http.twitch.is_live(last.access_token)
    assert http.twitch.is_live(newest.access_token)
    await http.refreshed(client, pair.refresh_token)


async def test_fifty_token_rule_may_refuse(http: HTTP) -> None:
    """The switch: the token that is one too many is refused, and nothing is spent."""
    client, pair = connected(http, token_limit=1, over_limit="fail", refresh_kills_access=False)
    assert (await http.refresh(client, pair.refresh_token)).message[0] == 400
    assert http.twitch.is_live(pair.access_token)
    http.twitch.expire_access("alice")
    await http.refreshed(client, pair.refresh_token)


@pytest.mark.parametrize(("switch", "alive"), [("keep", True), ("replace", False)])
async def test_second_approval(http: HTTP, switch: str, alive: bool) -> None:
    """A second consent makes a new pair; the older one stays valid unless switched."""
    client, pair = public(http, reconsent=switch)
    http.twitch.issue(client, "alice", ["user:read:email"])
    reply = await http.validate(pair.access_token)
    assert (reply.status == 200) is alive
    if alive:
        assert reply.json["scopes"] == ["chat:read"]
