"""Processes on a store of each kind, and a world in one process."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from tests.processes import conftest as processes
from tests.redis_store.servers import Server, running
from tests.world import Place, World
from twitchvault.testing import FakeTwitch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

fleet = processes.fleet
twitch = processes.twitch
_databases = itertools.count()


@pytest.fixture(scope="session")
def redis() -> Iterator[Server]:
    """A Redis server that tests share, each with a database of its own."""
    server = Server("--databases", "10000")
    with running(server):
        asyncio.run(server.ready())
        yield server


@pytest.fixture(params=["sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store that processes can share."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'vault.db'}"
    server: Server = request.getfixturevalue("redis")
    return f"{server.url}/{next(_databases)}"


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where the flows of one process keep their tokens."""
    return Place(request.param, tmp_path)


@pytest.fixture
async def world(place: Place) -> AsyncIterator[World]:
    """A public client: one-use refresh tokens, and a replay cuts the connection."""
    async with FakeTwitch(seed=7, helix_limit=1_000_000) as double:
        world = World(double, place, public=True)
        yield world
        await world.end()


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[World]:
    """The same in memory only, for what does not depend on the store."""
    async with FakeTwitch(seed=7, helix_limit=1_000_000) as double:
        world = World(double, Place("memory", tmp_path), public=True)
        yield world
        await world.end()
