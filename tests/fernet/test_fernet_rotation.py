"""Rotation: what it rewrites, what it leaves, and when it says that old keys can go."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet

from twitchvault.errors import DecryptionError, StoreUnavailable, VersionConflict
from twitchvault.stores import FernetStore, MemoryStore, SQLiteStore
from twitchvault.stores.fernet import EncryptionReport

from .makers import CHECK, KEY, NEW, WRONG, content, name_of, over_sqlite, swap, token, values

if TYPE_CHECKING:
    from pathlib import Path

OLD_NAME, NEW_NAME = name_of(KEY), name_of(NEW)
USERS = 250


async def opens_with(inner: MemoryStore, key: str) -> set[str]:
    """The entries that this key opens."""
    ring = FernetStore(inner, key)._source._ring
    assert ring
    return {e.key async for e in inner.scan() if ring.decrypt(e.value) is not None}


@pytest.fixture
async def old(inner: MemoryStore, store: FernetStore) -> dict[str, bytes]:
    """Users under the old key."""
    users = {f"cid:{number}": b"value %d" % number for number in range(USERS)}
    for key, value in users.items():
        await store.put(key, value)
    del inner
    return users


async def test_rotate(inner: MemoryStore, old: dict[str, bytes]) -> None:
    """All entries and the check entry go under the first key; then the old one can be dropped."""
    store = FernetStore(inner, [NEW, KEY])
    await store.open()
    await store.put("cid:new", b"value")
    report = await store.rotate()
    assert report == EncryptionReport({NEW_NAME: USERS + 2, OLD_NAME: 0}, USERS + 1, ())
    assert report.old_keys_unused
    assert str(report) == (
        f"251 entries rewritten; 252 stand under key {NEW_NAME}. Once every process has "
        f"{NEW_NAME} as its first key, drop {OLD_NAME}."
    )
    only = FernetStore(inner, NEW)
    await only.open()
    assert await values(only) == old | {"cid:new": b"value"}
    with pytest.raises(DecryptionError, match="none of the keys opens this store"):
        await FernetStore(inner, KEY).open()


async def test_rotate_again_does_nothing(inner: MemoryStore, old: dict[str, bytes]) -> None:
    """A second rotation writes nothing and says the same."""
    store = FernetStore(inner, [NEW, KEY])
    await store.open()
    await store.rotate()
    before = await content(inner)
    report = await store.rotate()
    assert (report.rewritten, report.old_keys_unused) == (0, True)
    assert report.by_key[NEW_NAME] == len(old) + 1
    assert await content(inner) == before


async def test_rotate_with_one_key(store: FernetStore, old: dict[str, bytes]) -> None:
    """With one key there is nothing to do, and nothing to drop."""
    report = await store.rotate()
    count = len(old) + 1
    assert str(report) == (
        f"0 entries rewritten; {count} stand under key {OLD_NAME}. No other key was given."
    )
    assert report.old_keys_unused


async def test_report_is_frozen(store: FernetStore) -> None:
    """A report cannot be changed."""
    report = await store.rotate()
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.rewritten = 7  # type: ignore[misc]
    with pytest.raises(TypeError):
        report.by_key["x"] = 7  # type: ignore[index]


async def test_undecryptable_entries_are_left(inner: MemoryStore, old: dict[str, bytes]) -> None:
    """What no key opens is named, not touched, and no reason to keep the old key."""
    store = FernetStore(inner, [NEW, KEY])
    await store.open()
    bad = [f"bad:{number}" for number in range(7)]
    for key in bad:
        await swap(inner, key, Fernet(WRONG).encrypt(key.encode()))
    before = {key: await inner.get(key) for key in bad}
    report = await store.rotate()
    assert report.left == tuple(bad)
    assert report.old_keys_unused
    assert {key: await inner.get(key) for key in bad} == before
    assert str(report).endswith(
        " Left as they are, because no key opens them or they belong elsewhere: 'bad:0', 'bad:1', "
        "'bad:2', 'bad:3', 'bad:4' and 2 more."
    )
    del old


async def test_moved_entry_keeps_the_old_key(inner: MemoryStore, old: dict[str, bytes]) -> None:
    """An entry that stands under the old key and cannot be rewritten forbids to drop it."""
    await swap(inner, "cid:moved", await token(inner, "cid:1"))
    moved = await inner.get("cid:moved")
    store = FernetStore(inner, [NEW, KEY])
    await store.open()
    report = await store.rotate()
    assert await inner.get("cid:moved") == moved
    assert report.by_key == {NEW_NAME: len(old) + 1, OLD_NAME: 1}
    assert report.left == ("cid:moved",)
    assert not report.old_keys_unused
    assert f"Keep the old keys: 1 under {OLD_NAME}." in str(report)
    await store.delete("cid:moved")
    assert (await store.rotate()).old_keys_unused


class Meddled(MemoryStore):
    """Before every put of the rotation somebody else writes first, with the old key."""

    def __init__(self) -> None:
        super().__init__()
        self.other: FernetStore | None = None
        self.times = 0

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write, unless somebody else was faster."""
        if self.other and self.times and expect and key != CHECK:
            self.times -= 1
            other, self.other = self.other, None
            await other.put(key, b"by somebody else")
            self.other = other
        return await super().put(key, value, expect=expect)


