"""What is inside a ciphertext, and that it opens nowhere but where it was put."""

from __future__ import annotations

import sqlite3
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet
from fakeredis import FakeAsyncRedis, FakeServer

from twitchvault.errors import CorruptRecord, DecryptionError, VersionConflict
from twitchvault.stores import FernetStore, MemoryStore, RedisStore, SQLiteStore
from twitchvault.stores.base import Unreadable

from .makers import CHECK, KEY, NEW, all_bytes, content, swap, token, values

if TYPE_CHECKING:
    from pathlib import Path

PINNED_CHECK = (
    b"gAAAAABlU_EAAAAAAAAAAAAAAAAAAAAAAF9aEdDyQVzrETb8EMyEcsoKWypBFpEjCj_wYtEkmfGx"
    b"tqx8bI42liNBZld8BoSVYI0fO_2CpGJYnxmxJLDAgUToqei_hyCAs7td4MwuOgCJ"
)
PINNED = (
    b"gAAAAABlU_EAAAAAAAAAAAAAAAAAAAAAAF9aEdDyQVzrETb8EMyEcsomq-NpgAnCt2tRoJbgmFWh"
    b"p_D5f1Pfboq36EoM8Kn-Fr9lkquElOPwvRvD42An3IQsJO-koW-o9bhNsLEXusDv"
)


async def refusal(store: FernetStore, key: str) -> str:
    """The text of the error that `get`, `scan` and a feed give alike; nothing is rewritten."""
    before = await content(store._inner)
    with pytest.raises((DecryptionError, CorruptRecord)) as caught:
        await store.get(key)
    entry = (await content(store))[key]
    assert isinstance(entry.value, Unreadable)
    assert type(entry.value.error) is type(caught.value)
    assert str(entry.value.error) == str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert await content(store._inner) == before
    return str(caught.value)


async def test_format_is_pinned(inner: MemoryStore, store: FernetStore) -> None:
    """Format byte, store id, length and name of the key, value; the token as Fernet makes it."""
    await store.put("cid:é", b"\x00value\xff")
    plain = Fernet(KEY).decrypt(await token(inner, "cid:é"))
    check = Fernet(KEY).decrypt(await token(inner, CHECK))
    assert check[:1] == plain[:1] == b"\x01"
    assert check[1:17] == plain[1:17] != bytes(16)
    assert check[17:] == b"\x00\x12twitchvault/fernetready"
    assert plain[17:] == b"\x00\x06cid:\xc3\xa9\x00value\xff"


async def test_old_files_open(inner: MemoryStore) -> None:
    """Ciphertexts that an earlier version wrote are read for ever."""
    await inner.put(CHECK, PINNED_CHECK)
    await inner.put("CLIENT_ID:1234", PINNED)
    store = FernetStore(inner, KEY)
    await store.open()
    entry = await store.get("CLIENT_ID:1234")
    assert entry
    assert entry.value == b'{"schema":1}'


async def test_reserved_key_is_hidden(inner: MemoryStore, store: FernetStore) -> None:
    """The check entry shows nowhere, and cannot be touched."""
    assert set(await content(inner)) == {CHECK}
    assert await content(store) == {}
    text = f"'key' must not be '{CHECK}': a FernetStore keeps its key check entry there"
    assert await store.get(CHECK) is None
    for call in (store.put(CHECK, b""), store.delete(CHECK)):
        with pytest.raises(ValueError, match="must not be") as caught:
            await call
        assert str(caught.value) == text


@pytest.mark.parametrize("other", ["cid:2", "other:1", "cid:11", "cid:"])
async def test_moved_to_another_key(inner: MemoryStore, store: FernetStore, other: str) -> None:
    """A row moved to another user, or to another client id, does not open."""
    await store.put("cid:1", b"value")
    await swap(inner, other, await token(inner, "cid:1"))
    assert await refusal(store, other) == (
        f"the entry of key {other!r} was encrypted for another key, 'cid:1', and moved here"
    )
    assert await store.get("cid:1")


