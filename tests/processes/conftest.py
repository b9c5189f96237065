"""A double and processes that share the store of the fixture `store_url`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from twitchvault.testing import FakeTwitch, RemoteTwitch

from .fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def twitch() -> AsyncIterator[RemoteTwitch]:
    """A double without a limit on Helix calls."""
    async with (
        FakeTwitch(seed=7, control=True, helix_limit=1_000_000) as double,
        RemoteTwitch(double.url) as twitch,
    ):
        yield twitch


@pytest.fixture
async def fleet(twitch: RemoteTwitch, store_url: str) -> AsyncIterator[Fleet]:
    """A public client and no process yet; all that are started are ended."""
    fleet = Fleet(twitch, store_url)
    await fleet.register()
    yield fleet
    await fleet.close()
