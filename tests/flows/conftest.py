"""One world per test, once for each kind of store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from twitchvault.testing import FakeTwitch

from .world import Place, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where the test's flows keep their tokens."""
    return Place(request.param, tmp_path)


@pytest.fixture
async def world(place: Place) -> AsyncIterator[World]:
    """A running double and a place; whatever the test leaves open is closed."""
    async with FakeTwitch(seed=7) as twitch:
        world = World(twitch, place)
        yield world
        await world.end()


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[World]:
    """The same in memory only, for what does not depend on the store."""
    async with FakeTwitch(seed=7) as twitch:
        world = World(twitch, Place("memory", tmp_path))
        yield world
        await world.end()
