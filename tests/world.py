"""What tests in one process share: a double of Twitch, a place for tokens, and flows on both."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

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

    from twitchvault import Token, TokenStore, UserAPI, VaultEvent
    from twitchvault.testing import FakeTwitch
    from twitchvault.testing.fake import Client, Gate, Pair, User

T = TypeVar("T")
SomeApp = TypeVar("SomeApp", bound=App)

REDIRECT = "http://localhost:3000/callback"
REFRESH = "token:refresh_token"
INVALID = {"status": 400, "message": "Invalid refresh token"}
NEWER_SCHEMA = b'{"schema":99,"access_token":"from-the-future"}'
GARBAGE = b"\x00\xffnot a record"


class Place:
    """One place where tokens are kept; `store()` is what one more process would open on it."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.path = folder / "tokens.db"
        self._memory = MemoryStore()
        self._stores: list[TokenStore] = []

    def store(self, *, busy_timeout: float = 5.0) -> TokenStore:
        """A store on this place: the one dict, or one more opening of the file."""
        if self.kind == "memory":
            return self._memory
        store = SQLiteStore(self.path, busy_timeout=busy_timeout)
        self._stores.append(store)
        return store

    async def opened(self) -> TokenStore:
        """The same, open."""
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

    async def values(self) -> list[bytes]:
        """All that is durable there."""
        return [entry.value async for entry in (await self.opened()).scan()]

    async def keys(self) -> list[str]:
        """All keys that are there."""
        return sorted([entry.key async for entry in (await self.opened()).scan()])

    async def holds(self, token: str) -> bool:
        """Whether the token stands anywhere in there."""
        return any(token.encode() in value for value in await self.values())

    async def close(self) -> None:
        """Close all stores that were handed out."""
        for store in (self._memory, *self._stores):
            await store.close()


class Request(NamedTuple):
    """One request that came to the double."""

    endpoint: str
    status: int


class World:
    """The double with two users, applications of its own, and the flows that a test makes.

    `client` is the one that is meant where none is named; `public` has no secret.
    """

    def __init__(self, twitch: FakeTwitch, place: Place, *, public: bool = False) -> None:
        self.twitch = twitch
        self.place = place
        self.public = twitch.register_client(public=True)
        self.confidential = twitch.register_client(redirect_uris=[REDIRECT])
        self.client = self.public if public else self.confidential
        self.alice = twitch.add_user("alice")
        self.bob = twitch.add_user("bob")
        self._users = 0
        self._apps: list[App] = []

    # Flows

    def arguments(self, client: Client | None = None, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        """The constructor's arguments: quiet by default, on the shared place."""
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
            given["store"] = self.place.store()
        return given | options

    def device(self, client: Client | None = None, **options: Any) -> DeviceCodeFlow:  # noqa: ANN401
        """A device code flow."""
        return self._kept(DeviceCodeFlow(**self.arguments(client, **options)))

    def code(self, client: Client | None = None, **options: Any) -> AuthorizationCodeGrantFlow:  # noqa: ANN401
        """An authorization code flow."""
        return self._kept(AuthorizationCodeGrantFlow(**self.arguments(client, **options)))

    def app(self, client: Client | None = None, **options: Any) -> App:  # noqa: ANN401
        """A plain app."""
        return self._kept(App(**self.arguments(client, **options)))

    def _kept(self, app: SomeApp) -> SomeApp:
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

    async def own_pair(self, app: App, user: User | None = None) -> UserAPI:
        """A user whose pair the vault has got by an exchange of its own, and Twitch has accepted.

        Of the client that is meant where none is named.
        """
        pair = self.pair(user=user, expired=True)
        return await app.add_user(pair.access_token, pair.refresh_token)

    async def committed(self, user: UserAPI) -> tuple[Gate, asyncio.Task[Token]]:
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

    def log(self, *endpoints: str) -> list[Request]:
        """The requests to these endpoints so far, in order."""
        return [
            Request(entry.endpoint.partition(":")[0], entry.status)
            for entry in self.twitch.requests
            if entry.endpoint in endpoints or entry.endpoint.partition(":")[0] in endpoints
        ]

    def sent(self) -> int:
        """How many refresh requests have arrived at the double."""
        return sum(entry.endpoint == REFRESH for entry in self.twitch.requests)

    async def stored(
        self, user: User | str | None = None, client: Client | None = None
    ) -> tuple[str, str | None] | None:
        """The pair that a process would find which starts now."""
        user = user or self.alice
        async with self.app(client) as app:
            return app.get_token(user if isinstance(user, str) else user.user_id)

    async def check(
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

    async def end(self) -> None:
        """Close what the test left open; no task of ours may survive that."""
        self.twitch.clear_faults()
        for app in self._apps:
            with suppress(TwitchVaultError):
                await app.close()
        await self.place.close()
        await until(lambda: not our_tasks())


class Listener:
    """Collects all events of a flow."""

    def __init__(self, app: App) -> None:
        self.heard: list[VaultEvent] = []
        self._task = asyncio.create_task(self._listen(app.events()))

    async def _listen(self, events: AsyncIterator[VaultEvent]) -> None:
        async for event in events:
            self.heard.append(event)

    async def next(self, kind: str | None = None) -> VaultEvent:
        """The oldest event that was not asked for yet; those before the one of `kind` are left."""
        while True:
            await until(lambda: self.heard)
            event = self.heard.pop(0)
            if kind in {None, event.kind}:
                return event

    async def ended(self) -> list[VaultEvent]:
        """Wait for the end of the stream; what was not asked for."""
        await within(self._task)
        return self.heard


def our_tasks() -> list[str]:
    """The names of the library's tasks that still run."""
    return [t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("twitchvault")]


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Return once the condition, which may be a coroutine function, holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if await found if isawaitable(found) else found:
            return
        if time.monotonic() > deadline:
            pytest.fail("the condition did not come true")
        await asyncio.sleep(0.002)


async def within(awaitable: Awaitable[T], seconds: float = 3.0) -> T:
    """The result; a failed test, not a hanging one, if it does not come in time."""
    task = asyncio.ensure_future(awaitable)
    done, _ = await asyncio.wait((task,), timeout=seconds)
    if not done:
        task.cancel()
        await asyncio.wait((task,), timeout=seconds)
        pytest.fail(f"still waiting after {seconds} s")
    return task.result()


def said(error: BaseException) -> str:
    """All that an exception and those behind it show."""
    texts: list[str] = []
    todo: list[BaseException | None] = [error]
    while todo:
        current = todo.pop()
        if current is not None:
            texts += [str(current), repr(current)]
            todo += [current.__cause__, current.__context__]
    return "\n".join(texts)
