"""`FernetStore` keeps the contract of the store under it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from tests.redis_store.conftest import namespace, server, stores_on  # noqa: F401 - fixtures
from tests.stores.custom_store import MyStore
from twitchvault.stores import FernetStore, MemoryStore, RedisStore, SQLiteStore, TokenStore
from twitchvault.testing import StoreContract

from .makers import KEY, token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.redis_store.servers import Server


class Damaged(StoreContract):
    """With the store inside, whose entries can be damaged."""

    inner: TokenStore

    async def damage(self, store: TokenStore, key: str) -> None:  # noqa: ARG002
        """Change a character in the middle of the ciphertext."""
        await self.inner.open()
        old = await token(self.inner, key)
        middle = len(old) // 2
        other = b"A" if old[middle : middle + 1] != b"A" else b"B"
        await self.inner.put(key, old[:middle] + other + old[middle + 1 :])
        if not isinstance(self.inner, MemoryStore):  # which the store under test shares
            await self.inner.close()


class TestOverMemory(
    Damaged,
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
        return functools.partial(FernetStore, self.inner, KEY)


class TestOverSQLite(Damaged):
    """Over a `SQLiteStore`."""

    @pytest.fixture
    def make_store(self, quick_path: Path) -> Callable[[], FernetStore]:
        """Stores on one file."""
        self.inner = SQLiteStore(quick_path / "tokens.db")
        return functools.partial(FernetStore, f"sqlite:///{quick_path}/tokens.db", KEY)


class TestOverCustom(
    Damaged, omits={"watch": "the store under it has none", "processes": "as over SQLite"}
):
    """Over a store of 40 lines."""

    @pytest.fixture
    def make_store(self, quick_path: Path) -> Callable[[], FernetStore]:
        """Stores on one file."""
        self.inner = MyStore(quick_path / "tokens.db")
        return lambda: FernetStore(MyStore(quick_path / "tokens.db"), [KEY])


class TestOverRedis(StoreContract, omits={"processes": "test_fernet_kill has four of them on it"}):
    """Over a `RedisStore` on a server."""

    @pytest.fixture
    def make_store(self, server: Server, namespace: str) -> Callable[[], FernetStore]:  # noqa: F811
        """Stores in one namespace of their own."""
        return lambda: FernetStore(RedisStore(server.url, namespace=namespace), KEY)


class TestOverFakeRedis(StoreContract, omits={"processes": "fakeredis keeps its data in memory"}):
    """Over a `RedisStore` on fakeredis."""

    @pytest.fixture
    async def make_store(self) -> AsyncIterator[Callable[[], FernetStore]]:
        """Stores on clients of one fake server."""
        client = functools.partial(FakeAsyncRedis, server=FakeServer())
        async with stores_on(client, "encrypted") as make:
            yield lambda: FernetStore(make(), KEY)
