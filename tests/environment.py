"""What tests in one process share: a double of Twitch, a place for tokens, and flows on both."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import pytest

from twitchvault import (
    App,
    AuthorizationCodeGrantFlow,
    DeviceCodeFlow,
    MemoryStore,
    SQLiteStore,
    TwitchVaultError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

    from twitchvault import AppAPI, Token, TokenStore, UserAPI, VaultEvent
    from twitchvault.testing import FakeTwitch
    from twitchvault.testing.fake import Client, Gate, Pair, User

T = TypeVar("T")
SomeApp = TypeVar("SomeApp", bound=App)

REDIRECT: Final = "http://localhost:3000/callback"
REFRESH: Final = "token:refresh_token"
INVALID: Final = {"status": 400, "message": "Invalid refresh token"}
NEWER_SCHEMA: Final = b'{"schema":99,"access_token":"from-the-future"}'
GARBAGE: Final = b"\x00\xffnot a record"
PATIENCE: Final = 10.0
"""Seconds after which a condition or a call counts as one that never comes."""

on_each_store = pytest.mark.parametrize("storage", ["memory", "sqlite"], indirect=True)
"""For what depends on the store: others are tested in memory only."""


class Storage:
    """One place where tokens are kept; `store()` is what one more process would open on it."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.path = folder / "tokens.db"
        self.url = "memory://" if kind == "memory" else f"sqlite:///{self.path}"
        self._memory = MemoryStore()
        self._stores: list[TokenStore] = [self._memory]

    def store(self) -> TokenStore:
        """A store on this place: the one dict, or one more opening of the file."""
        return self._memory if self.kind == "memory" else self.closed_later(SQLiteStore(self.path))

    def closed_later(self, store: TokenStore) -> TokenStore:
        """The same store, which is closed when the test is over."""
        self._stores.append(store)
        return store

    async def opened(self) -> TokenStore:
        """One more store, open."""
        store = self.store()
        await store.open()
        return store

    async def write(self, key: str, value: bytes) -> None:
        """Put bytes there, as some other process would."""
        await (await self.opened()).put(key, value)

    async def read(self, key: str) -> bytes | None:
        """The bytes that are durable there."""
        entry = await (await self.opened()).get(key)
        return None if entry is None else entry.value

    async def values(self) -> dict[str, bytes]:
        """All that is durable there, by key."""
        return {entry.key: entry.value async for entry in (await self.opened()).scan()}

    async def holds(self, token: str) -> bool:
        """Whether the token stands anywhere in there."""
        return any(token.encode() in value for value in (await self.values()).values())

    async def close(self) -> None:
        """Close all stores that were handed out."""
        for store in self._stores:
            await store.close()


class Request(NamedTuple):
    """One request that came to the double."""

    endpoint: str
    status: int


