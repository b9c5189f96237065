"""`add_token`: it shows at once and is written in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.environment import on_each_store
from twitchvault import UserAPI

if TYPE_CHECKING:
    from tests.environment import Environment


@on_each_store
async def test_add_token_shows_at_once(env: Environment) -> None:
    """It asks nobody, returns a UserAPI, shows at once and is durable after `flush()`."""
    async with env.device() as flow:
        user = flow.add_token(env.alice.user_id, "access", "refresh")
        assert isinstance(user, UserAPI)
        assert (user.user_id, user.login, user.scopes) == (env.alice.user_id, None, ())
        assert user.token == "access"
        assert flow.get_token(user.user_id) == ("access", "refresh")
        assert flow.get_user_by_id(user.user_id) == user
        await flow.flush()
        assert await env.stored() == ("access", "refresh")
    assert env.asked() == 0


@on_each_store
@pytest.mark.parametrize(
    "user_id",
    ["a:b", "x/seed/y", "ä ö\n", "%00", "\x00", "{}*?[a]", "../x", "0", "a" * 400, "🦊" * 100],
)
async def test_unusual_ids_and_tokens(env: Environment, user_id: str) -> None:
    """Whatever a user id and a token look like, both survive a restart."""
    access, refresh = "%2F=&+\\🦊", "ü/=%" + "x" * 2000
    async with env.device() as flow:
        flow.add_token(user_id, access, refresh)
        flow.add_token(user_id + "1", "neighbour", None)
    async with env.device() as flow:
        assert flow.get_token(user_id) == (access, refresh)
        flow.remove_token(user_id)
        await flow.flush()
        assert flow.get_token(user_id + "1") == ("neighbour", None)
    assert await env.stored(user_id) is None


@on_each_store
async def test_the_last_change_counts(env: Environment) -> None:
    """Removed and added in a row: in the views at every step, and in the store at the end."""
    async with env.device() as flow:
        flow.add_token("1", "a", "ra")
        flow.remove_token("1")
        assert "1" not in flow.tokens
        flow.add_token("1", "b", "rb")
        assert flow.tokens["1"] == ("b", "rb")
        await flow.flush()
        assert flow.tokens["1"] == ("b", "rb")
        flow.remove_token("1")
        flow.add_token("1", "c", None)
        flow.remove_token("1")
        await flow.flush()
        assert "1" not in flow.tokens
    assert await env.stored("1") is None