async def test_swapped_rows(inner: MemoryStore, store: FernetStore) -> None:
    """Two rows that change places are both refused."""
    for key in ("cid:1", "cid:2"):
        await store.put(key, key.encode())
    one, two = await token(inner, "cid:1"), await token(inner, "cid:2")
    await swap(inner, "cid:1", two)
    await swap(inner, "cid:2", one)
    assert "'cid:2', and moved here" in await refusal(store, "cid:1")
    assert "'cid:1', and moved here" in await refusal(store, "cid:2")


async def test_moved_to_another_store(store: FernetStore, inner: MemoryStore) -> None:
    """Two stores with the same keys: a row of one does not open in the other."""
    elsewhere = MemoryStore()
    second = FernetStore(elsewhere, KEY)
    await second.open()
    await second.put("cid:1", b"value")
    await swap(inner, "cid:1", await token(elsewhere, "cid:1"))
    assert await refusal(store, "cid:1") == (
        "the entry of key 'cid:1' was encrypted for another store with the same key"
    )


async def test_moved_to_another_namespace() -> None:
    """Two namespaces of one server with the same key: a row of one does not open in the other."""
    async with FakeAsyncRedis(server=FakeServer()) as client:
        one, other = (FernetStore(RedisStore(client, namespace=name), KEY) for name in "ab")
        for store in (one, other):
            await store.open()
            await store.put("k", b"value")
        await swap(other._inner, "k", await token(one._inner, "k"))
        with pytest.raises(DecryptionError, match="'k' was encrypted for another store"):
            await other.get("k")
        await one.close()
        await other.close()


async def test_check_entry_of_another_store(inner: MemoryStore, store: FernetStore) -> None:
    """The check entry of another store under the same keys opens, but its entries do not."""
    await store.put("cid:1", b"value")
    elsewhere = MemoryStore()
    await FernetStore(elsewhere, KEY).open()
    await swap(inner, CHECK, await token(elsewhere, CHECK))
    store = FernetStore(inner, KEY)
    await store.open()
    assert "for another store" in await refusal(store, "cid:1")


async def test_flipped_bits(inner: MemoryStore, store: FernetStore) -> None:
    """Each bit of each byte of a short token: refused, or it is a bit that stands for nothing.

    The last character before the padding of base64 may hold some that are not read.
    """
    await store.put("k", b"v")
    good = await token(inner, "k")
    harmless = []
    for place in range(len(good)):
        for bit in range(8):
            changed = good[place] ^ 1 << bit
            await swap(inner, "k", good[:place] + bytes([changed]) + good[place + 1 :])
            try:
                entry = await store.get("k")
            except DecryptionError as error:
                assert "'k'" in str(error)  # noqa: PT017
            else:
                assert entry
                assert entry.value == b"v"
                harmless.append(place)
    last = len(good.rstrip(b"=")) - 1
    assert set(harmless) <= {last}


async def test_truncated(inner: MemoryStore, store: FernetStore) -> None:
    """A token that was cut anywhere is refused; what is behind its padding stands for nothing."""
    await store.put("k", b"v")
    good = await token(inner, "k")
    for length in range(len(good.rstrip(b"="))):
        await swap(inner, "k", good[:length])
        assert "'k'" in await refusal(store, "k")
    await swap(inner, "k", good + b"more")
    assert await values(store) == {"k": b"v"}


async def test_cut_ciphertext(inner: MemoryStore, store: FernetStore) -> None:
    """A block taken out of the binary below the base64 is refused, wherever it is."""
    await store.put("k", b"v" * 40)
    raw = urlsafe_b64decode(await token(inner, "k"))
    for start in range(9, len(raw) - 16, 16):
        await swap(inner, "k", urlsafe_b64encode(raw[:start] + raw[start + 16 :]))
        assert "is not opened by any of the keys" in await refusal(store, "k")


@pytest.mark.parametrize(
    "inside", [b"", b"secret", b"\x01", b"\x01" + bytes(16), b"\x01" + bytes(18) + b"\xff\xff"]
)
async def test_foreign_tokens(inner: MemoryStore, store: FernetStore, inside: bytes) -> None:
    """Another program's Fernet tokens under the same key are no entries."""
    await swap(inner, "k", Fernet(KEY).encrypt(inside))
    assert await refusal(store, "k") in (
        "the entry of key 'k' was not written by a FernetStore",
        "the entry of key 'k' was encrypted for another store with the same key",
    )


