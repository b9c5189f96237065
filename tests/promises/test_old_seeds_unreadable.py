"""An old seed does no harm to a user whose record this process cannot read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.environment import GARBAGE, NEWER_SCHEMA, Environment, on_each_store, within
from tests.promises.test_old_seeds import add_user, refresh_token
from twitchvault import CorruptRecord

if TYPE_CHECKING:
    from tests.promises.test_old_seeds import Act


@on_each_store
@pytest.mark.parametrize("act", [add_user, refresh_token])
async def test_a_record_of_a_newer_version(env: Environment, act: Act) -> None:
    """It may remember the seed as spent, so the seed is not sent, and the record stays."""
    seed = env.pair(expired=True)
    await env.storage.write(env.key(env.alice), NEWER_SCHEMA)
    async with env.app() as app:
        with pytest.raises(CorruptRecord, match=f"{env.alice.user_id!r}.*newest twitchvault"):
            await act(app, seed)
        assert env.refreshes_sent() == 0
    assert await env.storage.read(env.key(env.alice)) == NEWER_SCHEMA


@on_each_store
async def test_damage_that_keeps_one_change_out_of_the_store(env: Environment) -> None:
    """A record that is damaged during its exchange is in the way of no other user's seed."""
    seed = env.pair(user=env.bob, expired=True)
    async with env.app() as app:
        user = await env.login(app)
        gate = env.twitch.hold("token:refresh_token", when="after")
        call = asyncio.ensure_future(user.refresh())
        await gate.reached()
        await env.storage.write(env.key(env.alice), GARBAGE)
        gate.release()
        await asyncio.wait((call,))
        await within(add_user(app, seed))
        assert (await app.get_user_by_id(env.bob.user_id).get_user()).login == "bob"
        with pytest.raises(CorruptRecord):
            await app.flush()
        await env.login(app)
