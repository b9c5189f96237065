"""The store fails at the worst moment: the new pair is shown, kept, and brought home later."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

from twitchvault import AuthFailure, MemoryStore, StoreError, StoreUnavailable
from twitchvault.stores.base import Change
from twitchvault.stores.sqlite import SQLiteStore
from twitchvault.vault import ledger
from twitchvault.vault.events import Events
from twitchvault.vault.mirror import Mirror
from twitchvault.vault.record import Record, encode

from .world import Broken, Held, OwnStore, WatchedStore, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from twitchvault import App
    from twitchvault.stores.base import Entry
    from twitchvault.testing.fake import Pair

    from .world import World

TOKEN = "token:refresh_token"


async def vaulted(world: World, app: App) -> Pair:
    """A pair that the vault has got by itself."""
    pair = world.issue()
    await app.add_token(pair.user_id, pair.access_token, pair.refresh_token).refresh()
    await app.flush()
    own = world.twitch.live_pair(world.client, pair.user_id)
    assert own is not None
    return own


@pytest.fixture(params=[OwnStore, WatchedStore], ids=["scanned", "watched"])
def own_store(request: pytest.FixtureRequest, memory: MemoryStore) -> OwnStore:
    """A store of a user's own, which can be watched or not."""
    made = request.param(memory)
    assert isinstance(made, OwnStore)
    return made


@pytest.mark.parametrize("operations", [("put",), ("get",), ("get", "put", "delete", "scan")])
async def test_between_exchange_and_write(
    world: World, own_store: OwnStore, operations: tuple[str, ...]
) -> None:
    """All callers get the new pair at once; `flush()` says what is wrong, until it is in."""
    app = world.app(own_store)
    await app.authorize()
    pair = await vaulted(world, app)
    user = app.get_user_by_id(pair.user_id)
    gate = world.twitch.hold(TOKEN, when="after")
    calls = [asyncio.create_task(user.refresh()) for _ in range(20)]
    await gate.reached()
    own_store.before = broken = Broken(*operations)
    gate.release()
    async with asyncio.timeout(5):
        tokens = await asyncio.gather(*calls)
    live = world.live(pair.user_id)
    assert {(token.access_token, token.refresh_token) for token in tokens} == {live}
    assert app.get_token(pair.user_id) == app.tokens[pair.user_id] == live
    assert (await user.get_user()).id == pair.user_id
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await app.flush()
    broken.down = False
    await app.flush()
    assert await world.stored(own_store.inner, pair.user_id) == live
    assert app.tokens[pair.user_id] == live
    await app.close()


async def test_by_itself(world: World, own_store: OwnStore) -> None:
    """When the store is back, the pair gets in without anybody asking."""
    app = world.app(own_store)
    await app.authorize()
    pair = await vaulted(world, app)
    gate, call = await world.committed(app.get_user_by_id(pair.user_id))
    own_store.before = broken = Broken("put")
    gate.release()
    await call
    broken.down = False
    await until(lambda: _same(world, own_store, pair.user_id))
    await app.close()


async def _same(world: World, store: OwnStore, user_id: str) -> bool:
    return await world.stored(store.inner, user_id) == world.live(user_id)


async def test_close_reports_and_authorize_tries_on(world: World, own_store: OwnStore) -> None:
    """`close()` raises while the pair is not in; a later `authorize()` brings it in."""
    app = world.app(own_store)
    await app.authorize()
    pair = await vaulted(world, app)
    gate, call = await world.committed(app.get_user_by_id(pair.user_id))
    own_store.before = broken = Broken("put")
    closing = asyncio.create_task(app.close())
    gate.release()
    await call
    with pytest.raises(StoreError):
        await closing
    broken.down = False
    await app.authorize()
    await app.flush()
    assert await _same(world, own_store, pair.user_id)
    await app.close()


async def test_clear_while_the_store_is_down(world: World, own_store: OwnStore) -> None:
    """`clear()` with a pair that is not in yet: it is still brought home, with no more calls."""
    app = world.app(own_store)
    await app.authorize()
    pair = await vaulted(world, app)
    gate, call = await world.committed(app.get_user_by_id(pair.user_id))
    own_store.before = broken = Broken("get", "put")
    gate.release()
    await call
    app.clear()
    broken.down = False
    await until(lambda: _same(world, own_store, pair.user_id))
    await app.authorize()
    assert app.tokens[pair.user_id] == world.live(pair.user_id)
    await app.close()


