"""From plaintext to ciphertext, once; rotation, also under flows; a process without the keys."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet
from fakeredis import FakeAsyncRedis, FakeServer

from tests.environment import on_each_store
from twitchvault.errors import DecryptionError, StoreError
from twitchvault.stores import FernetStore, MemoryStore, RedisStore, SQLiteStore
from twitchvault.stores.base import Unreadable
from twitchvault.stores.fernet import EncryptionReport

from .makers import CHECK, KEY, NEW, WRONG, content, decrypts, name_of, opened, token, values

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.environment import Environment
    from twitchvault.stores import TokenStore

USERS = 250
OLD_NAME, NEW_NAME = name_of(KEY), name_of(NEW)


async def filled(store: TokenStore) -> dict[str, bytes]:
    """Put so many users into a store."""
    users = {f"cid:{number}": b'{"token":"%d"}' % number for number in range(USERS)}
    for key, value in users.items():
        await store.put(key, value)
    return users


@pytest.fixture
async def plain(inner: MemoryStore) -> dict[str, bytes]:
    """Users in plaintext."""
    return await filled(inner)


async def test_encrypt_existing(inner: MemoryStore, plain: dict[str, bytes]) -> None:
    """It encrypts all and leaves the store open; again, only what came in plaintext since then."""
    store = FernetStore(inner, [KEY, NEW])
    report = await store.encrypt_existing()
    assert (report.rewritten, report.left) == (USERS, ())
    assert report.by_key == {name_of(KEY): USERS + 1, name_of(NEW): 0}
    assert await values(store) == plain
    before = await content(inner)
    assert not any(b"token" in entry.value for entry in before.values())
    for again in (store, FernetStore(inner, KEY)):
        assert (await again.encrypt_existing()).rewritten == 0
        assert await values(again) == plain
    assert await content(inner) == before
    await inner.put("cid:late", b"{}")
    with pytest.raises(DecryptionError, match="encrypt_existing"):
        await store.get("cid:late")
    assert (await store.encrypt_existing()).rewritten == 1
    assert await values(store) == plain | {"cid:late": b"{}"}


async def test_two_at_once(inner: MemoryStore, plain: dict[str, bytes]) -> None:
    """Two processes that encrypt at the same time agree on one store."""
    stores = [FernetStore(inner, KEY) for _ in range(2)]
    reports = await asyncio.gather(*(store.encrypt_existing() for store in stores))
    assert sum(report.rewritten for report in reports) == USERS
    for store in stores:
        assert await values(store) == plain


async def test_cancelled_anywhere(inner: MemoryStore, plain: dict[str, bytes]) -> None:
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
            assert await values(await opened(inner)) == plain
        except DecryptionError as error:
            refused += 1
            assert str(error) == (  # noqa: PT017
                "encryption is not finished: call 'await store.encrypt_existing()' again"
            )
    assert refused
    assert await values(await opened(inner)) == plain


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
    inner: MemoryStore, plain: dict[str, bytes], foreign: bytes
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
    assert len(before) == len(plain)


async def test_refuses_entries_of_two_stores(inner: MemoryStore, store: FernetStore) -> None:
    """Without a check entry, entries of two stores cannot both be right."""
    await store.put("cid:1", b"value")
    elsewhere = MemoryStore()
    await (await opened(elsewhere)).put("cid:2", b"value")
    await inner.put("cid:2", await token(elsewhere, "cid:2"))
    await inner.delete(CHECK)
    with pytest.raises(DecryptionError, match="'cid:2' is encrypted already"):
        await FernetStore(inner, KEY).encrypt_existing()


async def test_damaged_entries_are_left(inner: MemoryStore, plain: dict[str, bytes]) -> None:
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
    assert len(found) == len(plain)


async def test_plaintext_keeps_coming(inner: MemoryStore, plain: dict[str, bytes]) -> None:
    """While a program goes on writing plaintext it gives up in the end, and says what to do."""
    store = FernetStore(inner, KEY)

    async def write() -> None:
        while not encrypting.done():
            for key, value in plain.items():
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
    assert await values(store) == plain


@pytest.fixture
async def users(store: FernetStore) -> dict[str, bytes]:
    """Users under the old key."""
    return await filled(store)


async def test_rotate(inner: MemoryStore, users: dict[str, bytes]) -> None:
    """All go under the first key, then the old one can be dropped; again, nothing is written."""
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


async def test_entries_that_are_left(inner: MemoryStore, users: dict[str, bytes]) -> None:
    """They are named and not touched; those that no key decrypts are no reason to keep the old one.

    One that was moved is: without the old key nobody could say what it is.
    """
    store = await opened(inner, NEW, KEY)
    bad = [f"bad:{number}" for number in range(7)]
    for key in bad:
        await inner.put(key, Fernet(WRONG).encrypt(key.encode()))
    before = {key: await inner.get(key) for key in bad}
    moved = await inner.put("cid:moved", await token(inner, "cid:1"))
    report = await store.rotate()
    assert (report.rewritten, report.left) == (len(users) + 1, (*bad, "cid:moved"))
    assert f"Keep the old keys: 1 under {OLD_NAME}." in str(report)
    assert not report.old_keys_unused
    await inner.delete("cid:moved", expect=moved)
    report = await store.rotate()
    assert report.left == tuple(bad)
    assert report.old_keys_unused
    assert {key: await inner.get(key) for key in bad} == before
    assert str(report).endswith(
        " 7 left as they are, because no key decrypts them or they belong elsewhere, such as "
        "'bad:0'."
    )


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


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
async def test_rotation_under_flows(env: Environment) -> None:
    """Two flows refresh while the store is rotated: one exchange each, no user lost."""

    def store(*keys: str) -> FernetStore:
        return FernetStore(env.storage.store(), keys)

    async with env.device(store=store(KEY)) as flow:
        users = [(await env.login(flow, env.new_user())).user_id for _ in range(12)]
    stores = [store(NEW, KEY) for _ in range(2)]
    async with env.device(store=stores[0]) as one, env.device(store=stores[1]) as two:
        refreshes = [flow.get_user_by_id(user).refresh() for user in users for flow in (one, two)]
        refreshing = asyncio.gather(*refreshes)
        reports = await asyncio.gather(*(store.rotate() for store in stores))
        await refreshing
        assert all(report.old_keys_unused for report in reports)
        counts = env.twitch.counts
        assert (counts.exchanges, counts.replays) == (len(users), 0)
        await asyncio.gather(one.sync(), two.sync())
        assert dict(one.tokens) == dict(two.tokens)
    async with env.device(store=store(NEW)) as flow:
        assert set(flow.tokens) == set(users)
        assert all(env.twitch.is_live(flow.tokens[user][0]) for user in users)


REFUSED = "this store is encrypted: open it through FernetStore"


async def contents(store: TokenStore) -> dict[str, tuple[int, bytes]]:
    """All that a store holds, as it lies."""
    await store.open()
    return {entry.key: (entry.version, entry.value) async for entry in store.scan()}


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
async def test_a_worker_that_was_started_without_its_key(
    env: Environment, kind: str, tmp_path: Path
) -> None:
    """`authorize` refuses the store, and not a byte of it changes."""
    memory, client = MemoryStore(), FakeAsyncRedis(server=FakeServer())
    inner: Callable[[], TokenStore] = {
        "memory": lambda: memory,
        "sqlite": lambda: SQLiteStore(tmp_path / "encrypted.db"),
        "redis": lambda: RedisStore(client),
    }[kind]
    with_keys, plain = FernetStore(inner(), KEY), inner()
    async with env.app(store=with_keys) as app:
        await env.login(app)
    before = await contents(plain)
    worker = env.app(env.confidential, store=plain)
    for _ in range(2):
        with pytest.raises(DecryptionError, match=REFUSED):
            await worker.authorize()
    assert await contents(plain) == before
    for store in (with_keys, plain):
        await store.close()
    await client.aclose()


@on_each_store
async def test_a_worker_that_was_open_before_the_store_was_encrypted(env: Environment) -> None:
    """It writes no login in plaintext, and sends no token that an encrypted record may have spent.

    What it says of the encrypted users is that they are encrypted, not that they have to sign in.
    """
    pair, new = env.pair(expired=True), env.pair(user=env.bob)
    with_keys = FernetStore(env.storage.store(), KEY)
    worker = env.app()
    await worker.authorize()
    async with env.app(store=with_keys) as other:
        await other.add_user(pair.access_token, pair.refresh_token)
        await worker.sync()
        assert "is encrypted" in str(worker.damaged[pair.user_id])
        assert "login" not in str(worker.damaged[pair.user_id])
        asked, before = env.asked(), await env.storage.values()
        with pytest.raises(DecryptionError, match="so it was not sent"):
            await worker.refresh_token(pair.refresh_token)
        with pytest.raises(DecryptionError, match="so it was not sent"):
            await worker.add_user(pair.access_token, pair.refresh_token)
        assert env.log("token", since=asked) == []
        for user_id in (pair.user_id, new.user_id):
            worker.add_token(user_id, new.access_token, new.refresh_token)
            with pytest.raises(DecryptionError, match=REFUSED):
                await worker.flush()
        with pytest.raises(DecryptionError, match=REFUSED):
            await worker.add_user(new.access_token, new.refresh_token)
        assert await env.storage.values() == before
        assert (await other.get_user_by_id(pair.user_id).get_user()).login == "alice"
        with pytest.raises(DecryptionError, match=REFUSED):
            await worker.close()
    await with_keys.close()
    assert env.twitch.counts.replays == 0


async def test_a_record_of_a_lost_key(env: Environment) -> None:
    """It may remember any token as spent: none from outside is sent until that user is removed."""
    spent, new = env.pair(expired=True), env.pair(user=env.bob, expired=True)
    async with env.app(store=FernetStore(env.storage.store(), KEY)) as app:
        await app.add_user(spent.access_token, spent.refresh_token)
    value = await env.storage.read(env.key(env.alice))
    assert value is not None
    await env.storage.write(env.key(env.alice), value[:-8] + b"AAAAAAA=")
    async with env.app(store=FernetStore(env.storage.store(), [NEW, KEY])) as app:
        for pair in (spent, new):
            with pytest.raises(DecryptionError, match=f"the record of user '{spent.user_id}'"):
                await app.add_user(pair.access_token, pair.refresh_token)
        app.remove_token(spent.user_id)
        await app.add_user(new.access_token, new.refresh_token)
        assert set(app.tokens) == {new.user_id}
    assert env.twitch.counts.replays == 0
