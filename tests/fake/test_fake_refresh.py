"""Refresh: one use, rotation, replay, secrets, and the exact refusals."""

from __future__ import annotations

import asyncio
import re

import aiohttp
import pytest

from .wire import Wire, connected, public

DEAD = (400, "Invalid refresh token")


async def test_public_refresh_rotates_and_kills_the_old_access_token(wire: Wire) -> None:
    """A refresh gives two new tokens; the old access token is dead at that instant."""
    client, pair = public(wire)
    access, refresh = await wire.refreshed(client, pair.refresh_token)
    assert access != pair.access_token
    assert refresh != pair.refresh_token
    assert (await wire.validate(pair.access_token)).message == (401, "invalid access token")
    assert (await wire.validate(access)).status == 200
    newest = wire.twitch.live_pair(client, "alice")
    assert newest is not None
    assert (newest.access_token, newest.refresh_token) == (access, refresh)
    assert wire.twitch.counts.exchanges == 1


async def test_token_formats(wire: Wire) -> None:
    """Client id, secret and access token have 30, the refresh token 50 letters and digits."""
    client, pair = connected(wire)
    for value in (client.client_id, client.client_secret, pair.access_token):
        assert re.fullmatch(r"[a-z0-9]{30}", str(value))
    assert re.fullmatch(r"[a-z0-9]{50}", pair.refresh_token)


async def test_replay_kills_the_whole_connection_of_a_public_client(wire: Wire) -> None:
    """A spent token: refused, and every access and refresh token of user and client dies."""
    client, pair = public(wire)
    second = wire.twitch.issue(client, "alice")
    access, refresh = await wire.refreshed(client, pair.refresh_token)
    assert (await wire.refresh(client, pair.refresh_token)).message == DEAD
    for token in (access, second.access_token):
        assert (await wire.validate(token)).status == 401
    for token in (refresh, second.refresh_token):
        assert (await wire.refresh(client, token)).message == DEAD
    counts = wire.twitch.counts
    assert (counts.exchanges, counts.replays, counts.refused_refreshes) == (1, 1, 3)
    assert wire.twitch.live_pair(client, "alice") is None


async def test_replay_spares_a_later_login(wire: Wire) -> None:
    """A token of a connection that has ended is counted, and hurts no new connection."""
    client, pair = public(wire)
    await wire.refreshed(client, pair.refresh_token)
    wire.twitch.disconnect(client, "alice")
    fresh = wire.twitch.issue(client, "alice")
    assert (await wire.refresh(client, pair.refresh_token)).message == DEAD
    assert wire.twitch.counts.replays == 1
    assert wire.twitch.is_live(fresh.access_token)


async def test_two_refreshes_at_once_one_wins_and_the_loser_punishes(wire: Wire) -> None:
    """Of two requests with one token exactly one wins; the other is a replay."""
    client, pair = public(wire)
    with wire.twitch.hold("token:refresh_token") as gate:
        both = [asyncio.create_task(wire.refresh(client, pair.refresh_token)) for _ in range(2)]
        await gate.reached(2)
    replies = await asyncio.gather(*both)
    assert sorted(reply.status for reply in replies) == [200, 400]
    won = next(reply for reply in replies if reply.status == 200)
    assert not wire.twitch.is_live(str(won.json["access_token"]))
    assert wire.twitch.counts.replays == 1


@pytest.mark.parametrize(
    ("mode", "same", "again"),
    [("rotate", False, 400), ("rotate-keep", False, 200), ("same", True, 200)],
)
async def test_confidential_refresh_modes(wire: Wire, mode: str, same: bool, again: int) -> None:
    """The three ways a confidential client's refresh token may fare; none punishes."""
    client, pair = connected(wire, confidential_refresh=mode)
    access, refresh = await wire.refreshed(client, pair.refresh_token)
    assert (refresh == pair.refresh_token) is same
    assert not wire.twitch.is_live(pair.access_token)
    assert (await wire.refresh(client, pair.refresh_token)).status == again
    assert wire.twitch.is_live(access) is (mode != "same")
    assert wire.twitch.is_live_refresh(refresh)


