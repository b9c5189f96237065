"""A witness for each test, which in the end must not have seen a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.redis_store.conftest import server  # noqa: F401
from tests.world import REDIRECT, Place, World
from twitchvault.testing import FakeTwitch

from .witness import Witness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CLIENT_SECRET = 'client-s3cret/"ö"+100%&more'


@pytest.fixture
async def witness() -> AsyncIterator[Witness]:
    """Listens from the first moment to the last."""
    witness = Witness()
    with witness.listening():
        yield witness
        witness.tasks()
    leaks = witness.leaks()
    assert not leaks, "\n".join(leaks)


@pytest.fixture
async def world(witness: Witness, tmp_path: Path) -> AsyncIterator[World]:
    """A double with a secret that looks different in a URL and in JSON."""
    async with FakeTwitch(seed=7) as twitch:
        world = World(twitch, Place("memory", tmp_path))
        world.client = twitch.register_client(client_secret=CLIENT_SECRET, redirect_uris=[REDIRECT])
        yield world
        await world.end()
        witness.secrets |= twitch.secrets
        assert twitch.leaks == ()
