"""The views are coherent: what one process writes, another sees within the stated bound.

They never say of a token that it is good when it is not, nor take somebody for removed who is not.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.own_stores import Broken, OwnStore, WatchedStore
from tests.processes.fleet import all_do, until
from tests.world import Listener, World, said, within
from tests.world import until as true
from twitchvault import (
    AuthFailure,
    SQLiteStore,
    StoreError,
    StoreUnavailable,
    TwitchVaultError,
    Watchable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.processes.fleet import Fleet
    from twitchvault import App, Change, Entry, Feed, TokenStore

pytestmark = pytest.mark.usefixtures("public")


# Other processes


@pytest.mark.parametrize(
    ("store_url", "bound"), [("sqlite", 0), ("redis", 1)], indirect=["store_url"]
)
async def test_what_another_process_wrote(fleet: Fleet, bound: float) -> None:
    """SQLite: at the very next read. Redis: one push later. `sync()`: at once, everywhere."""
    await fleet.register()
    one, two, *_ = workers = await fleet.start(3)
    for _ in range(10):
        pair = await fleet.pair()
        await one.do("add_user", access_token=pair.access_token, refresh_token=pair.refresh_token)
        for act in ("refresh", "refresh", "remove_token"):
            await one.do(act, user_id=pair.user_id)
            shown = None if act == "remove_token" else await fleet.live(pair.user_id)

            async def seen(user_id: str = pair.user_id, shown: object = shown) -> bool:
                return bool(await two.do("token", user_id=user_id) == shown)

            if bound:
                await until(seen, bound)
            else:
                assert await seen()
        await all_do(workers, "sync")
        assert await all_do(workers, "token", user_id=pair.user_id) == [None] * len(workers)


# Other flows of this process


async def test_at_the_next_read(world: World) -> None:
    """What another flow has committed shows at the next read, without an await between."""
    async with world.app() as app, world.app() as other:
        for _ in range(10):
            pair = world.pair(user=world.new_user())
            other.add_token(pair.user_id, pair.access_token, pair.refresh_token)
            await other.flush()
            assert app.tokens[pair.user_id] == (pair.access_token, pair.refresh_token)
            token = await other.get_user_by_id(pair.user_id).refresh()
            assert app.get_user_by_id(pair.user_id).token == token.access_token
            await other.get_user_by_id(pair.user_id).validate()
            assert app.tokens_validity[pair.user_id] == other.tokens_validity[pair.user_id]
            assert app.users_scopes[pair.user_id] == ("chat:read",)
            other.remove_token(pair.user_id)
            await other.flush()
            assert pair.user_id not in app.tokens
            assert app.get_token(pair.user_id) is None


async def test_own_changes_show_at_once(world: World) -> None:
    """Before they are written, and also before `authorize()`."""
    app = world.app()
    pair = world.pair()
    app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    assert app.tokens[pair.user_id] == (pair.access_token, pair.refresh_token)
    await app.authorize()
    assert app.tokens[pair.user_id] == (pair.access_token, pair.refresh_token)
    app.remove_token(pair.user_id)
    assert pair.user_id not in app.tokens
    await app.close()
    assert await world.stored() is None


async def test_needs_login_in_every_process(world: World) -> None:
    """Who has to sign in again is in the view of all, with the reason, until a new login."""
    async with world.app() as app, world.app() as other:
        user = await world.own_pair(app)
        world.twitch.disconnect(world.client, world.alice)
        with pytest.raises(AuthFailure):
            await user.refresh()
        for each in (app, other):
            assert set(each.needs_login) == {user.user_id}
            assert each.needs_login[user.user_id] == each.get_user_by_id(user.user_id).needs_login
        login = world.pair()
        await app.add_user(login.access_token, login.refresh_token)
        for each in (app, other):
            assert dict(each.needs_login) == {}


async def test_a_change_that_waits_does_not_hide_others(small: World) -> None:
    """A validation that cannot be written does not keep an old pair in the view."""
    store = WatchedStore(small.place.store())
    async with small.app(store=store) as app, small.app() as other:
        user = await small.own_pair(other)
        await app.sync()
        store.before = broken = Broken("put")
        await app.validate_token(user.token)
        await user.refresh()
        await app.sync()
        assert app.get_token(user.user_id) == small.live()
        broken.down = False
        await app.flush()
        assert app.get_token(user.user_id) == small.live()
    await small.check(exchanges=2)


class ForgetfulStore(OwnStore):
    """A store whose scan leaves out what is written while it runs, as the contract allows."""

    def __init__(self, inner: TokenStore) -> None:
        super().__init__(inner)
        self.scanning: asyncio.Event | None = None
        self.go_on = asyncio.Event()

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """The entries that stand unchanged from beginning to end."""
        before = [entry async for entry in self.inner.scan(prefix)]
        if self.scanning is not None:
            self.scanning.set()
            await self.go_on.wait()
        for entry in before:
            if await self.inner.get(entry.key) == entry:
                yield entry


async def test_a_write_during_a_scan_is_no_removal(small: World) -> None:
    """Who is refreshed elsewhere while the store is scanned stays in the views, without events."""
    store = ForgetfulStore(small.place.store())
    async with small.app(store=store) as app, small.app() as other:
        user = await small.own_pair(other)
        await app.sync()
        events = app.events()
        store.scanning = asyncio.Event()
        syncing = asyncio.create_task(app.sync())
        await store.scanning.wait()
        store.scanning = None
        await user.refresh()
        store.go_on.set()
        await syncing
        assert user.user_id in app.tokens
        await app.sync()
        assert app.get_token(user.user_id) == small.live()
    assert "removed" not in [event.kind async for event in events]


class BreakingFeed:
    """A feed that breaks when it is told to."""

    def __init__(self, inner: Feed, error: Exception) -> None:
        self._inner = inner
        self._error = error
        self.broken = asyncio.Event()
        self.drains_badly = False

    async def wait(self) -> list[Change]:
        """Changes, until it breaks."""
        waiting = asyncio.ensure_future(self._inner.wait())
        breaking = asyncio.ensure_future(self.broken.wait())
        try:
            await asyncio.wait({waiting, breaking}, return_when=asyncio.FIRST_COMPLETED)
            if breaking.done():
                raise self._error
            return await waiting
        finally:
            waiting.cancel()
            breaking.cancel()
            await asyncio.wait({waiting, breaking})

    def drain(self) -> list[Change]:
        """What is there, or the error."""
        if self.drains_badly:
            raise self._error
        return self._inner.drain()

    async def catch_up(self) -> list[Change]:
        """What is there."""
        return await self._inner.catch_up()


class BreakingStore(OwnStore, Watchable):
    """A store whose feeds break."""

    def __init__(self, inner: TokenStore, error: Exception) -> None:
        super().__init__(inner)
        self._error = error
        self.feeds: list[BreakingFeed] = []

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[Feed]:
        """A feed of the inner store, until it breaks."""
        assert isinstance(self.inner, Watchable)
        async with self.inner.watch(prefix) as feed:
            self.feeds.append(BreakingFeed(feed, self._error))
            yield self.feeds[-1]


@pytest.mark.parametrize("error", [StoreUnavailable("gone"), OSError("db://user:hunter2@host")])
async def test_a_feed_that_breaks(
    small: World, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """It is entered again, and what happened in between is seen; a read never fails."""
    store = BreakingStore(small.place.store(), error)
    async with small.app(store=store) as app, small.app() as other:
        for number in range(3):
            pair = small.pair(user=small.new_user())
            store.feeds[-1].drains_badly = True
            store.feeds[-1].broken.set()
            await other.add_user(pair.access_token, pair.refresh_token)
            assert len(app.tokens) == len(app.users_scopes) >= number
            await true(lambda user_id=pair.user_id: user_id in app.tokens, 5)  # type: ignore[misc]
            await true(lambda feeds=number + 2: len(store.feeds) >= feeds, 5)  # type: ignore[misc]
    assert "hunter2" not in caplog.text


async def test_a_store_that_fails_to_open(small: World) -> None:
    """What a store of a user's own raises in `open` is a StoreError as well."""

    class Closed(WatchedStore):
        async def open(self) -> None:
            raise OSError("db://user:hunter2@host")

    app = small.app(store=Closed())
    with pytest.raises(StoreError) as caught:
        await app.authorize()
    assert "hunter2" not in said(caught.value)
    await app.close()


