"""What the parts of the contract share: fixtures, bounded waits, and readings of a store."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, ParamSpec

import pytest
import pytest_asyncio

from twitchvault.errors import CorruptRecord, DecryptionError, VersionConflict
from twitchvault.stores.base import Entry, TokenStore, Unreadable

PATIENCE: Final = 45.0
"""Seconds that a whole test may take before the store is said to hang."""
PROMPT: Final = 10.0
"""Seconds for one thing that a store does at once; generous, for busy machines."""
POINTS: Final = 20
"""At how many points of its way a call is cancelled."""
STEP: Final = 0.0004
"""Seconds between those points, beyond the first half, which are turns of the loop."""

MISSING: Final = """\
StoreContract needs a fixture named 'make_store' in {owner}: a callable without arguments that makes
a store which is not open yet. All stores of one test stand for the same data, which is empty at the
start of the test:

    @pytest.fixture
    def make_store(self, tmp_path):
        return functools.partial(MyStore, tmp_path / "tokens.db")
"""

MakeStore = Callable[[], TokenStore]
P = ParamSpec("P")
Test = Callable[P, Awaitable[None]]


class Kit:
    """The fixtures of the contract; `make_store` is its user's."""

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


def rule(*needs: str) -> Callable[[Test[P]], Test[P]]:
    """A test of the contract: bounded in time, left out when one of `needs` is omitted."""

    def decorate(test: Test[P]) -> Test[P]:
        promise = (test.__doc__ or test.__name__).splitlines()[0]

        @functools.wraps(test)
        async def bounded(*args: P.args, **kwargs: P.kwargs) -> None:
            async with within(PATIENCE, f"an end of the test {promise!r}"):
                await test(*args, **kwargs)

        bounded.__dict__["needs"] = frozenset(needs)
        return bounded

    return decorate


@asynccontextmanager
async def within(seconds: float, expected: str) -> AsyncIterator[None]:
    """Fail, naming what was expected, if the block is not through in time."""
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
    async with within(PROMPT, "open() returns"):
        await store.open()
    try:
        yield store
    finally:
        async with within(PROMPT, "close() returns"):
            await store.close()


async def content(store: TokenStore, prefix: str = "") -> dict[str, Entry]:
    """What a scan finds, by key; checks the entries' types, and that no key comes twice."""
    found: dict[str, Entry] = {}
    scan = store.scan(prefix)
    assert hasattr(scan, "__aiter__"), (
        f"scan() must return an async iterator without being awaited (write it as an async "
        f"generator: 'async def' with 'yield'); it returned a {type(scan).__name__}"
    )
    async for entry in scan:
        check_entry(entry, "scan()")
        assert entry.key not in found, f"scan({prefix!a}) gave the key {entry.key!a} twice"
        found[entry.key] = entry
    return found


async def held(store: TokenStore, key: str) -> Entry:
    """The entry of a key that must be there."""
    entry = await store.get(key)
    assert entry is not None, f"get({key!a}) gave None, but the key was written and not deleted"
    check_entry(entry, "get()")
    assert entry.key == key, f"get({key!a}) gave the entry of another key: {entry.key!a}"
    return entry


def check_entry(entry: object, source: str) -> None:
    """Fail unless it is an `Entry` of the right parts."""
    assert isinstance(entry, Entry), f"{source} must give an Entry, not {type(entry).__name__}"
    assert type(entry.key) is str, f"{source}: 'key' must be str, not {type(entry.key).__name__}"
    check_version(entry.version, source)
    kinds = (bytes,) if source == "get()" else (bytes, Unreadable)
    assert type(entry.value) in kinds, (
        f"{source}: 'value' must be bytes, not {type(entry.value).__name__}"
    )


def check_version(version: object, source: str) -> None:
    """Fail unless it is a positive integer."""
    assert type(version) is int, (
        f"{source}: a version must be an int, not {type(version).__name__} ({version!r})"
    )
    assert version > 0, f"{source}: a version must be positive, not {version} (0 means absent)"


def check_unreadable(value: bytes | None, source: str) -> None:
    """Fail unless the value stands for a damaged one and says why."""
    assert isinstance(value, Unreadable), (
        f"{source} must give a damaged entry with an Unreadable as its value, not {value!r:.60}"
    )
    assert isinstance(value.error, CorruptRecord | DecryptionError), (
        f"{source}: Unreadable.error must be CorruptRecord or DecryptionError, not {value.error!r}"
    )


def check_conflict(error: VersionConflict, key: str, expected: int, found: int) -> None:
    """Fail unless the conflict names what was asked for and what stood there."""
    told = (error.key, error.expected, error.found)
    assert told == (key, expected, found), (
        f"VersionConflict(key, expected, found) should say {(key, expected, found)}, it says {told}"
    )


async def reach(point: int) -> None:
    """Let the loop turn some times, then some time pass: a point of another task's way."""
    turns = POINTS // 2
    for _ in range(min(point, turns)):
        await asyncio.sleep(0)
    if point > turns:
        await asyncio.sleep((point - turns) * STEP)


async def increment(store: TokenStore, key: str) -> int:
    """Add one to the number under `key` by compare-and-set; the version it was written at."""
    while True:
        entry = await store.get(key)
        number, version = (int(entry.value), entry.version) if entry else (0, 0)
        await asyncio.sleep(0)  # lets others in between, also in a store that never waits
        with suppress(VersionConflict):
            return await store.put(key, b"%d" % (number + 1), expect=version)


async def check_count(store: TokenStore, key: str, versions: list[int]) -> None:
    """Fail unless every one of the increments that returned `versions` is in the number."""
    entry = await held(store, key)
    count = int(entry.value)
    assert count == len(versions), (
        f"{len(versions)} increments by compare-and-set succeeded, but the number is {count}: "
        f"put() must compare and write in one atomic step"
    )
    assert len(set(versions)) == len(versions), "two writes were given the same version"
    assert entry.version == max(versions), (
        f"the key stands at version {entry.version}, its last write was told {max(versions)}"
    )
