"""A double, a store and processes.

The store is whatever `store_url` says. Another folder runs these tests on its own store so:

    from tests.processes.conftest import fleet, twitch  # noqa: F401
    from tests.processes.test_once import *  # noqa: F403

    @pytest.fixture
    def store_url() -> str: ...
"""

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
    from pathlib import Path


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """An empty store that processes can share."""
    return f"sqlite:///{tmp_path / 'vault.db'}"


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
    """No process yet; all that are started are ended."""
    fleet = Fleet(twitch, store_url)
    yield fleet
    await fleet.close()
