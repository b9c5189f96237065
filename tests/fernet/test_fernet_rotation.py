"""Rotation: what it rewrites, what it leaves, and when it says that old keys can go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet

from twitchvault.errors import DecryptionError
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
        f"Entries rewritten: 251; under key {NEW_NAME}: 252. Once every process has "
        f"{NEW_NAME} as its first key, drop {OLD_NAME}."
    )
    before = await content(inner)
    assert await store.rotate() == EncryptionReport({NEW_NAME: USERS + 2, OLD_NAME: 0}, 0, ())
    assert await content(inner) == before
    alone = await opened(inner, NEW)
    assert await values(alone) == users | {"cid:new": b"value"}
    assert str(await alone.rotate()) == f"Entries rewritten: 0; under key {NEW_NAME}: 252."
    with pytest.raises(DecryptionError, match="none of the keys decrypts this store"):
        await opened(inner, KEY)


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


async def test_a_writer_that_has_the_old_key_first(inner: MemoryStore) -> None:
    """Its writes are kept, and forbid to drop the old key until it has stopped."""
    writer, store = await opened(inner, KEY, NEW), await opened(inner, NEW, KEY)
    users = {f"cid:{number}": b"value" for number in range(20)}

    async def write() -> None:
        while not rotating.done():
            for key, value in users.items():
                await writer.put(key, value)

    rotating = asyncio.create_task(store.rotate())
    await write()
    report = await rotating
    assert not report.old_keys_unused
    assert sum(report.by_key.values()) == len(users) + 1
    await opened(inner, KEY)  # the check entry stays under the old key, too
    assert (await store.rotate()).old_keys_unused
    assert await values(store) == users
