"""What is inside a ciphertext, that it is refused elsewhere, and feeds over feeds."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet
from fakeredis import FakeAsyncRedis, FakeServer

from tests.own_stores import OwnStore
from twitchvault.errors import CorruptRecord, DecryptionError, StoreError
from twitchvault.stores import Change, FernetStore, MemoryStore, RedisStore, SQLiteStore
from twitchvault.stores.base import Unreadable, Watchable

from .makers import CHECK, KEY, NEW, content, opened, token, values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from twitchvault.stores import Entry, Feed


PINNED_CHECK = (
    b"gAAAAABlU_EAAAAAAAAAAAAAAAAAAAAAAF9aEdDyQVzrETb8EMyEcsoKWypBFpEjCj_wYtEkmfGx"
    b"tqx8bI42liNBZld8BoSVYI0fO_2CpGJYnxmxJLDAgUToqei_hyCAs7td4MwuOgCJ"
)
PINNED = (
    b"gAAAAABlU_EAAAAAAAAAAAAAAAAAAAAAAF9aEdDyQVzrETb8EMyEcsomq-NpgAnCt2tRoJbgmFWh"
    b"p_D5f1Pfboq36EoM8Kn-Fr9lkquElOPwvRvD42An3IQsJO-koW-o9bhNsLEXusDv"
)
MOVED = "was encrypted for another key or store, and moved here"
NO_KEY = "is not decrypted by any of the keys: it is damaged, or encrypted under another key"
FOREIGN = "was not written by a FernetStore"
NEWER = "has format 2, this version knows format 1: upgrade twitchvault"
PLAIN = (
    "is not encrypted, and refused for that: if it was stored before encryption was turned on, "
    "'await store.encrypt_existing()' encrypts it"
)


async def refusal(inner: MemoryStore, store: FernetStore, key: str) -> str:
    """The text of the error that `get` and `scan` give alike; nothing is rewritten."""
    before = await content(inner)
    with pytest.raises((DecryptionError, CorruptRecord)) as caught:
        await store.get(key)
    value = (await values(store))[key]
    assert isinstance(value, Unreadable)
    assert type(value.error) is type(caught.value)
    assert str(value.error) == str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert await content(inner) == before
    return str(caught.value).removeprefix(f"the entry of key {key!r} ")


async def test_format_is_pinned(inner: MemoryStore, store: FernetStore) -> None:
    """Format byte, store id, length and name of the key, value; the token as Fernet makes it."""
    await store.put("cid:é", b"\x00value\xff")
    plain = Fernet(KEY).decrypt(await token(inner, "cid:é"))
    check = Fernet(KEY).decrypt(await token(inner, CHECK))
    assert check[:1] == plain[:1] == b"\x01"
    assert check[1:17] == plain[1:17] != bytes(16)
    assert check[17:] == b"\x00\x12twitchvault/fernetready"
    assert plain[17:] == b"\x00\x06cid:\xc3\xa9\x00value\xff"


async def test_old_entries_are_read(inner: MemoryStore) -> None:
    """Ciphertexts that an earlier version wrote are read for ever."""
    await inner.put(CHECK, PINNED_CHECK)
    await inner.put("CLIENT_ID:1234", PINNED)
    assert await values(await opened(inner)) == {"CLIENT_ID:1234": b'{"schema":1}'}


async def test_check_entry_is_hidden(inner: MemoryStore, store: FernetStore) -> None:
    """It is absent for callers, and cannot be written or deleted."""
    assert set(await content(inner)) == {CHECK}
    assert await content(store) == {}
    assert await store.get(CHECK) is None
    for call in (store.put(CHECK, b""), store.delete(CHECK)):
        with pytest.raises(ValueError, match="must not be") as caught:
            await call
        assert str(caught.value) == (
            f"'key' must not be '{CHECK}': a FernetStore keeps its key check entry there"
        )


@pytest.fixture
async def tokens(inner: MemoryStore, store: FernetStore) -> dict[str, bytes]:
    """Ciphertexts of this store and of another one, and how those of this one begin."""
    await store.put("cid:1", b"value")
    elsewhere = MemoryStore()
    await (await opened(elsewhere)).put("cid:2", b"value")
    return {
        "here": await token(inner, "cid:1"),
        "elsewhere": await token(elsewhere, "cid:2"),
        "store id": Fernet(KEY).decrypt(await token(inner, CHECK))[1:17],
    }


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (lambda tokens: tokens["here"], MOVED),
        (lambda tokens: tokens["elsewhere"], MOVED),
        (lambda _: Fernet(NEW).encrypt(b"value"), NO_KEY),
        (lambda tokens: Fernet(KEY).encrypt(b"\x02" + tokens["store id"] + b"\x00\x01k"), NEWER),
        *(
            (lambda _, inside=inside: Fernet(KEY).encrypt(inside), FOREIGN)
            for inside in (b"", b"secret", b"\x01", b"\x01" + bytes(16))
        ),
        (lambda _: Fernet(KEY).encrypt(b"\x01" + bytes(16) + b"\x00\x01\xff"), FOREIGN),
        (lambda _: Fernet(KEY).encrypt(b"\x01" + bytes(18) + b"\xff\xff"), MOVED),
        *(
            (lambda _, plain=plain: plain, PLAIN)
            for plain in (b"", b'{"schema":1}', b"\x80", b"gAAAA", b"plain")
        ),
    ],
)
async def test_what_does_not_belong_there(
    inner: MemoryStore,
    store: FernetStore,
    tokens: dict[str, bytes],
    value: Callable[[dict[str, bytes]], bytes],
    why: str,
) -> None:
    """Another key's row, another store's, another program's and plaintext are refused and named."""
    await inner.put("cid:2", value(tokens))
    assert await refusal(inner, store, "cid:2") == why


