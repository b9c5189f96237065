"""What every test here has: a double of Twitch, a place for tokens, and flows on both."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from twitchvault import (
    App,
    AuthorizationCodeGrantFlow,
    DeviceCodeFlow,
    MemoryStore,
    SQLiteStore,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from twitchvault import TokenStore
    from twitchvault.testing import FakeTwitch
    from twitchvault.testing.fake import Client, Pair, User

T = TypeVar("T")

REDIRECT = "http://localhost:3000/callback"
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

    async def write(self, key: str, value: bytes) -> None:
        """Put bytes there, as some other process would."""
        store = self.store()
        await store.open()
        await store.put(key, value)

    async def read(self, key: str) -> bytes | None:
        """The bytes that are durable there."""
        store = self.store()
        await store.open()
        entry = await store.get(key)
        return None if entry is None else entry.value

    async def keys(self) -> list[str]:
        """All keys that are there."""
        store = self.store()
        await store.open()
        return sorted([entry.key async for entry in store.scan()])

    async def holds(self, token: str) -> bool:
        """Whether the token stands anywhere in there."""
        store = self.store()
        await store.open()
        return any([token.encode() in entry.value async for entry in store.scan()])

    async def close(self) -> None:
        """Close all stores that were handed out."""
        for store in (self._memory, *self._stores):
            await store.close()


class World:
    """The double with two users and two applications, and the flows that a test makes."""

    def __init__(self, twitch: FakeTwitch, place: Place) -> None:
        self.twitch = twitch
        self.place = place
        self.client = twitch.register_client(redirect_uris=[REDIRECT])
        self.public = twitch.register_client(public=True)
        self.alice = twitch.add_user("alice")
        self.bob = twitch.add_user("bob")
        self._apps: list[App] = []

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

    def _kept(self, app: TApp) -> TApp:
        self._apps.append(app)
        return app

    def pair(
        self,
        client: Client | None = None,
        user: User | None = None,
        scopes: Iterable[str] = ("chat:read",),
        *,
        expired: bool = False,
    ) -> Pair:
        """A pair of alice's, or of `user`'s."""
        client, user = client or self.client, user or self.alice
        if expired:
            return self.twitch.issue_expired(client, user, scopes)
        return self.twitch.issue(client, user, scopes)

    def key(self, user: User | str, client: Client | None = None) -> str:
        """The store's key of a user."""
        user_id = user if isinstance(user, str) else user.user_id
        return f"{(client or self.client).client_id}:{user_id}"

    async def end(self) -> None:
        """Close what the test left open; no task of ours may survive that."""
        for app in self._apps:
            with suppress(StoreError):
                await app.close()
        await self.place.close()
        await until(lambda: not our_tasks())


TApp = TypeVar("TApp", bound=App)


def our_tasks() -> list[str]:
    """The names of the library's tasks that still run."""
    return [t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("twitchvault")]


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Return once the condition holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
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
