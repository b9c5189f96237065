"""What the parts of the contract share: fixtures, time limits, and checked reads of a store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import ClassVar, Final, TypeVar

import pytest
import pytest_asyncio

from twitchvault.errors import VersionConflict
from twitchvault.stores.base import Change, Entry, Feed, TokenStore, Unreadable, Watchable

TEST_TIMEOUT: Final = 45.0
CALL_TIMEOUT: Final = ContextVar("CALL_TIMEOUT", default=10.0)
"""Seconds for what a store does at once; generous, for busy machines."""
CANCEL_POINTS: Final = 20
"""At how many points of its way a call is cancelled."""
LATE: Final = 0.6
"""Seconds in which a write that should not be, and goes on in the background, has been done."""

MISSING: Final = """\
StoreContract needs a fixture named 'make_store' in {owner}: a callable without arguments that makes
a store which is not open yet. All stores of one test stand for the same data, which is empty at the
start of the test:

    @pytest.fixture
    def make_store(self, tmp_path):
        return functools.partial(MyStore, tmp_path / "tokens.db")
"""

T = TypeVar("T")
MakeStore = Callable[[], TokenStore]
Watch = Callable[..., AbstractAsyncContextManager[Feed]]
Damage = Callable[[str], Awaitable[None]]
CutConnections = Callable[[], Awaitable[None]]


class ContractFixtures:
    """The fixtures of the contract; its user writes `make_store`."""

    omits: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """What the store cannot do, and why."""
    call_timeout: ClassVar[float] = CALL_TIMEOUT.get()
    """Seconds that a call of the store may take."""

    async def damage(self, store: TokenStore, key: str) -> None:
        """Damage what is stored under `key`, behind the store's back. Override to test damage."""
        raise NotImplementedError

    async def break_connections(self, store: TokenStore) -> None:
        """Cut the connections of all stores on the data of `store`. Override to test that."""
        raise NotImplementedError

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Makes a store that is not open yet. Override it."""
        pytest.fail(MISSING.format(owner=type(self).__name__), pytrace=False)

    @pytest_asyncio.fixture(loop_scope="function")
    async def store(self, make_store: MakeStore) -> AsyncIterator[TokenStore]:
        """An open store, closed after the test."""
        async with opened(make_store) as store:
            yield store

    @pytest_asyncio.fixture(loop_scope="function")
    async def stores(
        self, store: TokenStore, make_store: MakeStore
    ) -> AsyncIterator[list[TokenStore]]:
        """Three open stores on the same data; only one where 'handles' is omitted."""
        if "handles" in self.omits:
            yield [store]
            return
        async with opened(make_store) as second, opened(make_store) as third:
            yield [store, second, third]

    @pytest.fixture
    def watch(self, store: TokenStore) -> Watch:
        """The store's `watch`."""
        if not isinstance(store, Watchable):
            pytest.skip(f"{type(store).__name__} has no watch(): readers scan it and compare")
        return store.watch

    @pytest.fixture
    def damage_entry(self, store: TokenStore) -> Damage:
        """Damages an entry of the store."""
        return lambda key: self.damage(store, key)

    @pytest.fixture
    def cut_connections(self, store: TokenStore) -> CutConnections:
        """Cuts the connections of all stores."""
        return lambda: self.break_connections(store)


@asynccontextmanager
async def time_limit(expected: str, seconds: float | None = None) -> AsyncIterator[None]:
    """Fail, naming what was expected, if the block takes longer."""
    seconds = CALL_TIMEOUT.get() if seconds is None else seconds
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        msg = f"expected within {seconds:g} s: {expected}; the store hangs or is far too slow"
        raise AssertionError(msg) from None


@asynccontextmanager
async def opened(make_store: MakeStore) -> AsyncIterator[TokenStore]:
    """One more store on the test's data, open for the length of the block."""
    store = make_store()
    async with time_limit("open() returns"):
        await store.open()
    try:
        yield store
    finally:
        async with time_limit("close() returns"):
            await store.close()


async def result_of(call: Awaitable[T]) -> T | BaseException:
    """What the call returns or raises."""
    (result,) = await asyncio.gather(call, return_exceptions=True)
    return result


async def scan_all(store: TokenStore, prefix: str = "") -> dict[str, Entry]:
    """What a scan finds, by key; checks the entries' types, and that no key comes twice."""
    found: dict[str, Entry] = {}
    scan = store.scan(prefix)
    assert hasattr(scan, "__aiter__"), "scan() must return an async iterator without an await"
    async for entry in scan:
        check_parts(entry, Entry, "scan()")
        assert entry.key not in found, f"scan({prefix!a}) gave the key {entry.key!a} twice"
        found[entry.key] = entry
    return found


async def get_entry(store: TokenStore, key: str) -> Entry:
    """The entry of a key that must be there."""
    entry = await store.get(key)
    assert entry is not None, f"get({key!a}) gave None, but the key was written and not deleted"
    check_parts(entry, Entry, "get()")
    assert entry.key == key, f"get({key!a}) gave the entry of another key: {entry.key!a}"
    return entry


async def check_entry(store: TokenStore, entry: tuple[str, int, bytes], otherwise: str) -> None:
    """Fail, saying what is wrong otherwise, unless this entry stands in the store."""
    found = await get_entry(store, entry[0])
    assert found == entry, f"{otherwise}: expected {entry}, found {tuple(found)}"


def check_parts(found: object, kind: type[Entry | Change], source: str) -> None:
    """Fail unless it is an `Entry` or a `Change` of the right parts."""
    given = type(found).__name__
    assert isinstance(found, kind), f"{source} must give {kind.__name__} objects, not {given}"
    key, version, value = found
    right = type(key) is str and type(version) is int and version > 0
    right = right and (type(value) in (bytes, Unreadable) or (kind is Change and value is None))
    assert right, (
        f"{source} must give a str, an int above 0 and bytes (a feed None for a delete), "
        f"not {key!a}, {version!r} and a {type(value).__name__}"
    )


def check_conflict(result: object, key: str, expected: int, found: int) -> None:
    """Fail unless it is a conflict that names what was asked for and what stood there."""
    right = (key, expected, found)
    assert isinstance(result, VersionConflict), (
        f"expect={expected} for {key!r}, which stands at {found} (0: absent), must raise "
        f"VersionConflict{right} and write nothing; it gave {result!r}"
    )
    said = (result.key, result.expected, result.found)
    assert said == right, f"VersionConflict(key, expected, found) must be {right}, not {said}"


async def reach_point(point: int) -> None:
    """Wait until another task is further on its way: some turns of the loop, then some time."""
    turns = CANCEL_POINTS // 2
    for _ in range(min(point, turns)):
        await asyncio.sleep(0)
    if point > turns:
        await asyncio.sleep((point - turns) * 0.0004)
