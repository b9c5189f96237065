"""A process without the keys: it neither reads nor writes what others encrypt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from tests.environment import on_each_store
from twitchvault import DecryptionError, FernetStore
from twitchvault.stores import MemoryStore, RedisStore, SQLiteStore

from .makers import KEY, NEW

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.environment import Environment
    from twitchvault.stores import TokenStore

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
