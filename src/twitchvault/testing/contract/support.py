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
    assert hasattr(scan, "__aiter__"), (
        f"scan() must return an async iterator without being awaited (write it as an async "
        f"generator: 'async def' with 'yield'); it returned a {type(scan).__name__}"
    )
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


def check_parts(found: object, kind: type[Entry | Change], source: str) -> None:
    """Fail unless it is an `Entry` or a `Change` of the right parts."""
    given = type(found).__name__
    assert isinstance(found, kind), f"{source} must give {kind.__name__} objects, not {given}"
    assert type(found.key) is str, f"{source}: 'key' must be str, not {type(found.key).__name__}"
    check_version(found.version, source)
    deleted = kind is Change and found.value is None
    assert deleted or type(found.value) in (bytes, Unreadable), (
        f"{source}: 'value' must be bytes, or None in a Change that is a delete: {found!r}"
    )


def check_version(version: object, source: str) -> None:
    """Fail unless it is a positive integer."""
    assert type(version) is int, f"{source}: a version must be an int, not {version!r}"
    assert version > 0, f"{source}: a version must be positive, not {version} (0 means absent)"


def check_unreadable(value: bytes | None, source: str) -> None:
    """Fail unless the value stands for a damaged one and says why."""
    assert isinstance(value, Unreadable), (
        f"{source} must give a damaged entry with an Unreadable as its value, not {value!r:.60}"
    )
    assert isinstance(value.error, CorruptRecord | DecryptionError), (
        f"{source}: Unreadable.error must be CorruptRecord or DecryptionError, not {value.error!r}"
    )


async def check_refused(call: Awaitable[object], key: str, expected: int, found: int) -> None:
    """Fail unless the call is a conflict that names what was asked for and what stood there."""
    with pytest.raises(VersionConflict) as caught:
        await call
    check_conflict(caught.value, key, expected, found)


def check_conflict(error: object, key: str, expected: int, found: int) -> None:
    """Fail unless it is a conflict that names what was asked for and what stood there."""
    assert isinstance(error, VersionConflict), f"a VersionConflict was expected, not {error!r}"
    said = (error.key, error.expected, error.found)
    assert said == (key, expected, found), (
        f"VersionConflict(key, expected, found) should say {(key, expected, found)}, it says {said}"
    )


async def reach_point(point: int) -> None:
    """Let the loop turn some times, then some time pass: a point of another task's way."""
    turns = CANCEL_POINTS // 2
    for _ in range(min(point, turns)):
        await asyncio.sleep(0)
    if point > turns:
        await asyncio.sleep((point - turns) * 0.0004)
