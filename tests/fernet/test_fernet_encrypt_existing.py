"""From plaintext to ciphertext, once."""

from __future__ import annotations

import asyncio

import pytest
from cryptography.fernet import Fernet

from twitchvault.errors import DecryptionError, StoreError
from twitchvault.stores import FernetStore, MemoryStore
from twitchvault.stores.base import Unreadable

from .makers import CHECK, KEY, NEW, WRONG, content, name_of, opened, token, values

USERS = 250


@pytest.fixture
async def users(inner: MemoryStore) -> dict[str, bytes]:
    """Users in plaintext."""
    users = {f"cid:{number}": b'{"token":"%d"}' % number for number in range(USERS)}
    for key, value in users.items():
        await inner.put(key, value)
    return users


async def test_encrypt_existing(inner: MemoryStore, users: dict[str, bytes]) -> None:
    """It encrypts all, reports, and leaves the store open; a second call writes nothing.

    What a program without encryption wrote afterwards is encrypted by another call.
    """
    store = FernetStore(inner, [KEY, NEW])
    report = await store.encrypt_existing()
    assert (report.rewritten, report.left) == (USERS, ())
    assert report.by_key == {name_of(KEY): USERS + 1, name_of(NEW): 0}
    assert await values(store) == users
    before = await content(inner)
    assert not any(b"token" in entry.value for entry in before.values())
    for again in (store, FernetStore(inner, KEY)):
        assert (await again.encrypt_existing()).rewritten == 0
        assert await values(again) == users
    assert await content(inner) == before
    await inner.put("cid:late", b"{}")
    with pytest.raises(DecryptionError, match="encrypt_existing"):
        await store.get("cid:late")
    assert (await store.encrypt_existing()).rewritten == 1
    assert await values(store) == users | {"cid:late": b"{}"}


async def test_cancelled_anywhere(inner: MemoryStore, users: dict[str, bytes]) -> None:
    """Broken off at any point it leaves each value old or new; open refuses until it is through."""
    refused = turns = 0
    finished = False
    while not finished:
        turns += 1
        store = FernetStore(inner, KEY)
        encrypting = asyncio.create_task(store.encrypt_existing())
        for _ in range(turns):
            await asyncio.sleep(0)
        finished = encrypting.done()
        encrypting.cancel()
        await asyncio.wait({encrypting})
        if finished or not await inner.get(CHECK):
            continue
        with pytest.raises(StoreError, match="not open yet"):
            await store.get("cid:1")
        try:
            assert await values(await opened(inner)) == users
        except DecryptionError as error:
            refused += 1
            assert str(error) == (  # noqa: PT017
                "encryption is not finished: call 'await store.encrypt_existing()' again"
            )
    assert refused
    assert await values(await opened(inner)) == users


@pytest.mark.parametrize(
    "foreign",
    [
        Fernet(KEY).encrypt(b"foreign"),
        Fernet(KEY).encrypt(b"\x01" + bytes(16) + b"\x00\x05otherv"),
        Fernet(WRONG).encrypt(b"value"),
    ],
    ids=["another program's", "moved", "under another key"],
)
async def test_refuses_foreign_ciphertext(
    inner: MemoryStore, users: dict[str, bytes], foreign: bytes
) -> None:
    """If something is encrypted by others already, nothing is written."""
    await inner.put("cid:7", foreign)
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
    await (await opened(elsewhere)).put("cid:2", b"value")
    await inner.put("cid:2", await token(elsewhere, "cid:2"))
    await inner.delete(CHECK)
    with pytest.raises(DecryptionError, match="'cid:2' is encrypted already"):
        await FernetStore(inner, KEY).encrypt_existing()


async def test_damaged_entries_are_left(inner: MemoryStore, users: dict[str, bytes]) -> None:
    """In a store that is encrypted already, damage is named and left for a new login."""
    store = FernetStore(inner, KEY)
    await store.encrypt_existing()
    await inner.put("cid:1", (await token(inner, "cid:1"))[:-8])
    await inner.put("cid:2", b"plain")
    damaged = await inner.get("cid:1")
    report = await FernetStore(inner, KEY).encrypt_existing()
    assert (report.rewritten, report.left) == (1, ("cid:1",))
    assert await inner.get("cid:1") == damaged
    found = await values(store)
    assert isinstance(found["cid:1"], Unreadable)
    assert len(found) == len(users)


async def test_plaintext_keeps_coming(inner: MemoryStore, users: dict[str, bytes]) -> None:
    """While a program goes on writing plaintext it gives up in the end, and says what to do."""
    store = FernetStore(inner, KEY)

    async def write() -> None:
        while not encrypting.done():
            for key, value in users.items():
                await inner.put(key, value)

    encrypting = asyncio.create_task(store.encrypt_existing())
    await write()
    with pytest.raises(StoreError) as caught:
        await encrypting
    assert str(caught.value) == (
        "entries in plaintext keep coming: end the programs that write to this store without "
        "encryption, then call 'await store.encrypt_existing()' again"
    )
    await store.encrypt_existing()
    assert await values(store) == users
