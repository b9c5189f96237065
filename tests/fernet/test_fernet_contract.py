"""`FernetStore` keeps the contract of the store under it."""

from __future__ import annotations

import functools
import itertools
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from tests.redis_store.conftest import server  # noqa: F401
from twitchvault.stores import FernetStore, MemoryStore, RedisStore
from twitchvault.testing import StoreContract

from .makers import KEY, over_custom, over_memory, over_redis, over_sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.redis_store.servers import Server
    from twitchvault.stores import TokenStore

NUMBERS = itertools.count()


async def flip(store: TokenStore, key: str) -> None:
    """Damage the stored ciphertext of a key in its middle."""
    assert isinstance(store, FernetStore)
    entry = await store._inner.get(key)
    assert entry
    middle = len(entry.value) // 2
    other = b"A" if entry.value[middle : middle + 1] != b"A" else b"B"
    damaged = entry.value[:middle] + other + entry.value[middle + 1 :]
    await store._inner.put(key, damaged, expect=entry.version)


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
        return functools.partial(over_memory, MemoryStore())

    async def damage(self, store: TokenStore, key: str) -> None:
        """Flip a bit of the ciphertext."""
        await flip(store, key)


class TestOverSQLite(StoreContract, omits={"push": "its feeds ask the file, nothing pushes them"}):
    """Over a `SQLiteStore`."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], FernetStore]:
        """Stores on one file."""
        self.path = tmp_path / "tokens.db"
        return functools.partial(over_sqlite, self.path)

    async def damage(self, store: TokenStore, key: str) -> None:
        """Flip a bit of the ciphertext."""
        await flip(store, key)


class TestOverCustom(
    StoreContract,
    omits={"watch": "the store under it has none", "processes": "as over SQLite"},
):
    """Over a store of 40 lines."""

    @pytest.fixture
    def make_store(self, quick_path: Path) -> Callable[[], FernetStore]:
        """Stores on one file."""
        return functools.partial(over_custom, quick_path / "tokens.db")

    async def damage(self, store: TokenStore, key: str) -> None:
        """Flip a bit of the ciphertext."""
        await flip(store, key)


class TestOverRedis(StoreContract, omits={"processes": "test_fernet_kill has four of them on it"}):
    """Over a `RedisStore` on a server."""

    @pytest.fixture
    def make_store(self, server: Server) -> Callable[[], FernetStore]:  # noqa: F811 - the fixture
        """Stores in one namespace of their own."""
        return functools.partial(over_redis, server.url, f"fernet-{next(NUMBERS)}")

    async def damage(self, store: TokenStore, key: str) -> None:
        """Flip a bit of the ciphertext."""
        await flip(store, key)


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

    async def damage(self, store: TokenStore, key: str) -> None:
        """Flip a bit of the ciphertext."""
        await flip(store, key)
