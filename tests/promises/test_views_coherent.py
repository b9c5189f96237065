"""The views are coherent: what one process writes, another sees within the stated bound.

They never say of a token that it is good when it is not, nor take somebody for removed who is not.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.environment import Environment, listening, on_each_store, until, within
from tests.own_stores import Broken, OwnStore, WatchedStore
from tests.processes.fleet import all_do
from twitchvault import (
    AuthFailure,
    SQLiteStore,
    StoreError,
    StoreUnavailable,
    TwitchVaultError,
    Watchable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from tests.processes.fleet import Fleet
    from twitchvault import App, Change, Entry, Feed, TokenStore

# What others wrote


@pytest.mark.parametrize("store_url", ["sqlite", "redis"], indirect=True)
async def test_what_another_process_wrote(fleet: Fleet, store_url: str) -> None:
    """SQLite: at the very next read. Redis: one push later. `sync()`: at once, everywhere."""
    one, two, *_ = workers = await fleet.start(3)
    for _ in range(10):
        pair = await fleet.pair()
        await one.do("add_user", access_token=pair.access_token, refresh_token=pair.refresh_token)
        for act in ("refresh", "refresh", "remove_token"):
            await one.do(act, user_id=pair.user_id)
            expected = None if act == "remove_token" else await fleet.live(pair.user_id)

            async def shows(user_id: str = pair.user_id, expected: object = expected) -> bool:
                return bool(await two.do("token", user_id=user_id) == expected)

            if store_url.startswith("redis"):
                await until(shows)
            else:
                assert await shows()
        await all_do(workers, "sync")
        assert await all_do(workers, "token", user_id=pair.user_id) == [None] * len(workers)


@on_each_store
async def test_at_the_next_read(env: Environment) -> None:
    """What another flow has committed shows at the next read, without an await between."""
    async with env.app() as app, env.app() as other:
        for _ in range(10):
            pair = env.pair(user=env.new_user())
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


async def test_a_change_that_waits_does_not_hide_others(env: Environment) -> None:
    """A validation that cannot be written does not keep an old pair in the view."""
    store = WatchedStore(env.storage.store())
    async with env.app(store=store) as app, env.app() as other:
        user = await env.own_pair(other)
        await app.sync()
        store.before = broken = Broken("put")
        await app.validate_token(user.token)
        await user.refresh()
        await app.sync()
        assert app.get_token(user.user_id) == env.live()
        broken.down = False
        await app.flush()
        assert app.get_token(user.user_id) == env.live()
    await env.expect(exchanges=2)


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


async def test_a_write_during_a_scan_is_no_removal(env: Environment) -> None:
    """Who is refreshed elsewhere while the store is scanned stays in the views, without events."""
    store = ForgetfulStore(env.storage.store())
    async with env.app(store=store) as app, env.app() as other:
        user = await env.own_pair(other)
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
        assert app.get_token(user.user_id) == env.live()
    assert "removed" not in [event.kind async for event in events]


class BreakingFeed:
    """A feed that pushes nothing, and breaks when `broken` is set."""

    def __init__(self, inner: Feed, error: Exception) -> None:
        self._inner = inner
        self._error = error
        self.broken = asyncio.Event()

    async def wait(self) -> list[Change]:
        """Nothing, until it breaks."""
        await self.broken.wait()
        raise self._error

    def drain(self) -> list[Change]:
        """What is there, or the error."""
        if self.broken.is_set():
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
    env: Environment, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """It is entered again, and what happened in between is seen; a read never fails."""
    store = BreakingStore(env.storage.store(), error)
    async with env.app(store=store) as app, env.app() as other:
        for number in range(3):
            store.feeds[-1].broken.set()
            user = await env.login(other, env.new_user())
            assert len(app.tokens) == len(app.users_scopes) >= number
            await until(lambda user_id=user.user_id: user_id in app.tokens)  # type: ignore[misc]
            await until(lambda feeds=number + 2: len(store.feeds) >= feeds)  # type: ignore[misc]
    assert "hunter2" not in caplog.text


# While they change


@on_each_store
@pytest.mark.parametrize(
    "read",
    [
        iter,
        reversed,
        lambda view: view.keys(),
        lambda view: view.items(),
        lambda view: view.values(),
        lambda view: view.copy(),
    ],
    ids=["iter", "reversed", "keys", "items", "values", "copy"],
)
async def test_iterating_while_it_changes(
    env: Environment, read: Callable[[object], Iterable[object]]
) -> None:
    """A loop over a view goes on while this flow and others add and remove users."""
    async with env.app() as app, env.app() as other:
        for number in range(4):
            app.add_token(str(number), f"a{number}", None)
        await app.flush()
        for number, _ in enumerate(read(app.tokens)):
            for flow in (app, other):
                flow.remove_token(str(number))
                flow.add_token(f"{number} {id(flow)}", "a", None)
                await flow.flush()
            assert str(number) not in app.tokens
        assert len(app.tokens) == 8


@on_each_store
async def test_read_from_another_thread(env: Environment) -> None:
    """A thread reads all views while the loop changes them, and others do."""
    async with env.app() as app, env.app() as other:
        failures: list[BaseException] = []
        over = threading.Event()

        def read() -> None:
            try:
                while not over.is_set():
                    for view in (app.tokens, app.tokens_validity, app.users_scopes):
                        assert all(value for _, value in view.items())
                        assert all(isinstance(user_id, str) for user_id in view)
                        assert len(view.copy()) <= 40
                    app.get_token("1")
                    app.get_token_quota("1")
                    assert app.needs_login == app.damaged == {}
            except BaseException as error:  # reported below
                failures.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        for number in range(40):
            flow = (app, other)[number % 2]
            flow.add_token(str(number), "a", "r")
            flow.remove_token(str(number - 5))
            await flow.flush()
        over.set()
        await asyncio.to_thread(thread.join)
        assert failures == []
        assert len(app.tokens) == await asyncio.to_thread(lambda: len(app.tokens)) == 5


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
async def test_a_copy_of_a_view_is_complete(env: Environment) -> None:
    """`dict(app.tokens)` succeeds whatever another process does meanwhile."""
    users = [str(number) for number in range(200)]

    async def remove_all() -> None:
        async with env.app() as other:
            for user_id in reversed(users):
                other.remove_token(user_id)
                await other.flush()

    async with env.app() as app:
        for user_id in users:
            app.add_token(user_id, "a", None)
        await app.flush()
        thread = threading.Thread(target=asyncio.run, args=(remove_all(),))
        thread.start()
        while thread.is_alive():
            assert set(dict(app.tokens).values()) <= {("a", None)}
        await asyncio.to_thread(thread.join)
        assert dict(app.tokens) == {}


async def test_one_sqlite_store_in_two_threads(env: Environment, tmp_path: Path) -> None:
    """A second flow in a thread of its own, with a loop of its own: it works, or says why not."""
    store = env.storage.closed_later(SQLiteStore(tmp_path / "threads.db"))
    async with env.app(store=store) as app:
        here = env.pair(user=env.new_user())
        app.add_token(here.user_id, here.access_token, here.refresh_token)
        await app.flush()
        there = env.pair(user=env.new_user())

        async def second() -> None:
            async with env.app(store=store) as other:
                other.add_token(there.user_id, there.access_token, there.refresh_token)
                await other.flush()
                assert set(other.tokens) == {here.user_id, there.user_id}

        refused = ""
        try:
            await within(asyncio.to_thread(lambda: asyncio.run(second())))
        except (StoreError, RuntimeError) as error:
            refused = str(error)
            assert "loop" in refused or "thread" in refused
        # Whatever became of it, the first flow goes on.
        await within(app.get_user_by_id(here.user_id).refresh())
        assert (there.user_id in app.tokens) == (not refused)
        assert app.get_token(here.user_id) == env.live(here.user_id)


async def validate(app: App, user_id: str, how: str) -> None:
    """Have the token of a user validated."""
    if how == "background":
        await until(lambda: user_id in app.needs_login or user_id in app.tokens_validity)
    else:
        with suppress(TwitchVaultError):
            await app.get_user_by_id(user_id).validate()


@on_each_store
@pytest.mark.parametrize("how", ["background", "asked for"])
@pytest.mark.parametrize("whose", ["another user", "another client"])
async def test_somebody_elses_token(env: Environment, whose: str, how: str) -> None:
    """A validation compares whose token it is: no view calls it good, and it is not used."""
    client = env.confidential if whose == "another client" else env.client
    user = env.alice if whose == "another client" else env.bob
    pair = env.pair(client, user)
    alice = env.alice.user_id
    async with env.app(maintain=how == "background") as app, env.app() as other:
        app.add_token(alice, pair.access_token, pair.refresh_token)
        await app.flush()
        await validate(app, alice, how)
        await app.flush()
        for each in (app, other):
            assert alice not in each.tokens_validity
            assert alice not in each.users_scopes
            reason = each.needs_login[alice]
            assert whose.removeprefix("another ") in reason
            api = each.get_user_by_id(alice)
            for call in (api.get_user(), api.renew("another"), api.renew(pair.access_token)):
                with pytest.raises(AuthFailure):
                    await call
        assert env.refreshes_sent() == 0
        await env.login(app)
        assert (await app.get_user_by_id(alice).get_user()).login == "alice"


@on_each_store
async def test_somebody_elses_expired_pair(env: Environment) -> None:
    """The first call renews it, sees whose it is, and is not made in the wrong name."""
    pair = env.pair(user=env.bob, expired=True)
    alice = env.alice.user_id
    async with env.app() as app:
        user = app.add_token(alice, pair.access_token, pair.refresh_token)
        for _ in range(2):
            with pytest.raises(AuthFailure, match="belongs to user"):
                await user.get_user()
        with pytest.raises(AuthFailure, match="belongs to user"):
            await user.refresh()
        assert alice in app.needs_login
        assert alice not in app.users_scopes
        assert env.refreshes_sent() == 1
        assert env.log("helix") == [("helix", 401)]


# Events


@on_each_store
@pytest.mark.parametrize("how", ["add_user", "add_token"])
async def test_a_login_that_brings_fewer_scopes(env: Environment, how: str) -> None:
    """It replaces the wider pair, and every process is told which scopes are lost, if any are."""
    async with env.app() as app, env.app() as other:
        await env.login(app)
        await other.sync()  # it has the first login behind it
        listeners = {"local": await listening(app), "remote": await listening(other)}
        wide = env.pair(scopes=["bits:read", "chat:edit", "chat:read"])
        await app.add_user(wide.access_token, wide.refresh_token)
        await other.sync()
        for listener in listeners.values():
            assert (await listener.next()).kind == "added"
            assert listener.events == []
        narrow = env.pair(scopes=["chat:read"])
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