# While they change


async def test_iterating_while_others_change_it(world: World) -> None:
    """A loop over a view, with changes of others in between."""
    pairs = [world.pair(user=world.new_user()) for _ in range(6)]
    async with world.app() as app, world.app() as other:
        for pair in pairs[:3]:
            app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
        await app.flush()
        seen = []
        for user_id in app.tokens:
            seen.append(user_id)
            other.remove_token(user_id)
            extra = pairs[2 + len(seen)]
            other.add_token(extra.user_id, extra.access_token, extra.refresh_token)
            await other.flush()
            assert user_id not in app.tokens
        assert sorted(seen) == sorted(pair.user_id for pair in pairs[:3])
        assert set(app.tokens) == {pair.user_id for pair in pairs[3:]}


async def test_read_from_another_thread(world: World) -> None:
    """A thread may read a view while the loop changes it, and others do."""
    async with world.app() as app, world.app() as other:
        failures: list[BaseException] = []
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                try:
                    for user_id in app.tokens:
                        app.tokens.get(user_id)
                    dict(app.tokens_validity), len(app.users_scopes), dict(app.needs_login)
                except BaseException as error:  # reported below
                    failures.append(error)
                    return

        thread = threading.Thread(target=read)
        thread.start()
        for number in range(30):
            pair = world.pair(user=world.new_user())
            flow = (app, other)[number % 2]
            flow.add_token(pair.user_id, pair.access_token, pair.refresh_token)
            await flow.flush()
        stop.set()
        await asyncio.to_thread(thread.join)
        assert failures == []
        assert len(app.tokens) == 30
        assert await asyncio.to_thread(lambda: len(app.tokens)) == 30


