"""What somebody sees who runs a bot: `events()`, `history()`, `health()` and `on_metric`."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.environment import GARBAGE, INVALID, REFRESH, Listener, listening, on_each_store, within
from tests.own_stores import Broken, Held, WatchedStore, nothing
from twitchvault import App, AuthFailure, HTTPException, Metric, VaultEvent
from twitchvault.errors import WrongType

if TYPE_CHECKING:
    from tests.environment import Environment


@on_each_store
async def test_the_life_of_a_user(env: Environment) -> None:
    """Added, validated, refreshed, needs_login, added, removed: local here and remote there."""
    async with env.device() as one, env.device() as two:
        here, there = Listener(one), Listener(two)
        alice = env.alice.user_id

        async def both(kind: str) -> VaultEvent:
            local, remote = await here.next(), await there.next()
            assert local == (kind, alice, "local", local.reason)
            assert remote == (kind, alice, "remote", local.reason)
            return local

        user = await env.login(one)
        assert (await both("added")).reason == ""
        await user.validate()
        assert (await both("validated")).reason == ""
        for _ in range(2):
            await user.refresh()
            assert (await both("refreshed")).reason == ""
        env.twitch.disconnect(env.public, env.alice)
        with pytest.raises(AuthFailure):
            await user.refresh()
        reason = (await both("needs_login")).reason
        assert "refused" in reason
        assert not any(secret in reason for secret in env.twitch.secrets)
        await env.login(one)
        await both("added")
        one.remove_token(alice)
        await one.flush()
        await both("removed")
        await one.flush()
        await two.sync()
        assert (here.events, there.events) == ([], [])


async def test_the_app_token_stands_under_the_client_id(env: Environment) -> None:
    """It is added, and refreshed when it died."""
    client = env.confidential
    flow = env.device(client)
    here = await listening(flow)
    await flow.authorize()
    assert await here.next() == ("added", client.client_id, "local", "")
    env.twitch.kill_app_tokens(client)
    assert flow.application is not None
    await flow.application.get_user(login="alice")
    assert await here.next() == ("refreshed", client.client_id, "local", "")


async def test_an_expired_pair_is_added(env: Environment) -> None:
    """`add_user` with an expired pair is one "added": nobody had it before."""
    async with env.device() as flow:
        here = await listening(flow)
        await env.own_pair(flow)
    assert await here.ended() == [("added", env.alice.user_id, "local", "")]


@on_each_store
async def test_what_was_there_before_is_no_event(env: Environment) -> None:
    """Opening a store with users in it gives no event, except for who is damaged."""
    async with env.device() as flow:
        flow.add_token("1", "a", "r")
    await env.storage.write(env.key("2"), GARBAGE)
    flow = env.device()
    here = await listening(flow)
    await flow.authorize()
    await flow.sync()
    await flow.close()
    (event,) = await here.ended()
    assert (event.kind, event.user_id) == ("damaged", "2")
    assert "'2'" in event.reason


@on_each_store
async def test_a_stream_ends_with_the_flow(env: Environment) -> None:
    """`close()` and `clear()` end all streams, after what was queued; a new one starts empty.

    A pair that `add_token` took before `authorize()` is an "added" of this process.
    """
    flow = env.device()
    listeners = [await listening(flow), await listening(flow)]
    for number in range(20):
        flow.add_token(str(number), "a", "r")
    await flow.authorize()
    await flow.close()
    for listener in listeners:
        events = sorted(await listener.ended(), key=lambda event: int(event.user_id))
        assert events == [("added", str(number), "local", "") for number in range(20)]
    await flow.authorize()
    here = await listening(flow)
    flow.clear()
    assert await here.ended() == []


@on_each_store
async def test_what_happened_to_a_user(env: Environment) -> None:
    """Every process reads the same story, after a restart too, each line with who did it."""
    async with env.app() as app, env.app() as other:
        user = await env.login(app)
        user_id = user.user_id
        await user.refresh()
        await user.validate()
        env.twitch.fail(REFRESH, status=400, body=INVALID)
        with pytest.raises(AuthFailure):
            await user.refresh()
        await other.sync()
        assert app.history(user_id) == other.history(user_id)
    async with env.app() as app:
        history = app.history(user_id)
        app.remove_token(user_id)
        await app.flush()
        removed = app.history(user_id)
    assert [entry.kind for entry in history] == ["added", "refreshed", "needs_login"]
    added, refreshed, refused = history
    assert added.before is None
    assert added.after == refreshed.before != refreshed.after == refused.before == refused.after
    assert "refused the refresh token" in refused.reason
    for entry in history:
        assert abs(entry.at - time.time()) < 60
        assert (entry.host, entry.pid) == (socket.gethostname(), os.getpid())
    assert removed[:3] == history
    assert (removed[3].kind, removed[3].after) == ("removed", None)


async def test_ten_entries_at_most(env: Environment) -> None:
    """The oldest go; no token, and no fingerprint longer than the vault's own, is among them."""
    async with env.app() as app:
        user = await env.login(app)
        pair = app.get_token(user.user_id)
        assert pair is not None
        for _ in range(12):
            await user.refresh()
        history = app.history(user.user_id)
        assert [entry.kind for entry in history] == ["refreshed"] * 10
        for older, newer in itertools.pairwise(history):
            assert older.after == newer.before
        assert not any(secret in repr(history) for secret in env.twitch.secrets)


