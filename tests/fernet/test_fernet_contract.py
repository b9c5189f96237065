"""`FernetStore` keeps the contract of the store under it."""

from __future__ import annotations

import functools
import itertools
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from tests.redis_store.conftest import server  # noqa: F401
from tests.stores.custom_store import MyStore
from twitchvault.stores import FernetStore, MemoryStore, RedisStore, SQLiteStore
from twitchvault.testing import StoreContract

from .makers import KEY, over_custom, over_memory, over_redis, over_sqlite, token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.redis_store.servers import Server
    from twitchvault.stores import TokenStore

NUMBERS = itertools.count()


async def damage_middle(inner: TokenStore, key: str) -> None:
    """Change a character in the middle of the ciphertext of a key."""
    await inner.open()
    old = await token(inner, key)
    middle = len(old) // 2
    other = b"A" if old[middle : middle + 1] != b"A" else b"B"
    await inner.put(key, old[:middle] + other + old[middle + 1 :])


class TestOverMemory(
    StoreContract,
    omits={
        "handles": "two stores on one dict close it for each other",
        "processes": "the data live in this process",
    },
):
    """Over a `MemoryStore`."""

    @pytest.fixture
    def make_store(self) -> Callable[[], FernetStore]:
        """Stores over one dict."""
        self.inner = MemoryStore()
        return functools.partial(over_memory, self.inner)

    async def damage(self, store: TokenStore, key: str) -> None:  # noqa: ARG002
        """Damage the ciphertext."""
        await damage_middle(self.inner, key)


class TestOverSQLite(StoreContract):
    """Over a `SQLiteStore`."""

    @pytest.fixture
    def make_store(self, quick_path: Path) -> Callable[[], FernetStore]:
        """Stores on one file."""
        self.path = quick_path / "tokens.db"
        return functools.partial(over_sqlite, self.path)

    async def damage(self, store: TokenStore, key: str) -> None:  # noqa: ARG002
        """Damage the ciphertext."""
        inner = SQLiteStore(self.path)
        await damage_middle(inner, key)
        await inner.close()


class TestOverCustom(
    StoreContract,
    omits={"watch": "the store under it has none", "processes": "as over SQLite"},
):
    """Over a store of 40 lines."""

    @pytest.fixture
    def make_store(self, quick_path: Path) -> Callable[[], FernetStore]:
        """Stores on one file."""
        self.path = quick_path / "tokens.db"
        return functools.partial(over_custom, self.path)

    async def damage(self, store: TokenStore, key: str) -> None:  # noqa: ARG002
        """Damage the ciphertext."""
        await damage_middle(MyStore(self.path), key)


class TestOverRedis(StoreContract, omits={"processes": "test_fernet_kill has four of them on it"}):
    """Over a `RedisStore` on a server."""

    @pytest.fixture
    def make_store(self, server: Server) -> Callable[[], FernetStore]:  # noqa: F811 - the fixture
        """Stores in one namespace of their own."""
        return functools.partial(over_redis, server.url, f"fernet-{next(NUMBERS)}")


class TestOverFakeRedis(StoreContract, omits={"processes": "fakeredis keeps its data in memory"}):
    """Over a `RedisStore` on fakeredis."""

    @pytest.fixture
    async def make_store(self) -> AsyncIterator[Callable[[], FernetStore]]:
        """Stores on clients of one fake server."""
        fake = FakeServer()
        async with AsyncExitStack() as clients:

            def make() -> FernetStore:
                client = FakeAsyncRedis(server=fake)
                clients.push_async_callback(client.aclose)
                return FernetStore(RedisStore(client), KEY)

            yield make
