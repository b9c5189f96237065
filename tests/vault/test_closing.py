"""`clear()`, `close()` and what comes after them: nothing hangs, nothing is spent in vain."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from typing import TYPE_CHECKING

import aiohttp
import pytest

from twitchvault import StoreError, TwitchVaultError
from twitchvault.vault import pump

from .steps import steps
from .world import Held, OwnStore, WatchedStore, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twitchvault import MemoryStore
    from twitchvault.stores.base import Entry, TokenStore

    from .world import World


async def test_refresh_after_close(world: World, store: TokenStore) -> None:
    """A flow that is closed spends no refresh token, for it could not keep the new pair."""
    pair = world.issue()
    async with world.app(store) as app:
        user = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await user.refresh()
        before = world.live(pair.user_id)
    with suppress(TwitchVaultError):
        await user.refresh()
    with suppress(StoreError):
        await app.close()
    assert world.live(pair.user_id) == before, "spent, with nowhere to keep the new pair"
    assert await world.stored(store, pair.user_id) == before


async def test_a_call_that_outlives_close(world: World, memory: MemoryStore) -> None:
    """A call under way during `close()`, whose 401 comes after it, loses no pair."""
    pair = world.issue()
    async with aiohttp.ClientSession() as session:
        async with world.app(memory, session=session) as app:
            user = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
            await user.refresh()
            world.twitch.expire_access(user.token)
            gate = world.twitch.hold("helix")
            call = asyncio.create_task(user.get_user())
            await gate.reached()
        gate.release()
        with suppress(TwitchVaultError):
            await call
        with suppress(StoreError):
            await app.close()
    assert await world.stored(memory, pair.user_id) == world.live(pair.user_id)


@pytest.mark.parametrize("state", ["before authorize", "after clear", "after close"])
async def test_refresh_token_without_a_picture(
    world: World, memory: MemoryStore, state: str
) -> None:
    """A vaulted refresh token is not sent past the vault because the picture is empty just now."""
    pair = world.issue()
    async with world.app(memory) as first:
        user = first.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await user.refresh()
        own = world.live(pair.user_id)
    app = world.app(memory)
    if state != "before authorize":
        await app.authorize()
    if state == "after clear":
        app.clear()
    if state == "after close":
        await app.close()
    with suppress(TwitchVaultError):
        await app.refresh_token(own[1])
    await app.close()
    assert await world.stored(memory, pair.user_id) == world.live(pair.user_id)


async def test_clear_during_an_exchange(world: World, store: TokenStore) -> None:
    """`clear()` during an exchange: the pair comes home, and the next `authorize()` shows it."""
    pair = world.issue()
    app = world.app(store)
    await app.authorize()
    user = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    await user.refresh()
    gate, call = await world.committed(user)
    app.clear()
    assert dict(app.tokens) == {}
    gate.release()
    token = await call
    await app.flush()
    assert await world.stored(store, pair.user_id) == world.live(pair.user_id)
    await app.authorize()
    assert app.tokens[pair.user_id] == (token.access_token, token.refresh_token)
    await app.close()


async def test_clear_forgets_what_comes_home_later(world: World, memory: MemoryStore) -> None:
    """After `clear()` the views stay empty until `authorize()`: nothing would keep them up."""
    pair = world.issue()
    app = world.app(memory)
    await app.authorize()
    user = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    await user.refresh()
    gate, call = await world.committed(user)
    app.clear()
    gate.release()
    await call
    await app.flush()
    assert dict(app.tokens) == {}
    await app.close()


async def test_clear_with_a_lease_taken_spends_nothing(world: World, memory: MemoryStore) -> None:
    """`clear()` between the lease and the exchange of a login: done later without waiting."""
    pair = world.issue_expired()
    store = WatchedStore(memory)
    app = world.app(store, lease_ttl=4)
    await app.authorize()
    # The second write is the lease on the seed's own key.
    store.before = held = Held("put", "/seed/", skip=1)
    call = asyncio.create_task(app.add_user(pair.access_token, pair.refresh_token))
    await held.reached.wait()
    app.clear()
    held.released.set()
    with suppress(TwitchVaultError):
        await call
    async with asyncio.timeout(2), world.app(memory, lease_ttl=4) as other:
        await other.add_user(pair.access_token, pair.refresh_token)
    await app.close()
    assert await world.stored(memory, pair.user_id) == world.live(pair.user_id)
    assert world.twitch.counts.replays == 0


async def test_clear_during_authorize(world: World, memory: MemoryStore) -> None:
    """`clear()` while `authorize()` is still reading the store: both end, and so does `close()`."""
    store = WatchedStore(memory)
    app = world.app(store)
    store.before = held = Held("scan")
    authorizing = asyncio.create_task(app.authorize())
    await held.reached.wait()
    app.clear()
    held.released.set()
    try:
        async with asyncio.timeout(2):
            await asyncio.wait({authorizing})
            await app.authorize()
            await app.sync()
            await app.close()
    finally:
        authorizing.cancel()
        await asyncio.wait({authorizing})


async def test_clear_at_every_step_of_authorize(world: World, store: TokenStore) -> None:
    """Whenever `clear()` comes, `authorize()` ends, and the next one shows what is there."""
    pair = world.issue()
    async with world.app(store) as first:
        await first.add_user(pair.access_token, pair.refresh_token)
    for at in itertools.count():
        app = world.app(store)
        with steps(at, app.clear) as counter:
            counter.victim = asyncio.create_task(app.authorize())
            async with asyncio.timeout(2):
                with suppress(StoreError):
                    await counter.victim
                await app.authorize()
                await app.sync()
                assert set(app.tokens) == {pair.user_id}, f"cleared at step {at}"
                await app.close()
        if not counter.reached:
            break
    assert at > 2


async def test_clear_at_every_step_of_a_login(world: World, memory: MemoryStore) -> None:
    """Whenever `clear()` comes, the pair of a login is not lost: the next one finds it."""
    for at in itertools.count():
        pair = world.issue_expired()
        app = world.app(memory, lease_ttl=4)
        await app.authorize()
        with steps(at, app.clear) as counter:
            counter.victim = asyncio.create_task(
                app.add_user(pair.access_token, pair.refresh_token)
            )
            async with asyncio.timeout(2):
                with suppress(TwitchVaultError):
                    await counter.victim
                await app.authorize()
                await app.add_user(pair.access_token, pair.refresh_token)
                assert app.tokens[pair.user_id] == world.live(pair.user_id)
            await app.close()
        assert world.twitch.counts.replays == 0, f"cleared at step {at}"
        assert await world.stored(memory, pair.user_id) == world.live(pair.user_id)
        if not counter.reached:
            break
    assert at > 4


class TransactionStore(OwnStore):
    """A store whose scan runs in a transaction: giving it up takes a moment too."""

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """The entries, and a rollback at the end, however it comes."""
        entries = [entry async for entry in self.inner.scan(prefix)]
        try:
            for entry in entries:
                await asyncio.sleep(0.01)
                yield entry
        finally:
            await asyncio.sleep(0.02)


async def test_authorize_right_after_clear(world: World, memory: MemoryStore) -> None:
    """A scan that `clear()` broke off has no say in what the next `authorize()` finds."""
    pairs = [world.issue() for _ in range(4)]
    async with world.app(memory) as first:
        for pair in pairs:
            first.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await first.flush()
    app = world.app(TransactionStore(memory))
    await app.authorize()
    syncing = asyncio.create_task(app.sync())
    await asyncio.sleep(0.02)
    app.clear()
    await app.authorize()
    assert set(app.tokens) == {pair.user_id for pair in pairs}
    await app.sync()
    assert set(app.tokens) == {pair.user_id for pair in pairs}
    await asyncio.wait({syncing})
    syncing.exception()
    await app.close()


async def test_clear_in_the_middle_of_a_scan(
    world: World, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for the scan that the background makes again and again."""
    monkeypatch.setattr(pump, "SCAN_EVERY", 0.01)
    pairs = [world.issue() for _ in range(4)]
    async with world.app(memory) as first:
        for pair in pairs:
            first.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await first.flush()
    app = world.app(TransactionStore(memory))
    await app.authorize()
    for number in range(8):
        await asyncio.sleep(0.011 * number)
        app.clear()
        await app.authorize()
        assert set(app.tokens) == {pair.user_id for pair in pairs}
    await app.close()