async def test_down_before_the_exchange(world: World, own_store: OwnStore) -> None:
    """A store that cannot be written spends no grant: the lease comes first."""
    app = world.app(own_store)
    await app.authorize()
    pair = await vaulted(world, app)
    user = app.get_user_by_id(pair.user_id)
    before = world.sent()
    own_store.before = broken = Broken("put")
    with pytest.raises(StoreUnavailable):
        await user.refresh()
    assert world.sent() == before
    broken.down = False
    await user.refresh()
    assert await world.stored(own_store.inner, pair.user_id) == world.live(pair.user_id)
    await app.close()


async def test_a_secret_in_a_stores_error(world: World, own_store: OwnStore) -> None:
    """What a store of a user's own raises is mapped, and its text goes nowhere."""
    app = world.app(own_store)
    await app.authorize()

    async def leak(operation: str, _key: str) -> None:
        if operation == "put":
            raise RuntimeError("canary-5ecret")

    own_store.before = leak
    pair = world.issue()
    app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    with pytest.raises(StoreUnavailable) as caught:
        await app.flush()
    error: BaseException | None = caught.value
    while error is not None:
        assert "canary" not in repr(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    with pytest.raises(StoreUnavailable):
        await app.close()


async def test_a_login_of_which_only_half_is_stored(world: World, memory: MemoryStore) -> None:
    """`add_user` is durable when it returns: it raises while the user's own record is not in."""
    store = WatchedStore(memory)
    app = world.app(store)
    await app.authorize()
    pair = world.issue_expired()
    store.before = broken = Broken("put", key=world.key(""))
    with pytest.raises(StoreError):
        await app.add_user(pair.access_token, pair.refresh_token)
    broken.down = False
    await app.add_user(pair.access_token, pair.refresh_token)
    assert await world.stored(memory, pair.user_id) == world.live(pair.user_id)
    assert world.twitch.counts.replays == 0
    await app.close()


async def test_sqlite_locked_by_another_program(world: World, tmp_path: Path) -> None:
    """A file that somebody keeps locked: the same, and nothing waits longer than it has to."""
    path = tmp_path / "vault.db"
    store = SQLiteStore(path, busy_timeout=0.2)
    await store.open()
    app = world.app(store)
    await app.authorize()
    pair = await vaulted(world, app)
    user = app.get_user_by_id(pair.user_id)
    gate, call = await world.committed(user)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        gate.release()
        started = time.monotonic()
        token = await call
        assert time.monotonic() - started < 3
        assert world.live(pair.user_id) == (token.access_token, token.refresh_token)
        assert app.tokens[pair.user_id] == world.live(pair.user_id)
        with pytest.raises(StoreUnavailable):
            await app.flush()
        other.execute("ROLLBACK")
    other.close()
    await app.flush()
    assert await world.stored(store, pair.user_id) == world.live(pair.user_id)
    await app.close()
    await store.close()


async def test_a_store_that_hangs(
    world: World, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that does not answer is StoreUnavailable in bounded time, not a hanging caller."""
    monkeypatch.setattr(ledger, "STORE_TIMEOUT", 0.1)
    store = OwnStore(memory)
    app = world.app(store)
    await app.authorize()
    pair = await vaulted(world, app)
    store.before = held = Held("get")
    async with asyncio.timeout(2):
        with pytest.raises(StoreUnavailable):
            await app.get_user_by_id(pair.user_id).refresh()
    held.released.set()
    await app.close()


async def test_a_scan_that_hangs(
    world: World, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for reading the whole store: in `authorize()` and in `sync()`."""
    monkeypatch.setattr(ledger, "STORE_TIMEOUT", 0.1)
    store = OwnStore(memory)
    store.before = Held("scan")
    app = world.app(store)
    async with asyncio.timeout(2):
        with pytest.raises(StoreUnavailable):
            await app.authorize()
    await app.authorize()
    store.before = Held("scan")
    async with asyncio.timeout(2):
        with pytest.raises(StoreUnavailable):
            await app.sync()
    await app.close()


async def test_an_outage_longer_than_a_lease(world: World, memory: MemoryStore) -> None:
    """The store is away for all for longer than lease_ttl: nobody could see the lease stand still.

    So nobody may take it over the moment the store is back: its owner lives and holds the new pair.
    """
    ttl = 0.4
    stores = [WatchedStore(memory), WatchedStore(memory)]
    owner, other = (world.app(store, lease_ttl=ttl) for store in stores)
    await owner.authorize()
    await other.authorize()
    pair = await vaulted(world, owner)
    gate, call = await world.committed(owner.get_user_by_id(pair.user_id))
    broken = Broken("get", "put", "delete", "scan")
    for store in stores:
        store.before = broken
    gate.release()
    await call
    with pytest.raises(StoreUnavailable):
        await owner.flush()
    # Only the owner's own pauses between two attempts grow meanwhile.
    await asyncio.sleep(2.5 * ttl)
    broken.down = False
    await other.get_user_by_id(pair.user_id).get_user()
    await owner.flush()
    assert world.twitch.counts.replays == 0
    assert await world.stored(memory, pair.user_id) == world.live(pair.user_id)
    await owner.close()
    await other.close()


async def test_a_slow_write_and_a_faster_thief(confidential: World, memory: MemoryStore) -> None:
    """The owner's write takes longer than lease_ttl: a loser marks needs_login, it heals."""
    slow = WatchedStore(memory)
    owner = confidential.app(slow, lease_ttl=0.4)
    loser = confidential.app(memory, lease_ttl=0.4)
    await owner.authorize()
    await loser.authorize()
    pair = await vaulted(confidential, owner)
    stale = loser.get_user_by_id(pair.user_id)
    gate, call = await confidential.committed(owner.get_user_by_id(pair.user_id))
    slow.before = held = Held("put")
    gate.release()
    await held.reached.wait()
    with pytest.raises(AuthFailure):
        await stale.get_user()
    record = await confidential.record(memory, pair.user_id)
    assert record is not None
    assert record.state == "needs_login"
    held.released.set()
    token = await call
    record = await confidential.record(memory, pair.user_id)
    assert record is not None
    assert (record.state, record.lease, record.reason) == ("live", None, "")
    assert (token.access_token, token.refresh_token) == confidential.live(pair.user_id)
    assert tuple(record.pair) == confidential.live(pair.user_id)
    assert (await stale.get_user()).id == pair.user_id
    await owner.close()
    await loser.close()


async def test_right_after_the_write(world: World, memory: MemoryStore) -> None:
    """The new pair is in, and then the store fails: its callers get it all the same."""
    store = WatchedStore(memory)
    app = world.app(store)
    await app.authorize()
    pair = await vaulted(world, app)
    gate, call = await world.committed(app.get_user_by_id(pair.user_id))
    broken = Broken("get")
    broken.down = False

    async def fail_after_the_write(operation: str, key: str) -> None:
        await broken(operation, key)
        broken.down = broken.down or operation == "put"

    store.before = fail_after_the_write
    gate.release()
    token = await call
    assert (token.access_token, token.refresh_token) == world.live(pair.user_id)
    assert await world.stored(memory, pair.user_id) == world.live(pair.user_id)
    await app.close()


class Breaking(MemoryStore):
    """Its scan breaks at the end."""

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """All entries, and then an error."""
        async for entry in super().scan(prefix):
            yield entry
        msg = "gone"
        raise StoreUnavailable(msg)


@pytest.mark.parametrize("quiet", [True, False])
async def test_a_scan_that_breaks(quiet: bool) -> None:
    """What it had come across shows, and nobody is taken for removed."""
    store, mirror = Breaking(), Mirror("client", Events())
    scanning = ledger.Ledger(store, "client", mirror)
    mirror.apply([Change("client:old", 1, encode(Record("A0", "R0")))])
    await store.open()
    await store.put("client:new", encode(Record("A1", "R1")))
    with pytest.raises(StoreUnavailable, match="gone"):
        await scanning.load(quiet=quiet)
    assert dict(mirror.tokens) == {"old": ("A0", "R0"), "new": ("A1", "R1")}
