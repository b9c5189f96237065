"""Flows over an encrypted store; those without its key are in `test_fernet_without_keys`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from twitchvault.stores import FernetStore

from .makers import KEY, NEW

if TYPE_CHECKING:
    from tests.environment import Environment


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
async def test_rotation_under_flows(env: Environment) -> None:
    """Two flows refresh while the store is rotated: one exchange each, no user lost."""

    def store(*keys: str) -> FernetStore:
        return FernetStore(env.storage.store(), keys)

    async with env.device(store=store(KEY)) as flow:
        users = [(await env.login(flow, env.new_user())).user_id for _ in range(12)]
    stores = [store(NEW, KEY) for _ in range(2)]
    async with env.device(store=stores[0]) as one, env.device(store=stores[1]) as two:
        refreshes = [flow.get_user_by_id(user).refresh() for user in users for flow in (one, two)]
        refreshing = asyncio.gather(*refreshes)
        reports = await asyncio.gather(*(store.rotate() for store in stores))
        await refreshing
        assert all(report.old_keys_unused for report in reports)
        counts = env.twitch.counts
        assert (counts.exchanges, counts.replays) == (len(users), 0)
        await asyncio.gather(one.sync(), two.sync())
        assert dict(one.tokens) == dict(two.tokens)
    async with env.device(store=store(NEW)) as flow:
        assert set(flow.tokens) == set(users)
        assert all(env.twitch.is_live(flow.tokens[user][0]) for user in users)
