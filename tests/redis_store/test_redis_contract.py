"""`RedisStore` keeps the contract, whatever client and server it is given."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis

from twitchvault.stores import RedisStore, TokenStore
from twitchvault.testing.contract import StoreContract

from .makers import Maker

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


@parametrized
class TestUnixSocket(StoreContract):
    """A URL of a socket."""

    omits = {"processes": "as over TCP: the scripts are the same"}  # noqa: RUF012

    @pytest.fixture
    def make_store(self, server: Server, namespace: str) -> Callable[[], RedisStore]:
        """Stores that make a client of their own."""
        return functools.partial(RedisStore, server.unix_url, namespace=namespace)


@parametrized
class TestClient(StoreContract):
    """A client of the user's own, with the options that change what answers look like."""

    omits = {"processes": "as by URL: the options change answers, not scripts"}  # noqa: RUF012

    @pytest.fixture(
        params=[(2, False), (3, False)],
        ids=["resp2", "resp3"],
    )
    async def make_store(
        self, request: pytest.FixtureRequest, server: Server, namespace: str
    ) -> AsyncIterator[Maker]:
        """Stores on clients with these options."""
        protocol, decode = request.param
        options = {"protocol": protocol, "decode_responses": decode}
        maker = Maker(Redis, namespace, host="127.0.0.1", port=server.port, **options)
        yield maker
        await maker.close()


@parametrized
class TestFakeRedis(StoreContract):
    """The client of fakeredis."""

    omits = {"processes": "fakeredis keeps its data in this process's memory"}  # noqa: RUF012

    @pytest.fixture
    async def make_store(self, namespace: str) -> AsyncIterator[Maker]:
        """Stores on fake clients of one fake server."""
        maker = Maker(FakeAsyncRedis, namespace, server=FakeServer())
        yield maker
        await maker.close()