async def test_check_entry_of_another_store(inner: MemoryStore, store: FernetStore) -> None:
    """The check entry of another store under the same keys is accepted, but no entry is."""
    await store.put("cid:1", b"value")
    elsewhere = MemoryStore()
    await opened(elsewhere)
    await inner.put(CHECK, await token(elsewhere, CHECK))
    assert await refusal(inner, await opened(inner), "cid:1") == MOVED


async def test_flipped_bits(inner: MemoryStore, store: FernetStore) -> None:
    """Each bit of each byte of a short token: refused, or it is a bit that stands for nothing.

    The last character before the padding of base64 may hold some that are not read.
    """
    await store.put("k", b"v")
    good = await token(inner, "k")
    harmless = set()
    for place in range(len(good)):
        for bit in range(8):
            changed = good[place] ^ 1 << bit
            await inner.put("k", good[:place] + bytes([changed]) + good[place + 1 :])
            value = (await values(store))["k"]
            if not isinstance(value, Unreadable):
                assert value == b"v"
                harmless.add(place)
    assert harmless <= {len(good.rstrip(b"=")) - 1}


async def test_damage_that_the_inner_store_finds(tmp_path: Path) -> None:
    """What the inner store cannot read stays its own error, beside readable entries."""
    path = tmp_path / "tokens.db"
    store = await opened(SQLiteStore(path), KEY, NEW)
    await store.put("bad", b"value")
    await store.put("good", b"value")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE entries SET value = 'x' WHERE key = ?", (b"bad",))
    with pytest.raises(CorruptRecord, match="'bad'"):
        await store.get("bad")
    found = await values(store)
    assert found["good"] == b"value"
    assert isinstance(found["bad"], Unreadable)
    assert isinstance(found["bad"].error, CorruptRecord)
    for report in (await store.rotate(), await store.encrypt_existing()):
        assert report.left == ("bad",)
    await store.close()


MANY = 10_000
"""So many that decrypting them takes longer than the loop may be held."""
SOME = 1_000
HELD = 0.05
"""Seconds of this thread's own work for which the loop may be held."""


def watchable(store: FernetStore) -> Watchable:
    """The store as one that can be watched."""
    assert isinstance(store, Watchable)
    return store


async def test_abilities_of_the_inner_store(tmp_path: Path, store: FernetStore) -> None:
    """It can be watched, and pushes changes, if the store inside does."""
    assert isinstance(store, Watchable)
    assert store.pushes_changes is True
    assert not isinstance(FernetStore(OwnStore(), KEY), Watchable)
    file = FernetStore(SQLiteStore(tmp_path / "tokens.db"), KEY)
    assert file.pushes_changes is False
    with pytest.raises(StoreError, match="not open yet"):
        async with watchable(file).watch():
            pass


