"""No rotated token is lost when the store, or what is around it, fails at the worst moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import pytest

from tests.environment import GARBAGE, REFRESH, Environment, text_of, until, within
from tests.own_stores import Broken, Held, Once, OwnStore, WatchedStore
from twitchvault import (
    CorruptRecord,
    Entry,
    MemoryStore,
    StoreError,
    StoreUnavailable,
    TwitchVaultError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


@pytest.fixture(params=[OwnStore, WatchedStore], ids=["scanned", "watched"])
def store(request: pytest.FixtureRequest, env: Environment) -> OwnStore:
    """A store of a user's own, which can be watched or not, over the shared storage."""
    made = request.param(env.storage.store())
    assert isinstance(made, OwnStore)
    return made


async def retry(act: Callable[[], Awaitable[object]]) -> None:
    """Call until the store does not fail."""
    for _ in range(9):
        try:
            await within(act())
        except StoreUnavailable:
            continue
        return
    pytest.fail("it never succeeded")


# Before the exchange, and between exchange and write


async def test_down_before_the_exchange(env: Environment, store: OwnStore) -> None:
    """A store that cannot be written spends no grant: the lease comes first."""
    async with env.app(store=store) as app:
        user = await env.own_pair(app)
        store.before = broken = Broken("put")
        with pytest.raises(StoreUnavailable):
            await user.refresh()
        assert env.refreshes_sent() == 1
        broken.down = False
        await within(user.refresh())
    await env.expect(exchanges=2)


@pytest.mark.parametrize("operations", [("put",), ("get",), ("get", "put", "delete", "scan")])
async def test_between_exchange_and_write(
    env: Environment, store: OwnStore, operations: tuple[str, ...]
) -> None:
    """All callers get the new pair at once; `flush()` says what is wrong, until it is in.

    When the store is back, the pair gets in without anybody asking.
    """
    app = env.app(store=store)
    await app.authorize()
    user = await env.own_pair(app)
    gate = env.twitch.hold(REFRESH, when="after")
    calls = [asyncio.create_task(user.refresh()) for _ in range(20)]
    await gate.reached()
    store.before = broken = Broken(*operations)
    gate.release()
    tokens = await within(asyncio.gather(*calls))
    live = env.live()
    assert {(token.access_token, token.refresh_token) for token in tokens} == {live}
    assert app.get_token(user.user_id) == app.tokens[user.user_id] == live
    assert (await user.get_user()).id == user.user_id
    if "put" in operations:
        for _ in range(2):
            with pytest.raises(StoreUnavailable) as caught:
                await app.flush()
            assert "hunter2" not in text_of(caught.value)
    broken.down = False
    await until(env.is_stored)
    await env.expect(exchanges=2)
    await app.close()


@pytest.mark.parametrize("how", ["close", "clear"])
async def test_closed_or_cleared_while_the_store_is_down(
    env: Environment, store: OwnStore, how: str
) -> None:
    """`close()` raises while the pair is not in; `authorize()` after it or `clear()` tries on."""
    app = env.app(store=store)
    await app.authorize()
    user = await env.own_pair(app)
    gate, call = await env.hold_answer(user)
    store.before = broken = Broken("put")
    gate.release()
    await call
    if how == "clear":
        app.clear()
    else:
        with pytest.raises(StoreError):
            await within(app.close())
    broken.down = False
    await app.authorize()
    await within(app.flush())
    assert app.get_token(user.user_id) == env.live()
    await env.expect(exchanges=2)
    await app.close()


async def test_writes_that_take_place_and_fail(env: Environment) -> None:
    """A lease or a pair whose write raised is recognised as our own: nothing is sent twice."""
    store = WatchedStore(env.storage.store())

    async def break_the_connection(operation: str, _key: str) -> None:
        if operation == "put" and store.calls["put"] % 2:
            raise StoreUnavailable("the connection broke; it may have taken place")

    store.after = break_the_connection
    pair = env.pair(expired=True)
    async with env.app(store=store, lease_ttl=30) as app:
        await retry(lambda: app.add_user(pair.access_token, pair.refresh_token))
        for _ in range(3):
            await retry(app.get_user_by_id(pair.user_id).refresh)
        await retry(app.flush)
    await env.expect()