async def test_confidential_default_is_rotation_without_punishment(wire: Wire) -> None:
    """By default the old token is dead, the new pair lives on after a replay."""
    client, pair = connected(wire)
    access, refresh = await wire.refreshed(client, pair.refresh_token)
    assert (await wire.refresh(client, pair.refresh_token)).message == DEAD
    assert wire.twitch.is_live(access)
    await wire.refreshed(client, refresh)
    assert wire.twitch.counts.replays == 1


async def test_old_access_token_may_survive_a_confidential_refresh(wire: Wire) -> None:
    """`refresh_kills_access=False` leaves the old access token alive."""
    client, pair = connected(wire, refresh_kills_access=False)
    await wire.refreshed(client, pair.refresh_token)
    assert wire.twitch.is_live(pair.access_token)


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
    wire: Wire, change: dict[str, str | None], expected: tuple[int, str]
) -> None:
    """Every refusal has its exact status and text, and the stored pair stays good."""
    client, pair = connected(wire)
    form = {
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "grant_type": "refresh_token",
        "refresh_token": pair.refresh_token,
    } | change
    reply = await wire.token(**{name: value for name, value in form.items() if value is not None})
    assert reply.message == expected
    assert wire.twitch.is_live(pair.access_token)
    await wire.refreshed(client, pair.refresh_token)


@pytest.mark.parametrize("secret", ["", "something"])
async def test_a_public_client_sends_no_secret(wire: Wire, secret: str) -> None:
    """Any client_secret from a public client, an empty one too, is refused; a switch forgives."""
    client, pair = public(wire)
    reply = await wire.refresh(client, pair.refresh_token, client_secret=secret)
    assert reply.message == (403, "invalid client secret")
    wire.twitch.switch(client, secret_on_public="ignore")
    reply = await wire.refresh(client, pair.refresh_token, client_secret=secret)
    assert reply.status == 200


async def test_foreign_refresh_token(wire: Wire) -> None:
    """Another client's token is refused, and nobody is punished."""
    client, pair = public(wire)
    other = wire.twitch.register_client(public=True)
    await wire.refreshed(client, pair.refresh_token)
    assert (await wire.refresh(other, pair.refresh_token)).message == DEAD
    assert wire.twitch.counts.replays == 0


async def test_dead_token_may_answer_401(wire: Wire) -> None:
    """A switch turns the status of a dead refresh token into 401."""
    client, _ = public(wire, dead_refresh_status=401)
    assert (await wire.refresh(client, "garbage")).message == (401, "Invalid refresh token")


async def test_false_invalid_refresh_once(wire: Wire) -> None:
    """The transient fault: a good token is refused once, then works."""
    client, pair = public(wire, false_invalid_refresh=1)
    assert (await wire.refresh(client, pair.refresh_token)).message == DEAD
    await wire.refreshed(client, pair.refresh_token)
    assert wire.twitch.counts.replays == 0


async def test_scopes_of_a_refresh_are_ignored(wire: Wire) -> None:
    """Asking for fewer scopes gives all of them back."""
    client = wire.twitch.register_client(public=True)
    wire.twitch.add_user("alice")
    pair = wire.twitch.issue(client, "alice", ["chat:read", "chat:edit"])
    reply = await wire.refresh(client, pair.refresh_token, scope="chat:read")
    assert reply.json["scope"] == ["chat:read", "chat:edit"]


async def test_public_refresh_token_dies_after_30_days(wire: Wire) -> None:
    """A public refresh token lives 30 days from its issue, sliding; a confidential one for ever."""
    client, pair = public(wire)
    confidential = wire.twitch.register_client()
    kept = wire.twitch.issue(confidential, "alice")
    wire.twitch.advance(29 * 86_400)
    _, refresh = await wire.refreshed(client, pair.refresh_token)
    wire.twitch.advance(29 * 86_400)
    _, refresh = await wire.refreshed(client, refresh)
    wire.twitch.advance(30 * 86_400)
    assert (await wire.refresh(client, refresh)).message == DEAD
    wire.twitch.advance(900 * 86_400)
    await wire.refreshed(confidential, kept.refresh_token)