async def test_losses_of_the_inner_feed_are_reported(store: FernetStore) -> None:
    """A loss that the inner feed tells of reaches the listener."""
    async with watchable(store).watch() as feed:
        assert not hasattr(feed, "on_loss")
    lost = asyncio.Event()
    async with FakeAsyncRedis(server=FakeServer()) as client:
        redis = await opened(RedisStore(client))
        async with watchable(redis).watch() as feed, asyncio.timeout(20):
            getattr(feed, "on_loss")(lost.set)  # noqa: B009 - not every feed has it
            reading = asyncio.create_task(feed.wait())
            await client.flushall()
            await redis.put("key", b"value")
            await lost.wait()
            reading.cancel()
            await asyncio.wait({reading})
        await redis.close()


async def test_no_feed_shows_the_check_entry(inner: MemoryStore, store: FernetStore) -> None:
    """No feed tells of the check entry, and `wait` does not return for it."""
    async with watchable(store).watch() as feed:
        await inner.put(CHECK, await token(inner, CHECK))
        assert feed.drain() == await feed.catch_up() == []
        waiting = asyncio.create_task(feed.wait())
        await inner.put(CHECK, await token(inner, CHECK))
        assert not waiting.done()
        version = await store.put("key", b"value")
        assert await waiting == [Change("key", version, b"value")]


async def test_unreadable_changes(inner: MemoryStore, store: FernetStore) -> None:
    """What cannot be decrypted is handed out as such, in its place, and never as deleted."""
    async with watchable(store).watch() as feed:
        await store.put("good", b"value")
        await inner.put("plain", b"plain")
        await inner.put("moved", await token(inner, "good"))
        changes = {change.key: change.value for change in feed.drain()}
    assert changes.pop("good") == b"value"
    assert set(changes) == {"plain", "moved"}
    for key, value in changes.items():
        assert isinstance(value, Unreadable)
        assert isinstance(value.error, DecryptionError)
        assert repr(key) in str(value.error)


async def test_feed_follows_a_rotation(inner: MemoryStore) -> None:
    """A feed that was entered before a rotation decrypts what was written under the new key."""
    given = [KEY]
    store = FernetStore(inner, lambda: list(given))
    await store.open()
    async with watchable(store).watch() as feed:
        await store.put("key", b"value")
        given[:] = [NEW, KEY]
        await store.rotate()
        assert [(c.key, c.value) for c in await feed.catch_up()] == [("key", b"value")]


async def longest_hold(work: Coroutine[None, None, object]) -> float:
    """The longest time for which the loop's thread worked between two turns of the loop."""
    longest, before = 0.0, time.thread_time()
    task = asyncio.create_task(work)
    while not task.done():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, before = max(longest, now - before), now
    await task
    return longest


@pytest.fixture
async def feed(request: pytest.FixtureRequest, store: FernetStore) -> AsyncIterator[Feed]:
    """A feed with as many changes that nobody has taken yet."""
    async with watchable(store).watch() as feed:
        await asyncio.gather(*(store.put(f"cid:{n}", b"%200d" % n) for n in range(request.param)))
        gc.collect()
        gc.freeze()  # what all other tests have left in memory is not what holds the loop here
        yield feed
        gc.unfreeze()


@pytest.mark.parametrize("feed", [MANY], indirect=True)
@pytest.mark.parametrize("method", ["wait", "catch_up", "scan"])
async def test_many_entries_do_not_hold_the_loop(
    store: FernetStore, feed: Feed, method: str
) -> None:
    """Many entries at once are decrypted little by little, and come whole."""
    found: list[Change | Entry] = []

    async def read() -> None:
        found.extend([e async for e in store.scan()] if method == "scan" else await take())

    take = feed.catch_up if method == "catch_up" else feed.wait
    assert await longest_hold(read()) < HELD
    assert {each.key: each.value for each in found} == {
        f"cid:{n}": b"%200d" % n for n in range(MANY)
    }


@pytest.mark.parametrize("feed", [SOME], indirect=True)
@pytest.mark.parametrize("turns", [1, 2, 5, 8])
async def test_cancelled_wait_loses_nothing(feed: Feed, turns: int) -> None:
    """What a wait that is cancelled while it decrypts had taken, the next call gives."""
    waiting = asyncio.create_task(feed.wait())
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    changes = feed.drain()
    assert await feed.catch_up() == []
    assert {change.key for change in changes} == {f"cid:{n}" for n in range(SOME)}
