"""A double and processes that share the store of the fixture `store_url`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.processes import double
from tests.spawning import CONTEXT, fork
from twitchvault.testing import RemoteTwitch

from .fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def twitch() -> AsyncIterator[RemoteTwitch]:
    """A double in a process of its own, without a limit on Helix calls."""
    ours, theirs = CONTEXT.Pipe()
    fork(double.live, theirs)
    theirs.close()
    try:
        async with RemoteTwitch(await asyncio.to_thread(ours.recv)) as twitch:
            await twitch.configure(helix_limit=1_000_000)
            yield twitch
    finally:
        ours.close()


@pytest.fixture
async def fleet(twitch: RemoteTwitch, store_url: str) -> AsyncIterator[Fleet]:
    """A public client and no process yet; all that are started are ended."""
    fleet = Fleet(twitch, store_url)
    await fleet.register()
    yield fleet
    await fleet.close()
