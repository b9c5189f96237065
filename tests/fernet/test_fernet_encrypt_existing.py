"""From plaintext to ciphertext, once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet

from twitchvault.errors import DecryptionError, StoreError, StoreUnavailable
from twitchvault.stores import FernetStore, MemoryStore, SQLiteStore
from twitchvault.stores.base import Unreadable

from .makers import CHECK, KEY, NEW, WRONG, content, name_of, swap, token, values

if TYPE_CHECKING:
    from pathlib import Path

USERS = 250
UNFINISHED = (
    "encrypting this store was begun and not finished: call 'await store.encrypt_existing()' again"
)


@pytest.fixture
async def users(inner: MemoryStore) -> dict[str, bytes]:
    """Users in plaintext."""
    users = {f"cid:{number}": b'{"token":"%d"}' % number for number in range(USERS)}
    for key, value in users.items():
        await inner.put(key, value)
    return users


async def test_encrypt_existing(inner: MemoryStore, users: dict[str, bytes]) -> None:
    """It encrypts all, reports, and leaves the store open."""
    store = FernetStore(inner, [KEY, NEW])
    report = await store.encrypt_existing()
    assert (report.rewritten, report.left) == (USERS, ())
    assert report.by_key == {name_of(KEY): USERS + 1, name_of(NEW): 0}
    assert await values(store) == users
    assert not any(b"token" in entry.value for entry in (await content(inner)).values())
    again = FernetStore(inner, KEY)
    await again.open()
    assert await values(again) == users


async def test_again_does_nothing(inner: MemoryStore, users: dict[str, bytes]) -> None:
    """A second call, before or after open, writes nothing."""
    await FernetStore(inner, KEY).encrypt_existing()
    before = await content(inner)
    store = FernetStore(inner, KEY)
    assert (await store.encrypt_existing()).rewritten == 0
    assert (await store.encrypt_existing()).rewritten == 0
    assert await content(inner) == before
    assert await values(store) == users


async def test_empty_store(inner: MemoryStore) -> None:
    """An empty store becomes an encrypted one, as by open."""
    store = FernetStore(inner, KEY)
    assert (await store.encrypt_existing()).rewritten == 0
    await store.put("key", b"value")
    await FernetStore(inner, KEY).open()


async def test_stray_plaintext_later(inner: MemoryStore, users: dict[str, bytes]) -> None:
    """What a program without encryption wrote afterwards is encrypted by another call."""
    store = FernetStore(inner, KEY)
    await store.encrypt_existing()
    await swap(inner, "cid:stray", b"{}")
    with pytest.raises(DecryptionError, match="encrypt_existing"):
        await store.get("cid:stray")
    assert (await store.encrypt_existing()).rewritten == 1
    assert await values(store) == users | {"cid:stray": b"{}"}


async def test_cancelled_anywhere(inner: MemoryStore, users: dict[str, bytes]) -> None:
    """Broken off at any point it leaves each value old or new; open refuses until it is through."""
    begun = 0
    for turns in range(1, 40):
        store = FernetStore(inner, KEY)
        encrypting = asyncio.create_task(store.encrypt_existing())
        for _ in range(turns):
            await asyncio.sleep(0)
        encrypting.cancel()
        await asyncio.wait({encrypting})
        if not encrypting.cancelled():
            break
        with pytest.raises(StoreError, match="not open yet"):
            await store.get("cid:1")
        if not await inner.get(CHECK):
            continue
        other = FernetStore(inner, KEY)
        try:
            await other.open()
        except DecryptionError as error:
            begun += 1
            assert str(error) == UNFINISHED  # noqa: PT017
        else:
            assert await values(other) == users
    assert begun
    store = FernetStore(inner, KEY)
    await store.encrypt_existing()
    assert await values(store) == users
    await FernetStore(inner, KEY).open()


async def test_two_at_once(inner: MemoryStore, users: dict[str, bytes]) -> None:
    """Two processes that encrypt at the same time agree on one store."""
    stores = [FernetStore(inner, KEY) for _ in range(2)]
    reports = await asyncio.gather(*(store.encrypt_existing() for store in stores))
    assert sum(report.rewritten for report in reports) == USERS
    for store in stores:
        assert await values(store) == users


@pytest.mark.parametrize(
    "inside",
    [b"foreign", b"\x01" + bytes(16) + b"\x00\x05otherv", None],
    ids=["foreign", "moved", "unknown key"],
)
async def test_refuses_foreign_ciphertext(
    inner: MemoryStore, users: dict[str, bytes], inside: bytes | None
) -> None:
    """If something is encrypted by others already, nothing is written."""
    foreign = Fernet(WRONG).encrypt(b"v") if inside is None else Fernet(KEY).encrypt(inside)
    await swap(inner, "cid:7", foreign)
    before = await content(inner)
    with pytest.raises(DecryptionError) as caught:
        await FernetStore(inner, KEY).encrypt_existing()
    assert str(caught.value) == (
        "the entry of key 'cid:7' is encrypted already, but not by a FernetStore with these keys "
        "for this place: nothing was written; give its key too, or delete it from the inner store"
    )
    assert await content(inner) == before
    assert len(before) == len(users)


async def test_refuses_entries_of_two_stores(inner: MemoryStore, store: FernetStore) -> None:
    """Without a check entry, entries of two stores cannot both be right."""
    await store.put("cid:1", b"value")
    elsewhere = MemoryStore()
    other = FernetStore(elsewhere, KEY)
    await other.open()
    await other.put("cid:2", b"value")
    await swap(inner, "cid:2", await token(elsewhere, "cid:2"))
    await inner.delete(CHECK)
    with pytest.raises(DecryptionError, match="'cid:2' is encrypted already"):
        await FernetStore(inner, KEY).encrypt_existing()


async def test_damaged_entries_are_left(inner: MemoryStore, users: dict[str, bytes]) -> None:
    """In a store that is encrypted already, damage is named and left for a new login."""
    store = FernetStore(inner, KEY)
    await store.encrypt_existing()
    await swap(inner, "cid:1", (await token(inner, "cid:1"))[:-8])
    await swap(inner, "cid:2", b"plain")
    damaged = await inner.get("cid:1")
    report = await FernetStore(inner, KEY).encrypt_existing()
    assert (report.rewritten, report.left) == (1, ("cid:1",))
    assert await inner.get("cid:1") == damaged
    found = await values(store)
    assert isinstance(found["cid:1"], Unreadable)
    assert len(found) == len(users)


class Stubborn(MemoryStore):
    """A program without encryption goes on writing."""

    busy = True

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write; then somebody writes plaintext again."""
        version = await super().put(key, value, expect=expect)
        if self.busy and expect and key != CHECK:
            await super().put(key, b"plain")
        return version


