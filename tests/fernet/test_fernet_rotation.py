"""Rotation: what it rewrites, what it leaves, and when it says that old keys can go."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet

from twitchvault.errors import DecryptionError, VersionConflict
from twitchvault.stores import FernetStore, MemoryStore, SQLiteStore
from twitchvault.stores.fernet import EncryptionReport

from .makers import CHECK, KEY, NEW, WRONG, content, decrypts, name_of, opened, token, values

if TYPE_CHECKING:
    from pathlib import Path

OLD_NAME, NEW_NAME = name_of(KEY), name_of(NEW)
USERS = 250


@pytest.fixture
async def users(store: FernetStore) -> dict[str, bytes]:
    """Users under the old key."""
    users = {f"cid:{number}": b"value %d" % number for number in range(USERS)}
    for key, value in users.items():
        await store.put(key, value)
    return users


async def test_rotate(inner: MemoryStore, users: dict[str, bytes]) -> None:
    """All entries and the check entry go under the first key; then the old one can be dropped.

    A second rotation writes nothing and says the same.
    """
    store = await opened(inner, NEW, KEY)
    await store.put("cid:new", b"value")
    report = await store.rotate()
    assert report == EncryptionReport({NEW_NAME: USERS + 2, OLD_NAME: 0}, USERS + 1, ())
    assert report.old_keys_unused
    assert str(report) == (
        f"251 entries rewritten; 252 stand under key {NEW_NAME}. Once every process has "
        f"{NEW_NAME} as its first key, drop {OLD_NAME}."
    )
    before = await content(inner)
    assert await store.rotate() == EncryptionReport({NEW_NAME: USERS + 2, OLD_NAME: 0}, 0, ())
    assert await content(inner) == before
    assert await values(await opened(inner, NEW)) == users | {"cid:new": b"value"}
    with pytest.raises(DecryptionError, match="none of the keys decrypts this store"):
        await opened(inner, KEY)


async def test_rotate_with_one_key(store: FernetStore, users: dict[str, bytes]) -> None:
    """With one key there is nothing to do, and nothing to drop."""
    report = await store.rotate()
    assert str(report) == f"0 entries rewritten; {len(users) + 1} stand under key {OLD_NAME}."
    assert report.old_keys_unused


async def test_report_counts_each_key(tmp_path: Path) -> None:
    """Three keys: each is counted for itself, in the order given."""
    path = tmp_path / "tokens.db"
    for keys, name in (((WRONG,), "a"), ((KEY, WRONG), "b"), ((KEY, WRONG), "c")):
        store = await opened(SQLiteStore(path), *keys)
        await store.put(name, b"value")
        await store.close()
    store = await opened(SQLiteStore(path), KEY, NEW, WRONG)
    report = await store.rotate()
    assert list(report.by_key.items()) == [(OLD_NAME, 4), (NEW_NAME, 0), (name_of(WRONG), 0)]
    assert str(report).endswith(f"drop {NEW_NAME}, {name_of(WRONG)}.")
    await store.close()


async def test_entries_that_no_key_decrypts(inner: MemoryStore, users: dict[str, bytes]) -> None:
    """They are named, not touched, and no reason to keep the old key."""
    store = await opened(inner, NEW, KEY)
    bad = [f"bad:{number}" for number in range(7)]
    for key in bad:
        await inner.put(key, Fernet(WRONG).encrypt(key.encode()))
    before = {key: await inner.get(key) for key in bad}
    report = await store.rotate()
    assert report.rewritten == len(users) + 1
    assert report.left == tuple(bad)
    assert report.old_keys_unused
    assert {key: await inner.get(key) for key in bad} == before
    assert str(report).endswith(
        " 7 left as they are, because no key decrypts them or they belong elsewhere, such as "
        "'bad:0'."
    )


async def test_moved_entry_under_the_old_key(inner: MemoryStore, users: dict[str, bytes]) -> None:
    """It is left and named, and counts: without the old key nobody could say what it is."""
    await inner.put("cid:moved", await token(inner, "cid:1"))
    store = await opened(inner, NEW, KEY)
    report = await store.rotate()
    assert (report.rewritten, report.left) == (len(users) + 1, ("cid:moved",))
    assert not report.old_keys_unused
    assert f"Keep the old keys: 1 under {OLD_NAME}." in str(report)
    await store.delete("cid:moved")
    assert (await store.rotate()).old_keys_unused


class Overtaken(MemoryStore):
    """Before every put of the rotation somebody else writes first, with the old key."""

    def __init__(self) -> None:
        super().__init__()
        self.other: FernetStore | None = None
        self.times = 0

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write, unless somebody else was faster."""
        if self.other and self.times and expect and key != CHECK:
            self.times -= 1
            await self.other.put(key, b"by somebody else")
        return await super().put(key, value, expect=expect)


