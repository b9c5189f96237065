"""Processes on a store of each kind, and the strictest client."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from tests.processes import conftest as processes
from tests.redis_store.servers import Server, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.world import World

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


@pytest.fixture
def public(request: pytest.FixtureRequest) -> None:
    """The client that is meant where none is named has no secret: its refresh tokens are one-use.

    And a replay cuts the connection of the user.
    """
    for name in {"world", "small"} & set(request.fixturenames):
        world: World = request.getfixturevalue(name)
        world.client = world.public