async def test_a_read_that_another_process_overtakes(env: Environment) -> None:
    """An answer from before somebody's write is no lost data: nothing is written back."""
    store = WatchedStore(env.storage.store())
    async with env.app() as other, env.app(store=store) as app:
        pair = env.pair()
        user = await other.add_user(pair.access_token, pair.refresh_token)
        await app.sync()
        store.after = held = Held("get")
        call = asyncio.create_task(app.get_user_by_id(user.user_id).refresh())
        await held.reached.wait()
        newer = await user.refresh()
        await until(lambda: app.get_token(user.user_id) == env.live())
        held.released.set()
        assert (await call).access_token == newer.access_token
        assert store.calls["put"] == 0
    await env.expect(exchanges=1)


async def test_a_login_is_durable_or_an_error(env: Environment) -> None:
    """`add_user` raises while the user's own record is not in; the pair is not lost."""
    store = WatchedStore(env.storage.store())
    async with env.app(store=store) as app:
        pair = env.pair(expired=True)
        gate = env.twitch.hold(REFRESH, when="after")
        login = asyncio.create_task(app.add_user(pair.access_token, pair.refresh_token))
        await gate.reached()
        store.before = broken = Broken("put")
        gate.release()
        with pytest.raises(StoreError):
            await within(login)
        broken.down = False
        await within(app.add_user(pair.access_token, pair.refresh_token))
    await env.expect(exchanges=1)


# In a way that no store should


@pytest.mark.parametrize("error", [asyncio.CancelledError(), TypeError("odd"), RuntimeError("odd")])
@pytest.mark.parametrize("what", ["the lease", "the pair"])
async def test_whatever_a_write_raises(env: Environment, error: BaseException, what: str) -> None:
    """A renewal of the lease that fails does not end the exchange; a pair is written once more."""
    store = OwnStore(env.storage.store())
    async with env.app(store=store, lease_ttl=1 if what == "the lease" else 60) as app:
        user = await env.own_pair(app)
        gate, call = await env.hold_answer(user)
        store.before = once = Once("put", error)
        if what == "the lease":
            await within(once.raised.wait())
        gate.release()
        await within(call)
        await within(app.flush())
        assert once.raised.is_set()
    await env.expect(exchanges=2)


@pytest.mark.parametrize("kind", [OwnStore, WatchedStore])
async def test_a_scan_that_is_cancelled_from_within(env: Environment, kind: type[OwnStore]) -> None:
    """The views go on showing what others write."""
    store = kind(env.storage.store())
    async with env.app(store=store) as app, env.app() as other:
        store.before = Once("scan", asyncio.CancelledError())
        await env.own_pair(other)
        await until(lambda: len(app.tokens) > 0)
        await within(app.sync())


class Wrong(MemoryStore):
    """Answers with something that no store may answer, made of the right entry."""

    spoil: Callable[[Entry], Any] | None = None

    async def get(self, key: str) -> Entry | None:
        """The entry, spoiled if a test says so."""
        entry = await super().get(key)
        return entry if entry is None or self.spoil is None else self.spoil(entry)