async def test_one_sqlite_store_in_two_threads(small: World, tmp_path: Path) -> None:
    """A second flow in a thread of its own, with a loop of its own: it works, or says why not."""
    store = SQLiteStore(tmp_path / "threads.db")
    async with small.app(store=store) as app:
        here = small.pair(user=small.new_user())
        app.add_token(here.user_id, here.access_token, here.refresh_token)
        await app.flush()
        there = small.pair(user=small.new_user())

        async def second() -> None:
            async with small.app(store=store) as other:
                other.add_token(there.user_id, there.access_token, there.refresh_token)
                await other.flush()
                assert set(other.tokens) == {here.user_id, there.user_id}

        refused = ""
        try:
            await within(asyncio.to_thread(lambda: asyncio.run(second())), 10)
        except (StoreError, RuntimeError) as error:
            refused = str(error)
            assert "loop" in refused or "thread" in refused
        # Whatever became of it, the first flow goes on.
        await within(app.get_user_by_id(here.user_id).refresh())
        assert (there.user_id in app.tokens) == (not refused)
        assert app.get_token(here.user_id) == small.live(here.user_id)
    await within(store.close())


# Whose token it is


async def _validated(app: App, user_id: str, how: str) -> None:
    """Have the token of a user validated."""
    if how == "background":
        await true(lambda: user_id in app.needs_login or user_id in app.tokens_validity)
    else:
        with suppress(TwitchVaultError):
            await app.get_user_by_id(user_id).validate()


@pytest.mark.parametrize("how", ["background", "asked for"])
@pytest.mark.parametrize("whose", ["another user", "another client"])
async def test_somebody_elses_token(world: World, whose: str, how: str) -> None:
    """A validation compares whose token it is: no view calls it good, and it is not used."""
    client = world.confidential if whose == "another client" else world.client
    user = world.alice if whose == "another client" else world.bob
    pair = world.pair(client, user)
    alice = world.alice.user_id
    async with world.app(maintain=how == "background") as app, world.app() as other:
        app.add_token(alice, pair.access_token, pair.refresh_token)
        await app.flush()
        await _validated(app, alice, how)
        await app.flush()
        for each in (app, other):
            assert alice not in each.tokens_validity
            assert alice not in each.users_scopes
            reason = each.needs_login[alice]
            assert whose.removeprefix("another ") in reason
            with pytest.raises(AuthFailure):
                await each.get_user_by_id(alice).get_user()
        assert world.sent() == 0
        login = world.pair()
        await app.add_user(login.access_token, login.refresh_token)
        assert (await app.get_user_by_id(alice).get_user()).login == "alice"


# Events


@pytest.mark.parametrize("how", ["add_user", "add_token"])
async def test_a_login_that_brings_fewer_scopes(world: World, how: str) -> None:
    """The wider pair is replaced, and everybody is told which scopes are lost."""
    async with world.app() as app, world.app() as other:
        wide = world.pair(scopes=["bits:read", "chat:edit", "chat:read"])
        await app.add_user(wide.access_token, wide.refresh_token)
        await other.sync()
        listeners = {"local": Listener(app), "remote": Listener(other)}
        await asyncio.sleep(0)
        narrow = world.pair(scopes=["chat:read"])
        if how == "add_user":
            await app.add_user(narrow.access_token, narrow.refresh_token)
        else:
            user = app.add_token(narrow.user_id, narrow.access_token, narrow.refresh_token)
            await user.validate()
        await app.flush()
        for origin, listener in listeners.items():
            event = await listener.next("scopes_lost")
            assert (event.user_id, event.origin) == (narrow.user_id, origin)
            assert "bits:read" in event.reason
            assert "chat:edit" in event.reason
            assert "chat:read" not in event.reason
        assert app.users_scopes[narrow.user_id] == ("chat:read",)


async def test_a_login_that_brings_more_scopes(small: World) -> None:
    """Nothing is lost, so nothing is told."""
    async with small.app() as app:
        few = small.pair(scopes=["chat:read"])
        await app.add_user(few.access_token, few.refresh_token)
        listener = Listener(app)
        await asyncio.sleep(0)
        more = small.pair(scopes=["chat:read", "bits:read"])
        await app.add_user(more.access_token, more.refresh_token)
        await listener.next("added")
        await app.flush()
        assert "scopes_lost" not in [event.kind for event in listener.heard]
