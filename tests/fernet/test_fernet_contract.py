"""`FernetStore` keeps the contract of the store under it, and processes agree on one key."""

from __future__ import annotations

import asyncio
import functools
import sys
from typing import TYPE_CHECKING

import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from tests.redis_store.conftest import namespace, server, stores_on  # noqa: F401 - fixtures
from tests.spawning import CONTEXT, fork
from tests.stores.custom_store import MyStore
from twitchvault.errors import DecryptionError
from twitchvault.stores import FernetStore, MemoryStore, RedisStore, SQLiteStore, TokenStore
from twitchvault.testing import StoreContract

from .makers import KEY, WRONG, opened, token, values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from multiprocessing.synchronize import Barrier
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


class TestOverRedis(StoreContract, omits={"processes": "as over SQLite"}):
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


def write_one(path: Path, key: str, name: str, barrier: Barrier) -> None:
    """A process that opens the store with others and writes; ends with 7 if its key is wrong."""

    async def write() -> None:
        store = FernetStore(SQLiteStore(path), key)
        barrier.wait(30)
        try:
            await store.open()
            await store.put(name, name.encode())
        except DecryptionError:
            sys.exit(7)
        finally:
            await store.close()

    asyncio.run(write())


@pytest.mark.parametrize("keys", [[KEY] * 4, [KEY, WRONG] * 2], ids=["one key", "two keys"])
async def test_processes_open_an_empty_store(tmp_path: Path, keys: list[str]) -> None:
    """Of four processes that make the same store at once those with the winner's key write."""
    path, barrier = tmp_path / "tokens.db", CONTEXT.Barrier(4)
    processes = [fork(write_one, path, key, f"cid:{n}", barrier) for n, key in enumerate(keys)]
    for process in processes:
        await asyncio.to_thread(process.join, 30)
    codes = [process.exitcode for process in processes]
    winner = keys[codes.index(0)]
    assert codes == [0 if key == winner else 7 for key in keys]
    store = await opened(SQLiteStore(path), winner)
    assert set(await values(store)) == {f"cid:{n}" for n, key in enumerate(keys) if key == winner}
    await store.close()