SPOILED: dict[str, Callable[[Entry], Any]] = {
    "text": lambda _entry: "text",
    "a plain tuple": tuple,
    "a version that is text": lambda entry: entry._replace(version=cast("int", "1")),
    "a value that is no bytes": lambda entry: entry._replace(
        value=cast("bytes", memoryview(entry.value))
    ),
    "another key's entry": lambda entry: entry._replace(key="another"),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
async def test_a_wrong_answer(env: Environment, spoil: Callable[[Entry], Any]) -> None:
    """The error names the store's method and what it must return; nothing is sent or shown."""
    store = Wrong()
    async with env.app(store=store) as app:
        user = await env.own_pair(app)
        pair = app.get_token(user.user_id)
        store.spoil = spoil
        with pytest.raises(StoreUnavailable, match=r"Wrong\.get\(\) must return an Entry"):
            await within(user.refresh())
        assert app.get_token(user.user_id) == pair
        assert env.refreshes_sent() == 1
        store.spoil = None


async def test_an_error_of_the_whole_store(env: Environment) -> None:
    """Who holds a pair keeps it while it cannot be read, and writes it back once it is gone."""
    store = OwnStore(env.storage.store())
    async with env.app(store=store) as app:
        user = await env.own_pair(app)
        pair = app.get_token(user.user_id)
        store.before = Once("get", CorruptRecord("the server's disk is odd"))
        with pytest.raises(CorruptRecord):
            await within(user.refresh())
        assert user.user_id in app.damaged
        await store.inner.delete(env.key(user.user_id))
        await within(app.sync())
        assert app.get_token(user.user_id) == pair
        await within(user.refresh())
    await env.expect(exchanges=2)


async def test_a_trace_that_fails(env: Environment) -> None:
    """The token may be spent by then: the old access token is asked, and nothing is sent twice."""
    trace, armed = aiohttp.TraceConfig(), asyncio.Event()

    async def fail_once(*request: Any) -> None:  # noqa: ANN401 - aiohttp's own
        if armed.is_set() and request[-1].url.path.endswith("/token"):
            armed.clear()
            raise KeyError("span")

    trace.on_request_end.append(fail_once)
    async with env.app(http_trace=trace) as app:
        user = await env.own_pair(app)
        await user.validate()
        armed.set()
        for _ in range(2):
            with pytest.raises(TwitchVaultError):
                await within(user.refresh())
    assert env.twitch.counts.replays == 0


# For longer than the ttl, or for good


async def test_an_outage_longer_than_a_lease(env: Environment) -> None:
    """The store is away for all for longer than the ttl: nobody could see the lease stand still.

    So nobody may take it over the moment the store is back: its owner lives and holds the new pair.
    """
    ttl = 1.0
    stores = [WatchedStore(env.storage.store()) for _ in range(2)]
    owner, other = (env.app(store=store, lease_ttl=ttl) for store in stores)
    await owner.authorize()
    await other.authorize()
    user = await env.own_pair(owner)
    await other.sync()
    gate, call = await env.hold_answer(user)
    broken = Broken("get", "put", "delete", "scan")
    for store in stores:
        store.before = broken
    gate.release()
    await call
    waiting = asyncio.create_task(other.get_user_by_id(user.user_id).get_user())
    await asyncio.sleep(1.6 * ttl)  # the outage itself
    broken.down = False
    await asyncio.gather(waiting, return_exceptions=True)
    assert (await within(other.get_user_by_id(user.user_id).get_user())).id == user.user_id
    await owner.flush()
    await env.expect(exchanges=2)


async def test_a_file_that_is_new_after_close(env: Environment, tmp_path: Path) -> None:
    """Opened again on a fresh file, a flow writes back what it holds, and shows new logins."""
    path = tmp_path / "tokens.db"
    app = env.app(store=f"sqlite:///{path}")
    async with app:
        user = await env.own_pair(app)
        await within(user.refresh())
        pair = app.get_token(user.user_id)
    path.unlink()
    async with app, env.app(store=f"sqlite:///{path}") as other:
        assert app.get_token(user.user_id) == pair
        await until(lambda: other.get_token(user.user_id) == pair)
        added = await env.login(app, env.bob)
        await added.get_user()
        await until(lambda: added.user_id in other.tokens)


# Damage


@pytest.mark.parametrize("how", ["a backup is restored", "the user signs in"])
async def test_damage_under_a_rotated_pair(env: Environment, how: str) -> None:
    """Damage during an exchange: the new pair is kept and reported, and bars no new login."""
    async with env.app() as app:
        user = await env.own_pair(app)
        gate, call = await env.hold_answer(user)
        good = await env.storage.read(env.key(user.user_id))
        assert good is not None
        await env.storage.write(env.key(user.user_id), GARBAGE)
        gate.release()
        token = await call
        assert (token.access_token, token.refresh_token) == env.live()
        with pytest.raises(CorruptRecord):
            await app.flush()
        if how == "a backup is restored":
            await env.storage.write(env.key(user.user_id), good)
        else:
            await within(env.login(app))
        await within(app.flush())
    await env.expect(exchanges=2)
