"""`FernetStore` keeps the contract of the store under it."""

from __future__ import annotations

import functools
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from twitchvault.stores import FernetStore, MemoryStore, RedisStore
from twitchvault.testing import StoreContract

from .makers import KEY, over_custom, over_memory, over_sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from twitchvault.stores import TokenStore


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


class TestOverRedis(StoreContract, omits={"processes": "fakeredis keeps its data in memory"}):
    """Over a `RedisStore`."""

    @pytest.fixture
    async def make_store(self) -> AsyncIterator[Callable[[], FernetStore]]:
        """Stores on clients of one fake server."""
        server = FakeServer()
        async with AsyncExitStack() as clients:

            def make() -> FernetStore:
                client = FakeAsyncRedis(server=server)
                clients.push_async_callback(client.aclose)
                return FernetStore(RedisStore(client), KEY)

            yield make

    async def damage(self, store: TokenStore, key: str) -> None:
        """Flip a bit of the ciphertext."""
        await flip(store, key)