async def test_plaintext_keeps_coming() -> None:
    """It gives up in the end, and says what to do."""
    inner = Stubborn()
    await inner.open()
    await inner.put("cid:1", b"plain")
    with pytest.raises(StoreError) as caught:
        await FernetStore(inner, KEY).encrypt_existing()
    assert str(caught.value) == (
        "entries in plaintext keep coming: end the programs that write to this store without "
        "encryption, then call 'await store.encrypt_existing()' again"
    )
    inner.busy = False
    store = FernetStore(inner, KEY)
    await store.encrypt_existing()
    assert await values(store) == {"cid:1": b"plain"}


async def test_over_a_file(tmp_path: Path) -> None:
    """Over SQLite, named by a URL: closed after a failure, open after success."""
    path = tmp_path / "tokens.db"
    plain = SQLiteStore(path)
    await plain.open()
    await asyncio.gather(*(plain.put(f"cid:{n}", b"{}") for n in range(300)))
    await plain.close()
    failing = FernetStore(f"sqlite:///{path}", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    with pytest.raises(StoreUnavailable, match="ZeroDivisionError"):
        await failing.encrypt_existing()
    store = FernetStore(f"sqlite:///{path}", KEY)
    assert (await store.encrypt_existing()).rewritten == 300
    assert await values(store) == {f"cid:{n}": b"{}" for n in range(300)}
    await store.close()
