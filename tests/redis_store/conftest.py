"""Servers shared by the tests of `RedisStore`, and stores on them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

import pytest

from tests.processes.conftest import fleet, twitch  # noqa: F401 - fixtures
from tests.redis_store.servers import Server, binaries, clustered, join, running
from twitchvault.stores import RedisStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.redis_store.servers import Driver

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server that tests share: each in a namespace of its own, leaving the settings alone."""
    with _shared(Server("--databases", "10000")) as server:
        yield server


@pytest.fixture
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store that processes can share: SQLite, or a database of the shared server."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path / 'vault.db'}"
    server: Server = request.getfixturevalue("server")
    return f"{server.url}/{next(_numbers)}"


@pytest.fixture(scope="session", params=binaries(), ids=lambda path: path.rpartition("/")[2])
def any_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The same of each kind there is: the packaged one, and a `redis-server` on PATH."""
    with _shared(Server(binary=request.param)) as server:
        yield server


@contextlib.contextmanager
def _shared(server: Server) -> Iterator[Server]:
    with running(server):
        asyncio.run(server.ready())
        yield server


@pytest.fixture
def own_server() -> Iterator[Callable[..., Server]]:
    """Makes servers with options, which a test may restart, stop or fill."""
    with contextlib.ExitStack() as stack:

        def start(*options: str) -> Server:
            server = Server(*options)
            stack.enter_context(running(server))
            return server

        yield start


@pytest.fixture(scope="session")
def cluster() -> Iterator[list[Server]]:
    """The three primaries of a cluster, each with a third of the slots; the first has a replica."""
    with clustered() as (*nodes, replica):
        asyncio.run(join(nodes, replica))
        yield nodes


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Driver]:
    """A client of the shared server, to look behind a store's back."""
    async with server.client() as client:
        yield client


@pytest.fixture
async def store(server: Server, namespace: str) -> AsyncIterator[RedisStore]:
    """An open store on the shared server."""
    async with RedisStore(server.url, namespace=namespace) as store:
        yield store


@contextlib.asynccontextmanager
async def stores_on(
    client: Callable[[], Driver], namespace: str
) -> AsyncIterator[Callable[[], RedisStore]]:
    """Makes stores on clients of the test's own, which are closed in the end."""
    async with contextlib.AsyncExitStack() as clients:

        def make() -> RedisStore:
            own = client()
            clients.push_async_callback(own.aclose)
            return RedisStore(own, namespace=namespace)

        yield make


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses."""
    return f"test-{next(_numbers)}"
