"""`RedisStore` keeps the contract, whatever client and server it is given."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import RedisCluster

from twitchvault.stores import RedisStore, TokenStore
from twitchvault.testing.contract import StoreContract

from .conftest import stores_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .servers import Server

# The contract asks for `make_store` by name while a test is set up, too late for its parameters.
parametrized = pytest.mark.usefixtures("make_store")


@parametrized
class TestUrl(StoreContract):
    """A URL, over TCP."""

    @pytest.fixture
    def make_store(self, any_server: Server, namespace: str) -> Callable[[], RedisStore]:
        """Stores that make a client of their own."""
        self.server, self.namespace = any_server, namespace
        return functools.partial(RedisStore, any_server.url, namespace=namespace)

    async def damage(self, store: TokenStore, key: str) -> None:  # noqa: ARG002
        """Put something there that is not of our form."""
        async with self.server.client() as client:
            await client.hset(f"{{{self.namespace}}}:entries", key, "9:1:value")

    async def break_connections(self, store: TokenStore) -> None:  # noqa: ARG002
        """Let the server end them."""
        async with self.server.client() as client:
            await client.client_kill_filter(_type="normal", skipme=True)


@parametrized
class TestProtocols(StoreContract, omits={"processes": "as by URL: the scripts are the same"}):
    """Both versions of the protocol, one of them over a socket."""

    @pytest.fixture(params=["unix_url ?protocol=2", "url ?protocol=3"])
    def make_store(
        self, request: pytest.FixtureRequest, server: Server, namespace: str
    ) -> Callable[[], RedisStore]:
        """Stores that make a client of their own."""
        place, options = request.param.split()
        return functools.partial(RedisStore, getattr(server, place) + options, namespace=namespace)


@parametrized
class TestFakeRedis(
    StoreContract, omits={"processes": "fakeredis keeps its data in this process's memory"}
):
    """The client of fakeredis."""

    @pytest.fixture
    async def make_store(self, namespace: str) -> AsyncIterator[Callable[[], RedisStore]]:
        """Stores on fake clients of one fake server."""
        client = functools.partial(FakeAsyncRedis, server=FakeServer())
        async with stores_on(client, namespace) as make:
            yield make


class ClusterStore(RedisStore):
    """A store with a client of its own of a cluster, which other processes can make, too."""

    def __init__(self, port: int, namespace: str) -> None:
        self._cluster = RedisCluster(host="127.0.0.1", port=port)
        super().__init__(self._cluster, namespace=namespace)

    async def close(self) -> None:
        """Close the client as well."""
        await super().close()
        await self._cluster.aclose()


class TestCluster(StoreContract):
    """A client of a cluster."""

    @pytest.fixture
    def make_store(self, cluster: list[Server], namespace: str) -> Callable[[], RedisStore]:
        """Stores on clients of the cluster."""
        return functools.partial(ClusterStore, cluster[0].port, namespace)