async def test_secret_rotation_by_command(wire: Wire) -> None:
    """After a rotation the old secret is refused with 403 and the new one works."""
    client, pair = connected(wire)
    old = str(client.client_secret)
    wire.twitch.rotate_secret(client)
    assert client.client_secret != old
    reply = await wire.refresh(client, pair.refresh_token, client_secret=old)
    assert reply.message == (403, "invalid client secret")
    await wire.refreshed(client, pair.refresh_token)


@pytest.mark.parametrize("command", ["disconnect", "change_password"])
async def test_invalidation_by_command(wire: Wire, command: str) -> None:
    """A disconnect and a new password kill every access and refresh token, at once."""
    client, pair = public(wire)
    if command == "disconnect":
        wire.twitch.disconnect(client, "alice")
    else:
        wire.twitch.change_password("alice")
    assert (await wire.validate(pair.access_token)).message == (401, "invalid access token")
    assert (await wire.helix(client, pair.access_token)).helix == (401, "Invalid OAuth token")
    assert (await wire.refresh(client, pair.refresh_token)).message == DEAD


async def test_a_killed_access_token_leaves_the_refresh_token(wire: Wire) -> None:
    """One killed access token: the refresh token survives."""
    client, pair = public(wire)
    wire.twitch.kill_access_token(pair.access_token)
    assert (await wire.validate(pair.access_token)).status == 401
    await wire.refreshed(client, pair.refresh_token)


@pytest.mark.parametrize("encoding", ["form", "multipart", "query"])
async def test_all_three_encodings(wire: Wire, encoding: str) -> None:
    """The token endpoint takes a urlencoded body, multipart, and the query string (flagged)."""
    client, pair = public(wire)
    values = {
        "client_id": client.client_id,
        "grant_type": "refresh_token",
        "refresh_token": pair.refresh_token,
    }
    url = wire.twitch.id_url + "token"
    if encoding == "query":
        reply = await wire.send("POST", url, params=values)
    elif encoding == "form":
        reply = await wire.send("POST", url, data=values)
    else:
        reply = await wire.send("POST", url, data=_multipart(values))
    assert reply.status == 200
    assert wire.twitch.counts.secrets_in_query == (encoding == "query")


def _multipart(values: dict[str, str]) -> object:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in values.items():
        form.add_field(name, value)
    return form


async def test_fifty_token_rule(wire: Wire) -> None:
    """The 51st live access token of a user and client kills the oldest."""
    client, pair = connected(wire)
    for _ in range(49):
        last = wire.twitch.issue(client, "alice")
    assert wire.twitch.is_live(pair.access_token)
    newest = wire.twitch.issue(client, "alice")
    assert not wire.twitch.is_live(pair.access_token)
    assert wire.twitch.is_live(last.access_token)
    assert wire.twitch.is_live(newest.access_token)
    await wire.refreshed(client, pair.refresh_token)


async def test_fifty_token_rule_may_refuse(wire: Wire) -> None:
    """The switch: the token that is one too many is refused, and nothing is spent."""
    client, pair = connected(wire, token_limit=1, over_limit="fail", refresh_kills_access=False)
    assert (await wire.refresh(client, pair.refresh_token)).message[0] == 400
    assert wire.twitch.is_live(pair.access_token)
    wire.twitch.expire_access("alice")
    await wire.refreshed(client, pair.refresh_token)


@pytest.mark.parametrize(("switch", "alive"), [("keep", True), ("replace", False)])
async def test_second_approval(wire: Wire, switch: str, alive: bool) -> None:
    """A second consent makes a new pair; the older one stays valid unless switched."""
    client, pair = public(wire, reconsent=switch)
    wire.twitch.issue(client, "alice", ["user:read:email"])
    reply = await wire.validate(pair.access_token)
    assert (reply.status == 200) is alive
    if alive:
        assert reply.json["scopes"] == ["chat:read"]
