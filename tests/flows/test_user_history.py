"""`history()`: why a user was logged out, and who did it."""

from __future__ import annotations

import itertools
import json
import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.environment import INVALID, REFRESH, on_each_store
from twitchvault import AuthFailure
from twitchvault.errors import WrongType

if TYPE_CHECKING:
    from tests.environment import Environment


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
    """A user who is not known, and one whose record was written before there was any.

    What a later version or a damaged line says is read as far as it goes, never an error.
    """
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
