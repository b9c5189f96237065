"""What the parts of the contract share: fixtures, time limits, and readings of a store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeVar

import pytest
import pytest_asyncio

from twitchvault.errors import CorruptRecord, DecryptionError, VersionConflict
from twitchvault.stores.base import Change, Entry, Feed, TokenStore, Unreadable, Watchable

TEST_TIMEOUT: Final = 45.0
CALL_TIMEOUT: float = 10.0
"""Seconds for what a store does at once; generous, for busy machines."""
CANCEL_POINTS: Final = 20
"""At how many points of its way a call is cancelled."""

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


class ContractFixtures:
    """The fixtures of the contract; `make_store` is its user's."""

    async def damage(self, store: TokenStore, key: str) -> None:
        """Damage what is stored under `key`, behind the store's back. Override to test damage."""
        raise NotImplementedError

    @pytest.fixture
    def opener(self, request: pytest.FixtureRequest) -> MakeStore:
        """The user's `make_store`, or a failure that says how to write it."""
        try:
            make_store: MakeStore = request.getfixturevalue("make_store")
        except pytest.FixtureLookupError as error:
            if error.argname != "make_store":
                raise
            pytest.fail(MISSING.format(owner=type(self).__name__), pytrace=False)
        return make_store

    @pytest_asyncio.fixture(loop_scope="function")
    async def store(self, opener: MakeStore) -> AsyncIterator[TokenStore]:
        """An open store, closed after the test."""
        async with opened(opener) as store:
            yield store

    @pytest_asyncio.fixture(loop_scope="function")
    async def others(self, opener: MakeStore) -> AsyncIterator[list[TokenStore]]:
        """Two more open stores on the same data."""
        async with opened(opener) as second, opened(opener) as third:
            yield [second, third]

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


@asynccontextmanager
async def time_limit(expected: str, seconds: float | None = None) -> AsyncIterator[None]:
    """Fail, naming what was expected, if the block is not through in time."""
    seconds = CALL_TIMEOUT if seconds is None else seconds
    try:
        async with asyncio.timeout(seconds) as limit:
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


@asynccontextmanager
async def running(*work: Coroutine[None, None, T]) -> AsyncIterator[list[asyncio.Task[T]]]:
    """Do this work during the block; it is over when the block is left."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield tasks
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
    assert type(entry.value) is bytes, f"get() gave a {type(entry.value).__name__} as the value"
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
    assert type(found.key) is str, f"{source}: 'key' must be str, not {type(found.key).__name__}"
    check_version(found.version, source)
    deleted = kind is Change and found.value is None
    value = type(found.value)
    assert deleted or value in (bytes, Unreadable), f"{source}: 'value' is a {value.__name__}"


def check_version(version: object, source: str) -> None:
    """Fail unless it is a positive integer."""
    assert type(version) is int, f"{source}: a version must be an int, not {version!r}"
    assert version > 0, f"{source}: a version must be positive, not {version} (0 means absent)"


def check_unreadable(value: bytes | None) -> None:
    """Fail unless the value stands for a damaged one and says why."""
    error = getattr(value, "error", None)
    assert isinstance(value, Unreadable), f"damage must be an Unreadable value, not {value!r:.60}"
    assert isinstance(error, CorruptRecord | DecryptionError), f"Unreadable.error is {error!r}"


async def check_refused(call: Awaitable[object], key: str, expected: int, found: int) -> None:
    """Fail unless the call is a conflict that names what was asked for and what stood there."""
    with pytest.raises(VersionConflict) as caught:
        await call
    check_conflict(caught.value, key, expected, found)


def check_conflict(error: object, key: str, expected: int, found: int) -> None:
    """Fail unless it is a conflict that names what was asked for and what stood there."""
    assert isinstance(error, VersionConflict), f"a VersionConflict was expected, not {error!r}"
    said, right = (error.key, error.expected, error.found), (key, expected, found)
    assert said == right, f"VersionConflict(key, expected, found) should be of {right}, not {said}"


async def reach_point(point: int) -> None:
    """Let the loop turn some times, then some time pass: a point of another task's way."""
    turns = CANCEL_POINTS // 2
    for _ in range(min(point, turns)):
        await asyncio.sleep(0)
    if point > turns:
        await asyncio.sleep((point - turns) * 0.0004)


class Replica:
    """The newest change of each key; a change counts if its version is larger."""

    def __init__(self) -> None:
        self.known: dict[str, Change] = {}
        self._given: dict[str, int] = {}

    def apply(self, changes: object) -> None:
        """Take in what a feed gave; fail if it is no list of changes in order."""
        assert isinstance(changes, list), f"a feed must give a list, not {type(changes).__name__}"
        for change in changes:
            check_parts(change, Change, "a feed")
            given = self._given.get(change.key, 0)
            assert change.version >= given, f"{change} came after {given}, not in version order"
            self._given[change.key] = change.version
            self.add(change)

    def add(self, change: Change) -> None:
        """Take in one change, or an entry as one."""
        known = self.known.get(change.key)
        if known is None or change.version > known.version:
            self.known[change.key] = change

    async def check(self, store: TokenStore, reader: str) -> None:
        """Fail unless the replica is what is in the store."""
        there = {key: Change(*entry) for key, entry in (await scan_all(store)).items()}
        alive = {key: change for key, change in self.known.items() if change.value is not None}
        wrong = {
            key: f"known: {self.known.get(key)}, there: {there.get(key)}"
            for key in sorted(alive.keys() | there.keys())
            if alive.get(key) != there.get(key)
        }
        assert not wrong, f"{reader} missed changes: {wrong}"


async def caught_up(feed: Feed) -> dict[str, Change]:
    """The newest change of each key that `catch_up` gives."""
    replica = Replica()
    async with time_limit("catch_up() returns"):
        replica.apply(await feed.catch_up())
    return replica.known


async def check_caught_up(feed: Feed, *expected: tuple[str, int, bytes]) -> dict[str, Change]:
    """The newest changes that `catch_up` gives; fail unless these are among them."""
    known = await caught_up(feed)
    for change in expected:
        found = tuple(known.get(change[0], ()))
        assert found == change, f"catch_up() missed a put: it must give {change}, it gave {found}"
    return known