@pytest.mark.parametrize("times", [1, 30, 10_000])
async def test_overtaken_by_writers(times: int) -> None:
    """A write that comes between is kept; one that goes on under the old key forbids to drop it."""
    inner = Overtaken()
    other = await opened(inner, KEY, NEW)
    for number in range(20):
        await other.put(f"cid:{number}", b"value")
    store = await opened(inner, NEW, KEY)
    inner.other, inner.times = other, times
    report = await store.rotate()
    assert list((await values(store)).values()).count(b"by somebody else") == min(times, 20)
    assert report.old_keys_unused == (times < 10_000)
    if times == 10_000:
        assert report.by_key == {NEW_NAME: 0, OLD_NAME: 21}, "the check entry stays, too"
        await opened(inner, KEY)
        inner.times = 0
        assert (await store.rotate()).old_keys_unused


async def test_check_entry_comes_last(inner: MemoryStore, users: dict[str, bytes]) -> None:
    """While an entry is under the old key, a process with only the new one does not open."""
    store = await opened(inner, NEW, KEY)
    rotating = asyncio.create_task(store.rotate())
    counts = set()
    while not rotating.done():
        old = {k for k, entry in (await content(inner)).items() if decrypts(KEY, entry.value)}
        assert CHECK in old or not old & users.keys()
        counts.add(len(old))
        await asyncio.sleep(0)
    await rotating
    assert len(counts) > 1, "the test did not see the rotation under way"


async def test_cancelled_anywhere(inner: MemoryStore, users: dict[str, bytes]) -> None:
    """Broken off at any point and begun again, a rotation ends where it would have ended."""
    store = await opened(inner, NEW, KEY)
    for turns in range(0, 40, 2):
        rotating = asyncio.create_task(store.rotate())
        for _ in range(turns):
            await asyncio.sleep(0)
        rotating.cancel()
        await asyncio.wait({rotating})
        assert await values(store) == users
    assert (await store.rotate()).by_key == {NEW_NAME: USERS + 1, OLD_NAME: 0}


async def test_while_others_write(tmp_path: Path) -> None:
    """Three stores on a file write during two rotations at once; no write of theirs is lost."""
    path = tmp_path / "tokens.db"
    first = await opened(SQLiteStore(path), KEY)
    counts = {f"cid:{number}": 0 for number in range(60)}
    await asyncio.gather(*(first.put(key, b"0") for key in counts))
    await first.close()
    stores = [await opened(SQLiteStore(path), NEW, KEY) for _ in range(3)]
    rotated = asyncio.Event()

    async def work(store: FernetStore, seed: int) -> None:
        choose = random.Random(seed).choice
        while not rotated.is_set():
            key = choose(list(counts))
            entry = await store.get(key)
            assert entry
            with suppress(VersionConflict):
                await store.put(key, b"%d" % (int(entry.value) + 1), expect=entry.version)
                counts[key] += 1

    working = [asyncio.create_task(work(store, n)) for n, store in enumerate(stores)]
    reports = await asyncio.gather(stores[0].rotate(), stores[1].rotate())
    rotated.set()
    await asyncio.gather(*working)
    assert all(report.by_key == {NEW_NAME: 61, OLD_NAME: 0} for report in reports)
    assert sum(counts.values()) > 0
    for store in stores:
        assert {key: int(value) for key, value in (await values(store)).items()} == counts
        await store.close()