class Environment:
    """The double with two users, a public and a confidential client, and the flows of a test.

    `client` is the one that is meant where none is named: the public one, whose refresh tokens are
    one-use, and of whom a replay cuts the user's connection.
    """

    def __init__(self, twitch: FakeTwitch, storage: Storage) -> None:
        self.twitch = twitch
        self.storage = storage
        self.public = twitch.register_client(public=True)
        self.confidential = twitch.register_client(redirect_uris=[REDIRECT])
        self.client = self.public
        self.alice = twitch.add_user("alice")
        self.bob = twitch.add_user("bob")
        self._users = 0
        self._apps: list[App] = []

    # Flows

    def arguments(self, client: Client | None = None, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        """The constructor's arguments: quiet by default, on the shared storage."""
        client = client or self.client
        given: dict[str, Any] = {
            "client_id": client.client_id,
            "client_secret": client.client_secret,
            "id_url": self.twitch.id_url,
            "api_url": self.twitch.api_url,
            "maintain": False,
            "lease_ttl": 4.0,
        }
        if "store" not in options:
            given["store"] = self.storage.store()
        return given | options

    def device(self, client: Client | None = None, **options: Any) -> DeviceCodeFlow:  # noqa: ANN401
        """A device code flow."""
        return self._closed_later(DeviceCodeFlow(**self.arguments(client, **options)))

    def code(self, client: Client | None = None, **options: Any) -> AuthorizationCodeGrantFlow:  # noqa: ANN401
        """An authorization code flow."""
        return self._closed_later(AuthorizationCodeGrantFlow(**self.arguments(client, **options)))

    def app(self, client: Client | None = None, **options: Any) -> App:  # noqa: ANN401
        """A plain app."""
        return self._closed_later(App(**self.arguments(client, **options)))

    def _closed_later(self, app: SomeApp) -> SomeApp:
        self._apps.append(app)
        return app

    # Tokens

    def new_user(self) -> User:
        """One more user of Twitch."""
        self._users += 1
        return self.twitch.add_user(f"user{self._users}")

    def pair(
        self,
        client: Client | None = None,
        user: User | str | None = None,
        scopes: Iterable[str] = ("chat:read",),
        *,
        expired: bool = False,
    ) -> Pair:
        """A pair of alice's, or of `user`'s."""
        client, user = client or self.client, user or self.alice
        if expired:
            return self.twitch.issue_expired(client, user, scopes)
        return self.twitch.issue(client, user, scopes)

    def live(self, user: User | str | None = None, client: Client | None = None) -> tuple[str, str]:
        """The pair that is good at Twitch."""
        pair = self.twitch.live_pair(client or self.client, user or self.alice)
        assert pair is not None, "the connection of this user to the client was cut"
        return pair.access_token, pair.refresh_token

    async def login(
        self, app: App, user: User | None = None, client: Client | None = None
    ) -> UserAPI:
        """A user who has just signed in, of the client that is meant where none is named."""
        pair = self.pair(client, user)
        return await app.add_user(pair.access_token, pair.refresh_token)

    async def own_pair(self, app: App, user: User | None = None) -> UserAPI:
        """A user whose pair the vault got by an exchange of its own, and Twitch has accepted."""
        pair = self.pair(user=user, expired=True)
        return await app.add_user(pair.access_token, pair.refresh_token)

    async def hold_answer(self, user: UserAPI) -> tuple[Gate, asyncio.Task[Token]]:
        """A refresh that Twitch has committed; its answer comes when the gate is released."""
        gate = self.twitch.hold(REFRESH, when="after")
        call = asyncio.create_task(user.refresh())
        await gate.reached()
        return gate, call

    # What came of it

    def key(self, user: User | str, client: Client | None = None) -> str:
        """The store's key of a user."""
        user_id = user if isinstance(user, str) else user.user_id
        return f"{(client or self.client).client_id}:{user_id}"

    def log(self, *endpoints: str, since: int = 0) -> list[Request]:
        """The requests to these endpoints, in order, without the first `since` of all."""
        return [
            Request(entry.endpoint.partition(":")[0], entry.status)
            for entry in self.twitch.requests[since:]
            if entry.endpoint in endpoints or entry.endpoint.partition(":")[0] in endpoints
        ]

    def asked(self) -> int:
        """How many requests have arrived at the double."""
        return len(self.twitch.requests)

    def refreshes_sent(self) -> int:
        """How many refresh requests have arrived at the double."""
        return len(self.log(REFRESH))

    async def stored(
        self, user: User | str | None = None, client: Client | None = None
    ) -> tuple[str, str | None] | None:
        """The pair that a process would find which starts now."""
        user = user or self.alice
        async with self.app(client) as app:
            return app.get_token(user if isinstance(user, str) else user.user_id)

    async def lease_of_a_dead_process(self, user_id: str, ttl: float = 1.0) -> None:
        """Put a lease of `ttl` seconds into a user's record, whose owner says nothing any more."""
        key = self.key(user_id)
        record = json.loads(await self.storage.read(key) or b"")
        leased = record | {"lease": "of a dead process", "lease_ttl": ttl}
        await self.storage.write(key, json.dumps(leased).encode())

    async def is_stored(self, user: User | str | None = None, client: Client | None = None) -> bool:
        """Whether the store holds the pair that is good at Twitch."""
        return await self.stored(user, client) == self.live(user, client)

    async def expect(
        self,
        *,
        exchanges: int | None = None,
        user: User | str | None = None,
        client: Client | None = None,
    ) -> None:
        """No replay, so many exchanges, and the store holds the pair that is good at Twitch."""
        counts = self.twitch.counts
        assert counts.replays == 0, f"{counts.replays} replays"
        if exchanges is not None:
            assert counts.exchanges == exchanges, f"{counts.exchanges} exchanges, not {exchanges}"
        assert await self.stored(user, client) == self.live(user, client)

    def shows_secret(self, error: object) -> bool:
        """Whether an exception, or one behind it, shows any secret of the double's."""
        assert isinstance(error, BaseException)
        text = text_of(error)
        return any(secret in text for secret in self.twitch.secrets)

    async def close(self) -> None:
        """Close what the test left open; no task of ours may survive that."""
        self.twitch.clear_faults()
        for app in self._apps:
            with suppress(TwitchVaultError):
                await app.close()
        await self.storage.close()
        await until(lambda: not our_tasks())


class Listener:
    """Collects all events of a flow."""

    def __init__(self, app: App) -> None:
        self.events: list[VaultEvent] = []
        self._task = asyncio.create_task(self._listen(app.events()))

    async def _listen(self, events: AsyncIterator[VaultEvent]) -> None:
        async for event in events:
            self.events.append(event)

    async def next(self, kind: str | None = None) -> VaultEvent:
        """The oldest event that was not asked for yet; those before the one of `kind` are left."""
        while True:
            await until(lambda: self.events)
            event = self.events.pop(0)
            if kind in {None, event.kind}:
                return event

    async def ended(self) -> list[VaultEvent]:
        """Wait for the end of the stream; what was not asked for."""
        await within(self._task)
        return self.events


async def listening(app: App) -> Listener:
    """A listener that misses nothing of what happens from now on."""
    listener = Listener(app)
    await asyncio.sleep(0)
    return listener


def application_of(app: App) -> AppAPI:
    """The application of an authorized app."""
    assert app.application is not None
    return app.application


def our_tasks() -> list[str]:
    """The names of the library's tasks that still run."""
    return [t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("twitchvault")]


async def until(
    condition: Callable[[], object],
    seconds: float = PATIENCE,
    what: Callable[[], str] | str = "the condition did not come true",
) -> None:
    """Return once the condition holds, which may be a coroutine function; else fail with `what`."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if await found if isawaitable(found) else found:
            return
        if time.monotonic() > deadline:
            pytest.fail(what if isinstance(what, str) else what())
        await asyncio.sleep(0.002)


async def within(awaitable: Awaitable[T], seconds: float = PATIENCE) -> T:
    """The result; a failed test, not a hanging one, if it does not come in time."""
    task = asyncio.ensure_future(awaitable)
    done, _ = await asyncio.wait((task,), timeout=seconds)
    if not done:
        task.cancel()
        await asyncio.wait((task,), timeout=seconds)
        pytest.fail(f"still waiting after {seconds} s")
    return task.result()


def text_of(error: BaseException) -> str:
    """All that an exception and those behind it show."""
    texts: list[str] = []
    todo: list[BaseException | None] = [error]
    while todo:
        current = todo.pop()
        if current is not None:
            texts += [str(current), repr(current)]
            todo += [current.__cause__, current.__context__]
    return "\n".join(texts)
