"""`RedisStore`: tokens on a Redis or Valkey server, shared by any number of processes and hosts."""

from __future__ import annotations

import asyncio
import importlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from twitchvault.errors import MissingDriver, StoreError, scrub_traceback
from twitchvault.stores.base import (
    TokenStore,
    check_expect,
    check_key,
    check_namespace,
    check_value,
)
from twitchvault.stores.redis.namespace import Namespace, Write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from redis.asyncio import Redis, RedisCluster

    from twitchvault.stores.base import Entry
    from twitchvault.stores.redis.feed import RedisFeed

__all__ = ["RedisStore"]

_NOT_OPEN: Final = "is not open yet: await its open(), or use 'async with'"
_OPENING: Final = "is still being opened: wait until open() returns"
_CLOSED: Final = "is closed, or was opened in another event loop: open it again"


class RedisStore(TokenStore):
    """Tokens on Redis 6.2 or later, or Valkey 7.2 or later: standalone, Sentinel or Cluster.

    `url_or_client` is a URL (`redis://`, `rediss://`, `unix://`), which goes whole to the driver
    and makes a client that `close` closes; or a client of yours (`redis.asyncio.Redis`, also one
    that a Sentinel made, or `redis.asyncio.RedisCluster`), which stays open. It must not decode
    answers. The store uses at most 4 connections, however many tasks use the store.

    `namespace`: stores of different namespaces never see each other. All keys of one lie under one
    hash tag and have no time to live. `min_replicas`: a write returns only once so many replicas
    have confirmed it (WAIT); `StoreUnavailable` if they do not in time, although the write then is
    on the primary.

    A call whose connection breaks is repeated as the driver's `retry` says; a repeated write is
    recognised, so `expect` never conflicts with an own earlier try. What does not go through within
    some 5 s raises `StoreUnavailable`, which says if a write may have taken place all the same.

    Errors: `StoreUnavailable` for all that may heal (server away, wrong password, no permission,
    out of memory, replica, failover); `CorruptRecord` for a key that holds something else;
    `VersionConflict`; `ValueError` or `TypeError` for wrong arguments; `MissingDriver`.
    """

    pushes_changes: Final = True

    @scrub_traceback
    def __init__(
        self,
        url_or_client: str | Redis | RedisCluster,
        *,
        namespace: str = "twitchvault",
        min_replicas: int = 0,
    ) -> None:
        _client_module().check_source(url_or_client)
        check_namespace(namespace)
        if type(min_replicas) is not int or min_replicas < 0:
            msg = f"'min_replicas' must be 0 or a positive int, not {min_replicas!r}"
            raise ValueError(msg)
        # A function, so that who looks at attributes does not see the password.
        self._source: Callable[[], str | Redis | RedisCluster] = lambda: url_or_client
        self._name = namespace
        self._min_replicas = min_replicas
        self._opened: Namespace | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()
        self._closing: asyncio.Task[None] | None = None
        self._refusal = _NOT_OPEN

    def __repr__(self) -> str:
        return f"RedisStore(namespace={self._name!r}, min_replicas={self._min_replicas})"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, and begin the namespace if it is new; idempotent, also after `close`.

        Logs one warning if the server's `maxmemory-policy` may evict our keys.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # what belonged to another loop has gone with it
            self._loop, self._lock = loop, asyncio.Lock()
            self._opened = self._closing = None
        async with self._lock:
            if self._opened is None:
                before, self._refusal = self._refusal, _OPENING
                try:
                    self._opened = await self._open()
                    before = _CLOSED
                finally:
                    self._refusal = before

    async def _open(self) -> Namespace:
        client = _client_module().Client(self._source())
        namespace = Namespace(client, self._name, self._min_replicas)
        try:
            await namespace.open()
        except BaseException:
            await client.close()
            raise
        return namespace

    async def close(self) -> None:
        """Let what is under way go through, within some seconds, and end the feeds; idempotent.

        Closes the client if the store was made from a URL.
        """
        if self._loop is not asyncio.get_running_loop():
            return
        async with self._lock:
            opened, self._opened = self._opened, None
            if opened is not None:
                self._closing = asyncio.create_task(opened.close(), name="twitchvault-redis-close")
        if self._closing is not None:
            await asyncio.shield(self._closing)  # goes on if the caller is cancelled

    async def get(self, key: str) -> Entry | None:
        """The entry of `key` as last committed by any process, or None; asked of the primary."""
        check_key(key)
        return await self._ready().get(key)

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write `value` and return its version; see `TokenStore.put`. Cancelled, it may happen."""
        check_key(key)
        check_value(value)
        check_expect(expect)
        return await self._ready().write(Write("put", key, value, expect))

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove `key`; True if it was there; see `TokenStore.delete`."""
        check_key(key)
        check_expect(expect)
        return bool(await self._ready().write(Write("delete", key, b"", expect)))

    def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """All entries whose key starts with `prefix`; a damaged one has an `Unreadable` value."""
        return self._ready().scan(prefix)

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[RedisFeed]:
        """A feed of the keys that start with `prefix`; it also has `on_loss(listener)`.

        All feeds of a store share one connection. A change arrives with its value.
        """
        follower = self._ready().follower
        feed = await follower.enter(prefix)
        try:
            yield feed
        finally:
            follower.leave(feed)

    def _ready(self) -> Namespace:
        """The namespace of the open store, or an error that says why there is none."""
        if self._opened is None or self._loop is not asyncio.get_running_loop():
            msg = f"the RedisStore of namespace {self._name!r} {self._refusal}"
            raise StoreError(msg)
        return self._opened


def _client_module() -> Any:  # noqa: ANN401 - a module, as `importlib` types it
    """The module that needs the driver, which is imported only now."""
    try:
        return importlib.import_module("twitchvault.stores.redis.client")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
    msg = "RedisStore needs the package 'redis' (redis-py): pip install 'twitchvault[redis]'"
    raise MissingDriver(msg)
