"""`health()` and `on_metric`: what somebody sees who runs a bot."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.environment import INVALID, REFRESH, on_each_store, within
from tests.own_stores import Broken, Held, WatchedStore, nothing
from twitchvault import App, AuthFailure, HTTPException, Metric
from twitchvault.errors import WrongType

if TYPE_CHECKING:
    from tests.environment import Environment


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
