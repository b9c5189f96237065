"""What the tests of the vault share: a double with a client, flows, and a store that obeys."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twitchvault import App, TwitchVaultError
from twitchvault.stores.base import Change, Entry, TokenStore, Watchable
from twitchvault.vault.record import Record, decode, fingerprint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from twitchvault.helix.api import UserAPI
    from twitchvault.models import Token
    from twitchvault.stores.base import Feed
    from twitchvault.testing import FakeTwitch
    from twitchvault.testing.fake import Client, Pair, User
    from twitchvault.testing.fake.faults import Gate

LEASE_TTL = 2.0
NEXT_NAME = itertools.count(1)


class World:
    """A client at the double, its users, and flows of it."""

    def __init__(self, twitch: FakeTwitch, *, public: bool = True, **switches: Any) -> None:  # noqa: ANN401
        self.twitch = twitch
        self.client: Client = twitch.register_client(public=public, **switches)
        self._apps: list[App] = []

    def app(self, store: TokenStore | str, **options: Any) -> App:  # noqa: ANN401 - App's own
        """A flow on this store; not authorized yet, without upkeep unless it is asked for."""
        settings: dict[str, Any] = {
            "maintain": False,
            "lease_ttl": LEASE_TTL,
            "id_url": self.twitch.id_url,
            "api_url": self.twitch.api_url,
        }
        secret = options.pop("client_secret", self.client.client_secret)
        app = App(self.client.client_id, secret, store=store, **settings | options)
        self._apps.append(app)
        return app

    async def close(self) -> None:
        """Close what a test that failed has left open."""
        for app in self._apps:
            with suppress(TwitchVaultError, TimeoutError):
                async with asyncio.timeout(1):
                    await app.close()
            await app.http.close()

    def user(self) -> User:
        """A new user of Twitch."""
        return self.twitch.add_user(f"user{next(NEXT_NAME)}")

    def issue(self, user: User | None = None) -> Pair:
        """A live pair of a (new) user."""
        return self.twitch.issue(self.client, user or self.user(), ["chat:read"])

    def issue_expired(self, user: User | None = None) -> Pair:
        """A pair whose access token is dead and whose refresh token is good."""
        return self.twitch.issue_expired(self.client, user or self.user(), ["chat:read"])

    def live(self, user_id: str) -> tuple[str, str]:
        """The pair that is good at Twitch."""
        pair = self.twitch.live_pair(self.client, user_id)
        assert pair is not None, "the connection of this user to the client was cut"
        return pair.access_token, pair.refresh_token

    def key(self, user_id: str) -> str:
        """The store's key for a user."""
        return f"{self.client.client_id}:{user_id}"

    def seed_key(self, refresh_token: str) -> str:
        """The store's key for a refresh token from outside."""
        return f"{self.client.client_id}/seed/{fingerprint(refresh_token)}"

    async def record(self, store: TokenStore, user_id: str) -> Record | None:
        """What the store holds for a user."""
        entry = await store.get(self.key(user_id))
        return None if entry is None else decode(entry.value, user_id)

    async def stored(self, store: TokenStore, user_id: str) -> tuple[str, str | None] | None:
        """The pair that the store holds for a user."""
        record = await self.record(store, user_id)
        return None if record is None else (record.access_token, record.refresh_token)

    def log(self, *endpoints: str) -> list[tuple[str, int]]:
        """(endpoint, status) of the requests to these endpoints so far, in order."""
        return [
            (entry.endpoint.partition(":")[0], entry.status)
            for entry in self.twitch.requests
            if entry.endpoint in endpoints or entry.endpoint.partition(":")[0] in endpoints
        ]

    async def committed(self, user: UserAPI) -> tuple[Gate, asyncio.Task[Token]]:
        """A refresh that Twitch has committed; its answer comes when the gate is released."""
        gate = self.twitch.hold("token:refresh_token", when="after")
        call = asyncio.create_task(user.refresh())
        await gate.reached()
        return gate, call

    def sent(self) -> int:
        """How many refresh requests arrived at the double."""
        return sum(entry.endpoint == "token:refresh_token" for entry in self.twitch.requests)


class OwnStore(TokenStore):
    """A user's own store over another one; `before(operation, key)` may wait or raise.

    It cannot be watched.
    """

    def __init__(self, inner: TokenStore) -> None:
        self.inner = inner
        self.before: Callable[[str, str], Awaitable[None]] = _nothing
        self.during_scan: Callable[[], Awaitable[None]] | None = None

    async def open(self) -> None:
        """Open the inner store."""
        await self.inner.open()

    async def get(self, key: str) -> Entry | None:
        """`before`, then as the inner store."""
        await self.before("get", key)
        return await self.inner.get(key)

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """`before`, then as the inner store."""
        await self.before("put", key)
        return await self.inner.put(key, value, expect=expect)

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """`before`, then as the inner store."""
        await self.before("delete", key)
        return await self.inner.delete(key, expect=expect)

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """`before`, then the entries of the inner store."""
        await self.before("scan", prefix)
        async for entry in self.inner.scan(prefix):
            yield entry


class WatchedStore(OwnStore, Watchable):
    """An `OwnStore` that can be watched as the inner store can."""

    def watch(self, prefix: str = "") -> AbstractAsyncContextManager[Feed]:
        """The inner store's feed."""
        assert isinstance(self.inner, Watchable)
        return self.inner.watch(prefix)


class Broken:
    """A `before` that fails while `down`, for the operations and keys it is told."""

    def __init__(self, *operations: str, key: str = "") -> None:
        self.operations = operations
        self.key = key
        self.down = True

    async def __call__(self, operation: str, key: str) -> None:
        """Fail or pass."""
        if self.down and operation in self.operations and self.key in key:
            raise OSError("this store of a user's own is down")


class Held:
    """A `before` that holds the first call of an operation on a key until it is released."""

    def __init__(self, operation: str, key: str = "", skip: int = 0) -> None:
        self.operation = operation
        self.key = key
        self.skip = skip
        self.reached = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self, operation: str, key: str) -> None:
        """Wait or pass."""
        if operation != self.operation or self.key not in key or self.reached.is_set():
            return
        if self.skip:
            self.skip -= 1
            return
        self.reached.set()
        await self.released.wait()


async def _nothing(_operation: str, _key: str) -> None:
    return


async def until(condition: Callable[[], bool | Awaitable[bool]], timeout: float = 5) -> None:
    """Return once the condition holds; an AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found if isinstance(found, bool) else await found:
            return
        assert time.monotonic() < deadline, "what had to happen did not happen in time"
        await asyncio.sleep(0.005)


def change(key: str, version: int, record: Record | None) -> Change:
    """A change as a feed brings it."""
    from twitchvault.vault.record import encode  # noqa: PLC0415

    return Change(key, version, None if record is None else encode(record))