@pytest.mark.parametrize("times", [1, 30, 10_000])
async def test_overtaken_by_writers(times: int) -> None:
    """A write that comes between is kept; one that goes on under the old key forbids to drop it."""
    inner = Meddled()
    other = FernetStore(inner, [KEY, NEW])
    await other.open()
    for number in range(20):
        await other.put(f"cid:{number}", b"value")
    store = FernetStore(inner, [NEW, KEY])
    await store.open()
    inner.other, inner.times = other, times
    report = await store.rotate()
    found = await values(store)
    assert list(found.values()).count(b"by somebody else") == min(times, 20)
    assert report.old_keys_unused == (times < 10_000)
    if times == 10_000:
        assert report.by_key == {NEW_NAME: 0, OLD_NAME: 21}, "the check entry stays, too"
        assert f"Keep the old keys: 21 under {OLD_NAME}." in str(report)
        await FernetStore(inner, KEY).open()
        inner.times = 0
        assert (await store.rotate()).old_keys_unused


async def test_check_entry_comes_last(inner: MemoryStore, old: dict[str, bytes]) -> None:
    """While an entry is under the old key, a process with only the new one does not open."""
    store = FernetStore(inner, [NEW, KEY])
    await store.open()
    rotating = asyncio.create_task(store.rotate())
    looks = set()
    while not rotating.done():
        left = await opens_with(inner, KEY)
        assert CHECK in left or not left & old.keys()
        looks.add(len(left))
        await asyncio.sleep(0)
    await rotating
    assert len(looks) > 1, "the test did not see the rotation under way"


async def test_cancelled_anywhere(inner: MemoryStore, old: dict[str, bytes]) -> None:
    """Broken off at any point and begun again, a rotation ends where it would have ended."""
    store = FernetStore(inner, [NEW, KEY])
    await store.open()
    for turns in range(0, 40, 2):
        rotating = asyncio.create_task(store.rotate())
        for _ in range(turns):
            await asyncio.sleep(0)
        rotating.cancel()
        await asyncio.wait({rotating})
        assert await values(store) == old
    report = await store.rotate()
    assert report.by_key == {NEW_NAME: USERS + 1, OLD_NAME: 0}


async def test_failing_inner_store(inner: MemoryStore, old: dict[str, bytes]) -> None:
    """A store that is down ends the rotation with its own error; the next one goes on."""
    store = FernetStore(inner, [NEW, KEY])
    await store.open()

    async def fail(key: str, value: bytes, *, expect: int | None = None) -> int:
        if key.endswith("7"):
            msg = "no space left"
            raise StoreUnavailable(msg)
        return await MemoryStore.put(inner, key, value, expect=expect)

    inner.put = fail  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable, match="no space left"):
        await store.rotate()
    assert await values(store) == old
    del inner.put
    assert (await store.rotate()).old_keys_unused


async def test_while_others_write(tmp_path: Path) -> None:
    """Three stores read, write and delete during rotations; no write of theirs is lost."""
    path = tmp_path / "tokens.db"
    first = over_sqlite(path)
    await first.open()
    users = [f"cid:{number}" for number in range(60)]
    await asyncio.gather(*(first.put(key, b"0") for key in users))
    await first.close()
    stores = [FernetStore(SQLiteStore(path), [NEW, KEY]) for _ in range(3)]
    await asyncio.gather(*(store.open() for store in stores))
    stop = asyncio.Event()
    counts = dict.fromkeys(users, 0)

    async def work(store: FernetStore, seed: int) -> None:
        dice = random.Random(seed)
        while not stop.is_set():
            key = dice.choice(users)
            entry = await store.get(key)
            assert entry
            with suppress(VersionConflict):
                value = b"%d" % (int(entry.value) + 1)
                await store.put(key, value, expect=entry.version)
                counts[key] += 1

    working = [asyncio.create_task(work(store, n)) for n, store in enumerate(stores)]
    report = await stores[0].rotate()
    stop.set()
    await asyncio.gather(*working)
    assert report.old_keys_unused
    assert report.by_key == {NEW_NAME: 61, OLD_NAME: 0}
    assert sum(counts.values()) > 0
    for store in stores:
        assert {key: int(v) for key, v in (await values(store)).items()} == counts
        await store.close()


async def test_two_rotations_at_once(tmp_path: Path) -> None:
    """Two processes that rotate at the same time come to the same end."""
    path = tmp_path / "tokens.db"
    first = over_sqlite(path)
    await first.open()
    await asyncio.gather(*(first.put(f"cid:{n}", b"value") for n in range(300)))
    await first.close()
    stores = [FernetStore(SQLiteStore(path), [NEW, KEY]) for _ in range(2)]
    await asyncio.gather(*(store.open() for store in stores))
    reports = await asyncio.gather(*(store.rotate() for store in stores))
    assert all(report.old_keys_unused for report in reports)
    assert sum(report.rewritten for report in reports) == 301
    for store in stores:
        await store.close()


async def test_rotation_of_a_url_store_reports_to_all(tmp_path: Path) -> None:
    """Three keys: each is counted for itself, in the order given."""
    path = tmp_path / "tokens.db"
    for key, name in ((WRONG, "a"), ([KEY, WRONG], "b"), ([KEY, WRONG], "c")):
        store = FernetStore(SQLiteStore(path), key)
        await store.open()
        await store.put(name, b"value")
        await store.close()
    store = FernetStore(SQLiteStore(path), [KEY, NEW, WRONG])
    await store.open()
    report = await store.rotate()
    assert list(report.by_key.items()) == [(name_of(KEY), 4), (NEW_NAME, 0), (name_of(WRONG), 0)]
    assert str(report).endswith(f"drop {NEW_NAME}, {name_of(WRONG)}.")
    await store.close()
