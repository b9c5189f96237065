"""`sync()`, `flush()`, several flows on one store, and stores of the user's own."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from tests.own_stores import DeniedError, OwnStore
from tests.world import GARBAGE, said, until, within
from twitchvault import (
    CorruptRecord,
    DecryptionError,
    MemoryStore,
    SQLiteStore,
    StoreError,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.world import World
    from twitchvault import Entry


async def test_sync_shows_what_was_committed(world: World) -> None:
    """After `sync()` the views hold all that any process had committed before."""
    async with world.device() as one, world.device() as two:
        for number in range(20):
            one.add_token(str(number), "a", "r")
            await one.flush()
            await two.sync()
            assert str(number) in dict(two.tokens)
        one.remove_token("3")
        await one.flush()
        await two.sync()
        assert "3" not in dict(two.tokens)


async def test_sync_and_flush_need_an_open_flow(world: World) -> None:
    """Before `authorize()` both say what to do; nothing to write is nothing to complain about."""
    flow = world.device()
    await flow.flush()
    with pytest.raises(StoreError, match=r"authorize\(\)"):
        await flow.sync()
    flow.add_token("1", "a", "r")
    with pytest.raises(StoreError, match=r"authorize\(\)"):
        await within(flow.flush())
    await flow.authorize()
    await flow.flush()
    await flow.sync()


async def test_a_locked_file(small: World, tmp_path: Path) -> None:
    """SQLite locked by another program: `flush` raises, the change shows, and gets in later."""
    path = tmp_path / "locked.db"
    async with small.device(store=SQLiteStore(path, busy_timeout=0.05)) as flow:
        lock = sqlite3.connect(path, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        flow.add_token("1", "access-canary", "refresh-canary")
        with pytest.raises(StoreUnavailable, match="locked") as caught:
            await flow.flush()
        assert "canary" not in said(caught.value)
        assert flow.get_token("1") == ("access-canary", "refresh-canary")
        with pytest.raises(StoreUnavailable):
            await flow.flush()
        lock.execute("ROLLBACK")
        lock.close()
        await flow.flush()
    async with small.device(store=SQLiteStore(path)) as flow:
        assert flow.get_token("1") == ("access-canary", "refresh-canary")


async def test_a_failed_write_is_repeated_by_itself(small: World) -> None:
    """Without anybody asking, the write goes out again until it succeeds."""
    store = OwnStore()
    async with small.device(store=store) as flow:
        store.broken = OSError("connect to db://user:hunter2@host")
        flow.add_token("1", "a", "r")
        await until(lambda: store.calls["put"] >= 3)
        assert await store.inner.get(small.key("1")) is None
        assert flow.tokens["1"] == ("a", "r")
        store.broken = None
        await until(lambda: store.inner.get(small.key("1")))


async def test_flush_reports_and_keeps(small: World) -> None:
    """Each `flush()` raises what failed, as a StoreError without the driver's text."""
    store = OwnStore()
    async with small.device(store=store) as flow:
        flow.add_token("0", "a", "r")
        await flow.flush()
        store.broken = OSError("connect to db://user:hunter2@host")
        flow.add_token("1", "a", "r")
        flow.remove_token("0")
        for _ in range(2):
            with pytest.raises(StoreError, match="OSError") as caught:
                await within(flow.flush())
            assert "hunter2" not in said(caught.value)
        assert set(flow.tokens) == {"1", small.client.client_id}
        store.broken = None
        await flow.flush()
        assert await store.inner.get(small.key("1")) is not None
        # What stays of a user who was removed holds no token.
        left = await store.inner.get(small.key("0"))
        assert left is None or b'"a"' not in left.value


async def test_add_user_raises_what_the_store_raises(small: World) -> None:
    """`add_user` is durable on return, so it fails if the store does; the pair stays queued."""
    store = OwnStore()
    async with small.device(store=store) as flow:
        store.broken = OSError("disk full")
        pair = small.pair()
        with pytest.raises(StoreError):
            await within(flow.add_user(pair.access_token, pair.refresh_token))
        store.broken = None
        await flow.flush()
        assert flow.get_token(small.alice.user_id) == (pair.access_token, pair.refresh_token)
        assert await store.inner.get(small.key(small.alice)) is not None


async def test_an_error_class_of_the_users_own(small: World) -> None:
    """A store may raise a StoreError of its own making: that is what the caller gets."""
    store = OwnStore()
    async with small.device(store=store) as flow:
        store.broken = DeniedError("db1", 5432)
        flow.add_token("1", "a", "r")
        with pytest.raises(StoreUnavailable, match="db1:5432 denies"):
            await within(flow.flush())
        store.broken = None