async def test_name_that_is_no_text(inner: MemoryStore, store: FernetStore) -> None:
    """A name that is not UTF-8 is refused like any foreign token."""
    await swap(inner, "k", Fernet(KEY).encrypt(b"\x01" + bytes(16) + b"\x00\x01\xff"))
    assert "was not written by a FernetStore" in await refusal(store, "k")


async def test_other_keys_token(inner: MemoryStore, store: FernetStore) -> None:
    """An entry under a key that is not given is refused and named."""
    await swap(inner, "k", Fernet(NEW).encrypt(b"value"))
    assert await refusal(store, "k") == (
        "the entry of key 'k' is not opened by any of the keys: it is damaged, or encrypted under "
        "another key"
    )


async def test_newer_format(inner: MemoryStore, store: FernetStore) -> None:
    """A format to come is no damage but a reason to upgrade."""
    check = Fernet(KEY).decrypt(await token(inner, CHECK))
    await swap(inner, "k", Fernet(KEY).encrypt(b"\x02" + check[1:17] + b"\x00\x01kvalue"))
    assert await refusal(store, "k") == (
        "the entry of key 'k' has format 2, this version knows format 1: upgrade twitchvault"
    )


@pytest.mark.parametrize("value", [b"", b'{"schema":1}', b"\x80", b"gAAAA", b"plain"])
async def test_plaintext_is_refused(inner: MemoryStore, store: FernetStore, value: bytes) -> None:
    """What is not encrypted is refused, with the way to encrypt it."""
    await swap(inner, "cid:1", value)
    assert await refusal(store, "cid:1") == (
        "the entry of key 'cid:1' is not encrypted, and refused for that: if it was stored before "
        "encryption was turned on, 'await store.encrypt_existing()' encrypts it"
    )


async def test_old_entry_put_back(inner: MemoryStore, store: FernetStore) -> None:
    """Fernet cannot tell that an entry is older; a writer who knew the newer one is told."""
    await store.put("k", b"old")
    old = await token(inner, "k")
    newer = await store.put("k", b"new")
    await swap(inner, "k", old)
    entry = await store.get("k")
    assert entry
    assert entry.value == b"old"
    assert entry.version > newer
    with pytest.raises(VersionConflict):
        await store.put("k", b"newest", expect=newer)


async def test_unreadable_can_be_written_and_deleted(
    inner: MemoryStore, store: FernetStore
) -> None:
    """Only the user replaces or removes what does not open."""
    await swap(inner, "k", b"plain")
    assert await store.put("k", b"value")
    assert await store.get("k")
    await swap(inner, "k", b"plain")
    assert await store.delete("k") is True
    assert await store.get("k") is None


async def test_file_holds_no_plaintext(tmp_path: Path) -> None:
    """Neither the file nor its log holds a byte of a value, open or closed."""
    path = tmp_path / "tokens.db"
    store = FernetStore(SQLiteStore(path), KEY)
    await store.open()
    for number in range(50):
        await store.put(f"cid:{number}", b"canary-%d" % number * 20)
        if number % 3 == 0:
            await store.delete(f"cid:{number}")
    while_open = all_bytes(tmp_path)
    await store.close()
    closed = all_bytes(tmp_path)
    assert b"cid:1" in while_open
    assert b"cid:1" in closed
    assert b"canary" not in while_open + closed


async def test_damage_that_the_inner_store_finds(tmp_path: Path) -> None:
    """What the inner store cannot read stays its own error, beside readable entries."""
    path = tmp_path / "tokens.db"
    store = FernetStore(SQLiteStore(path), [KEY, NEW])
    await store.open()
    await store.put("bad", b"value")
    await store.put("good", b"value")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE entries SET value = 'x' WHERE key = ?", (b"bad",))
    with pytest.raises(CorruptRecord, match="'bad' is not a BLOB"):
        await store.get("bad")
    found = await values(store)
    assert found["good"] == b"value"
    assert isinstance(found["bad"], Unreadable)
    assert isinstance(found["bad"].error, CorruptRecord)
    for report in (await store.rotate(), await store.encrypt_existing()):
        assert report.left == ("bad",)
    await store.close()