async def test_closed_with_what_could_not_be_written(world: World, memory: MemoryStore) -> None:
    """`close()` raises what is not in the store, twice if it is asked twice, and ends soon."""
    pair = world.issue()
    store = WatchedStore(memory)
    app = world.app(store)
    await app.authorize()

    async def down(operation: str, _key: str) -> None:
        if operation == "put":
            raise OSError("no")

    store.before = down
    app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    for _ in range(2):
        async with asyncio.timeout(3):
            with pytest.raises(StoreError):
                await app.close()

    async def up(_operation: str, _key: str) -> None:
        return

    store.before = up
    await app.authorize()
    await app.flush()
    assert await world.stored(memory, pair.user_id) == (pair.access_token, pair.refresh_token)
    await app.close()


async def test_many_closers(world: World, memory: MemoryStore) -> None:
    """Several tasks may close at once; all return after the exchange is home."""
    pair = world.issue()
    app = world.app(memory)
    await app.authorize()
    user = app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    gate, call = await world.committed(user)
    closers = [asyncio.create_task(app.close()) for _ in range(5)]
    await until(lambda: all(not closer.done() for closer in closers))
    gate.release()
    await asyncio.gather(*closers)
    await call
    assert await world.stored(memory, pair.user_id) == world.live(pair.user_id)
