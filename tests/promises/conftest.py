"""Processes that share a store: SQLite, or a Redis server of the session's."""

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


@pytest.fixture
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store that processes can share."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path / 'vault.db'}"
    server: Server = request.getfixturevalue("redis")
    return f"{server.url}/{next(_databases)}"