async def test_a_store_that_cannot_be_watched(small: World) -> None:
    """It is scanned every second: what others did shows in about that time, at once by `sync()`."""
    one, two = (small.device(store=OwnStore(small.place.store())) for _ in range(2))
    async with one, two:
        one.add_token("1", "a", "r")
        await one.flush()
        await two.sync()
        assert "1" in two.tokens
        one.add_token("2", "b", "r")
        one.remove_token("1")
        await one.flush()
        await until(lambda: "2" in two.tokens and "1" not in two.tokens, 5)
        pair = small.pair()
        user = await one.add_user(pair.access_token, pair.refresh_token)
        await two.sync()
        tokens = await within(
            asyncio.gather(
                *(each.get_user_by_id(user.user_id).refresh() for each in (one, two) * 3)
            ),
            10,
        )
        assert len({token.access_token for token in tokens}) == 1
    assert (small.twitch.counts.exchanges, small.twitch.counts.replays) == (1, 0)


async def test_a_login_right_after_a_removal_is_not_forgotten(small: World, tmp_path: Path) -> None:
    """Another process signs a user in while our removal is still being answered: it shows."""

    class Late(SQLiteStore):
        """A store whose answer to a write or a delete is long on its way."""

        answer, written = asyncio.Event(), asyncio.Event()

        async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
            version = await super().put(key, value, expect=expect)
            self.written.set()
            await self.answer.wait()
            return version

        async def delete(self, key: str, *, expect: int | None = None) -> bool:
            done = await super().delete(key, expect=expect)
            self.written.set()
            await self.answer.wait()
            return done

    path = tmp_path / "late.db"
    late = Late(path)
    late.answer.set()
    async with small.device(store=late) as one, small.device(store=SQLiteStore(path)) as two:
        two.add_token("1", "old", "r")
        await two.flush()
        await one.sync()
        late.answer.clear()
        late.written.clear()
        one.remove_token("1")
        await within(late.written.wait())
        two.add_token("1", "new", "r2")
        await two.flush()
        late.answer.set()
        await one.flush()
        await one.sync()
        assert two.get_token("1") == ("new", "r2")
        assert one.get_token("1") == ("new", "r2")


class Eager(OwnStore):
    """A store whose methods fail before there is anything to await."""

    down = False

    def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """Fail at once."""
        if self.down:
            raise OSError("db://user:hunter2@host")
        return super().scan(prefix)


async def test_a_store_that_fails_at_once(small: World) -> None:
    """An error that comes before the first await is mapped like any other."""
    store = Eager()
    async with small.device(store=store) as flow:
        store.down = True
        with pytest.raises(StoreError) as caught:
            await flow.sync()
        assert "hunter2" not in said(caught.value)
        store.down = False
        await flow.sync()


class Sealed(OwnStore):
    """Hands out what it cannot open as an error, as a store with encryption does."""

    async def get(self, key: str) -> Any:  # noqa: ANN401
        """Fail for what is sealed."""
        entry = await super().get(key)
        if entry is not None and entry.value == GARBAGE:
            raise DecryptionError(f"no key opens {key!r}")
        return entry


async def test_a_read_that_finds_damage(small: World) -> None:
    """A `DecryptionError` from the store's `get` becomes the user's, in the view and in calls."""
    store = Sealed()
    async with small.device(store=store) as flow:
        pair = small.pair()
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        await store.inner.put(small.key(small.alice), GARBAGE)
        with pytest.raises((DecryptionError, CorruptRecord)):
            await user.refresh()
        assert isinstance(flow.damaged[user.user_id], (DecryptionError, CorruptRecord))
        assert user.user_id not in flow.tokens
    assert small.twitch.counts.exchanges == 0


@pytest.mark.parametrize("make", [MemoryStore, OwnStore, SQLiteStore])
async def test_two_flows_share_one_store_object(
    small: World, make: Callable[..., Any], tmp_path: Path
) -> None:
    """One store object for two flows of one process: one sees what the other does."""
    store = make(tmp_path / "shared.db") if make is SQLiteStore else make()
    one = small.device(small.public, store=store)
    two = small.code(small.public, store=store)
    async with one, two:
        pair = small.pair(small.public, expired=True)
        user = await one.add_user(pair.access_token, pair.refresh_token)
        await two.sync()
        same = two.get_user_by_id(user.user_id)
        small.twitch.expire_access(user.token)
        await within(asyncio.gather(*(each.get("users") for each in (user, same) * 10)), 10)
        await one.close()
        assert (await same.get_user()).login == "alice"
        await same.refresh()
    await store.close()
    assert (small.twitch.counts.exchanges, small.twitch.counts.replays) == (3, 0)


async def test_a_store_that_went_away_and_came_back(world: World) -> None:
    """The owner closes the store under a flow and opens it again: the flow takes it up."""
    store = world.place.store()
    async with world.device(store=store) as flow, world.device() as other:
        await store.close()
        flow.add_token("1", "a", "r")
        with pytest.raises(StoreError):
            await within(flow.flush())
        assert flow.tokens["1"] == ("a", "r")
        await asyncio.sleep(0.05)
        await store.open()
        await within(flow.flush())
        await until(lambda: "1" in other.tokens)
        other.add_token("2", "b", "r")
        await other.flush()
        await until(lambda: "2" in flow.tokens)
        flow.add_token("3", "c", None)
        await flow.flush()