async def test_who_has_no_history(env: Environment) -> None:
    """Nobody known, a record from before there was any, a line of a later version: no error."""
    async with env.app() as app:
        await env.login(app)
    key = env.key(env.alice)
    record = json.loads(await env.storage.read(key) or b"")
    assert record.pop("history")
    await env.storage.write(key, json.dumps(record).encode())
    async with env.app() as app:
        assert app.history(env.alice.user_id) == ()
        assert app.history("unknown") == ()
        with pytest.raises(WrongType):
            app.history(7)  # type: ignore[arg-type]
        await app.get_user_by_id(env.alice.user_id).refresh()
        assert [entry.kind for entry in app.history(env.alice.user_id)] == ["refreshed"]
    record["history"] = "x|dreamt;12|added|host|7|a|b|why|more"
    await env.storage.write(key, json.dumps(record).encode())
    async with env.app() as app:
        first, second = app.history(env.alice.user_id)
        assert (first.at, first.kind, first.pid) == (0.0, "dreamt", 0)
        assert second == (12.0, "added", "host", 7, "a", "b", "why")


@on_each_store
async def test_health(env: Environment) -> None:
    """Users by state, what was refreshed, the last errors, as values that JSON takes."""
    async with env.app() as app:
        alice = await env.own_pair(app)
        await env.login(app, env.bob)
        pair = env.pair(user=env.new_user())
        carol = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        env.twitch.fail(REFRESH, status=400, body=INVALID)
        with pytest.raises(AuthFailure):
            await carol.refresh()
        env.twitch.fail("validate", status=500)
        with pytest.raises(HTTPException):
            await alice.validate()
        health = await app.health()
        assert health.store_reachable
        assert health.store_seconds is not None
        assert 0 <= health.store_seconds < 1
        assert health.users == {"live": 2, "needs_login": 1, "damaged": 0}
        assert health.oldest_validation is not None
        assert 0 <= health.oldest_validation < 60
        assert (health.refreshes_done, health.refreshes_failed) == (1, 1)
        assert "Invalid refresh token" in health.last_errors["refresh"]
        assert "500" in health.last_errors["validation"]
        assert health.changes_pending == 0
        assert json.loads(json.dumps(health.as_dict()))["users"]["live"] == 2
        assert not any(secret in repr(health) for secret in env.twitch.secrets)


@pytest.mark.parametrize("how", [Broken, Held])
async def test_health_of_a_store_that_is_away(
    env: Environment, how: type[Broken] | type[Held]
) -> None:
    """It answers within a second, says that the store does not, and counts what is not written."""
    store = WatchedStore()
    app = env.app(store=store)
    health = await app.health()
    assert not health.store_reachable, "nothing is open yet"
    assert health.users == {"live": 0, "needs_login": 0, "damaged": 0}
    async with app:
        user = await env.login(app)
        store.before = away = how("get", "put")
        app.add_token("somebody", "access", "refresh")
        health = await within(app.health(), 1.0)
        store.before = nothing
        if isinstance(away, Held):
            away.released.set()
        assert not health.store_reachable
        assert health.store_seconds is None
        assert health.changes_pending == 1
        assert health.users["live"] == 2
        assert user.user_id in app.tokens


@on_each_store
async def test_metrics(env: Environment) -> None:
    """Each request, refresh, validation, store call and needs_login is one, without a secret."""
    found: list[Metric] = []
    async with env.app(on_metric=found.append) as app:
        user = await env.login(app)
        env.twitch.expire_access(user.token)
        await user.get_user()
        env.twitch.fail(REFRESH, status=400, body=INVALID)
        with pytest.raises(AuthFailure):
            await user.refresh()
        counted = {
            (metric.name, *metric.labels.values())
            for metric in found
            if metric.name != "store_call"
        }
        assert counted >= {
            ("request", "GET", "/helix/users", "401"),
            ("request", "GET", "/helix/users", "200"),
            ("request", "POST", "/oauth2/token", "200"),
            ("request", "GET", "/oauth2/validate", "200"),
            ("validation", "ok"),
            ("refresh", "ok"),
            ("refresh", "refused"),
            ("needs_login",),
        }
        calls = {tuple(metric.labels.values()) for metric in found if metric.name == "store_call"}
        assert {("ok", "put"), ("ok", "get")} <= calls
        assert all(metric.value >= 0 for metric in found)
        assert not any(secret in repr(found) for secret in env.twitch.secrets)


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
async def test_a_metric_function_that_fails(
    env: Environment, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    """It harms no call, loses no pair, and is logged once."""

    def fail(metric: Metric) -> None:
        raise error(metric.name)

    async with env.app(on_metric=fail) as app:
        await (await env.login(app)).refresh()
    await env.expect(exchanges=1)
    assert len([record for record in caplog.records if "on_metric" in record.message]) == 1


async def _wait(_: Metric) -> None: ...


@pytest.mark.parametrize("given", [1, "print", _wait])
def test_what_is_no_plain_function(given: Any) -> None:  # noqa: ANN401
    """It is refused where it is given: a coroutine function would never run."""
    with pytest.raises(WrongType, match=r"'on_metric' must be a (plain )?function"):
        App("client", on_metric=given)
