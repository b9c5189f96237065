"""A witness for each test, which in the end must not have seen a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.environment import REDIRECT, Environment, Storage
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
async def env(witness: Witness, tmp_path: Path) -> AsyncIterator[Environment]:
    """A double with a secret that looks different in a URL and in JSON."""
    async with FakeTwitch(seed=7) as twitch:
        env = Environment(twitch, Storage("memory", tmp_path))
        env.client = twitch.register_client(client_secret=CLIENT_SECRET, redirect_uris=[REDIRECT])
        yield env
        await env.close()
        witness.secrets |= twitch.secrets
        assert twitch.leaks == ()
