"""The stored record's schema: older processes and newer ones share a store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.environment import Environment


async def test_a_record_of_the_former_schema(env: Environment) -> None:
    """What the version before this one has stored is read, shown and refreshed."""
    pair = env.pair(expired=True)
    old = {
        "schema": 1,
        "access_token": pair.access_token,
        "refresh_token": pair.refresh_token,
        "scopes": ["chat:read"],
        "login": "alice",
        "last_validated": 1_790_000_000.5,
        "expires_in": 14_000.0,
    }
    await env.storage.write(env.key(env.alice), json.dumps(old, separators=(",", ":")).encode())
    async with env.app() as app:
        assert app.get_token(pair.user_id) == (pair.access_token, pair.refresh_token)
        assert app.users_scopes[pair.user_id] == ("chat:read",)
        assert app.tokens_validity[pair.user_id] == (1_790_000_000.5, 14_000.0)
        user = app.get_user_by_id(pair.user_id)
        assert user.login == "alice"
        assert (await user.get_user()).login == "alice"
    await env.expect(exchanges=1)


async def test_fields_of_a_later_version_are_passed_on(env: Environment) -> None:
    """A field that this version does not know survives a refresh and a validation."""
    async with env.app() as app:
        user = await env.own_pair(app)
    stored = await env.storage.read(env.key(env.alice))
    assert stored is not None
    content = json.loads(stored) | {"of_tomorrow": {"level": 7}}
    await env.storage.write(env.key(env.alice), json.dumps(content).encode())
    async with env.app() as app:
        user = app.get_user_by_id(user.user_id)
        await user.refresh()
        await user.validate()
    stored = await env.storage.read(env.key(env.alice))
    assert stored is not None
    assert json.loads(stored)["of_tomorrow"] == {"level": 7}
    await env.expect(exchanges=2)
