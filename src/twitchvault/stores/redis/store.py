"""`RedisStore`: tokens on a Redis or Valkey server, shared by any number of processes and hosts."""

from __future__ import annotations

import asyncio
import importlib
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from twitchvault.errors import MissingDriver, StoreError, discreet
from twitchvault.stores.base import (
    TokenStore,
    check_expect,
    check_key,
    check_namespace,
    check_value,
)
from twitchvault.stores.redis.feed import Follower
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

log = logging.getLogger("twitchvault.stores.redis")


class RedisStore(TokenStore):
    """Tokens on Redis 6.2 or later, or Valkey 7.2 or later: standalone, Sentinel or Cluster.

    `url_or_client` is a URL (`redis://`, `rediss://`, `unix://`), which goes whole to the driver
    and makes a client that `close` closes; or a client of yours (`redis.asyncio.Redis`, also one
    that a Sentinel made, or `redis.asyncio.RedisCluster`), which stays open. Its options are yours,
    except that it must not decode answers or have a single connection. The store uses at most 4
    connections, however many tasks use the store.

    `namespace`: stores of different namespaces never see each other. All keys of one lie under one
    hash tag and have no time to live. `min_replicas`: a write returns only once so many replicas
    have confirmed it (WAIT); `StoreUnavailable` if they do not in time, although the write then is
    on the primary. How durable a write is beyond that, the server's `appendonly` and `save` say.

    A call whose connection breaks is repeated as the driver's `retry` says; a write that comes
    again is recognised, so `expect` conflicts are never due to an own earlier try. If a call does
    not go through within some 5 s it raises `StoreUnavailable`, and says if a write may have taken
    place all the same.

    Errors: `StoreUnavailable` for all that may heal (server away, wrong password, no permission,
    out of memory, replica, failover); `CorruptRecord` for a key that holds something else;
    `VersionConflict`; `ValueError` or `TypeError` for wrong arguments; `MissingDriver`.

    The user of an ACL needs, on `~{namespace}:*`: evalsha script hget hmget hset hdel hscan xadd
    xtrim xlen xrange xrevrange xread time; eval and wait for `min_replicas`; info for a warning about
    `maxmemory-policy`; and what the driver sends: hello, client, select, in a Cluster also cluster
    and command.
    """

    pushes_changes: Final = True

    @discreet
    def __init__(
        self,
        url_or_client: str | Redis | RedisCluster,
        *,
        namespace: str = "twitchvault",
        min_replicas: int = 0,
    ) -> None:
        _driver("client").check_source(url_or_client)
        check_namespace(namespace)
        if type(min_replicas) is not int or min_replicas < 0:
            msg = f"'min_replicas' must be 0 or a positive int, not {min_replicas!r}"
            raise ValueError(msg)
        # A function, so that who looks at attributes does not see the password.
        self._source: Callable[[], str | Redis | RedisCluster] = lambda: url_or_client
        self._name = namespace
        self._min_replicas = min_replicas
        self._opened: _Opened | None = None
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
                self._refusal = _OPENING
                try:
                    self._opened = await self._open()
                finally:
                    self._refusal = _CLOSED if self._opened else _NOT_OPEN

    async def _open(self) -> _Opened:
        client = _driver("client").Client(self._source())
        namespace = Namespace(client, self._name, self._min_replicas)
        try:
            state = await namespace.check()
            policy = await namespace.eviction_policy()
        except BaseException:
            await client.close()
            raise
        if policy.startswith("allkeys"):
            log.warning(
                "%s: maxmemory-policy is %r, so the server may evict tokens when memory runs "
                "short; set it to 'noeviction' or 'volatile-*' (our keys have no time to live)",
                client.server,
                policy,
            )
        return _Opened(namespace, Follower(namespace, state.epoch))

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
        return await self._ready().namespace.get(key)

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write `value` and return its version; see `TokenStore.put`. Cancelled, it may happen."""
        check_key(key)
        check_value(value)
        check_expect(expect)
        return await self._ready().namespace.write(Write("put", key, value, expect))

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove `key`; True if it was there; see `TokenStore.delete`."""
        check_key(key)
        check_expect(expect)
        return bool(await self._ready().namespace.write(Write("delete", key, b"", expect)))

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """All entries whose key starts with `prefix`, in steps of some 500.

        The value of a damaged one is `Unreadable`.
        """
        async for entry in self._ready().namespace.scan(prefix):
            yield entry

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
            await follower.leave(feed)

    def _ready(self) -> _Opened:
        """What belongs to the open store, or an error that says why there is none."""
        if self._opened is None or self._loop is not asyncio.get_running_loop():
            msg = f"the RedisStore of namespace {self._name!r} {self._refusal}"
            raise StoreError(msg)
        return self._opened


class _Opened(NamedTuple):
    """What a store has from `open` to `close`, in one event loop."""

    namespace: Namespace
    follower: Follower

    async def close(self) -> None:
        await self.follower.close()
        await self.namespace.close()


def _driver(module: str) -> Any:  # noqa: ANN401 - a module, as `importlib` types it
    """A module of this package that needs the driver, which is imported only now."""
    try:
        return importlib.import_module(f"twitchvault.stores.redis.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
    msg = "RedisStore needs the package 'redis' (redis-py): pip install 'twitchvault[redis]'"
    raise MissingDriver(msg)
