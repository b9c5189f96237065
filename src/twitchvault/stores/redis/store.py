"""`RedisStore`: tokens on a Redis or Valkey server, shared by any number of processes and hosts."""

from __future__ import annotations

import importlib
import os
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from twitchvault.errors import MissingDriver, StoreError, discreet
from twitchvault.stores.base import (
    TokenStore,
    Unreadable,
    check_expect,
    check_key,
    check_namespace,
    check_value,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from redis.asyncio import Redis, RedisCluster

    from twitchvault.stores.base import Entry
    from twitchvault.stores.pages import Page
    from twitchvault.stores.redis.feed import RedisFeed
    from twitchvault.stores.redis.session import Session

__all__ = ["RedisStore"]


class RedisStore(TokenStore):
    """Tokens on Redis 6.2 or later, or Valkey 7.2 or later: standalone, Sentinel or Cluster.

    `url_or_client` is a URL (`redis://`, `rediss://`, `unix://`), which goes whole to the driver
    and makes a client that `close` closes; or a client of yours (`redis.asyncio.Redis`, also one
    that a Sentinel made, or `redis.asyncio.RedisCluster`), which stays open. Its options are yours:
    RESP2 or RESP3, `decode_responses` or not. It needs at least 2 connections; the store uses at
    most 5, however many tasks use the store.

    `namespace`: stores of different namespaces never see each other. All keys of one lie under one
    hash tag and have no time to live. `min_replicas`: a write returns only once so many replicas
    have confirmed it (WAIT); `StoreUnavailable` if they do not in time, although the write then is
    on the primary. How durable a write is beyond that, the server's `appendonly` and `save` say.

    A write takes place once: one that is repeated because its connection broke is recognised. If a
    call does not go through within some 5 s it raises `StoreUnavailable`, and says if a write may
    have taken place all the same. `expect` conflicts are never due to an own earlier try.

    Errors: `StoreUnavailable` for all that may heal (server away, wrong password, no permission,
    out of memory, replica, failover); `CorruptRecord` for a key that holds something else;
    `VersionConflict`; `ValueError` or `TypeError` for wrong arguments; `MissingDriver`.

    The user of an ACL needs, on `~{namespace}:*`: evalsha eval hget hmget hset hdel hgetall hlen
    hscan xadd xlen xrange xrevrange xread time; wait for `min_replicas`; info for a warning about
    `maxmemory-policy`; and what the driver sends: hello, client, select, in a Cluster also cluster
    and command.
    """

    @discreet
    def __init__(
        self,
        url_or_client: str | Redis | RedisCluster,
        *,
        namespace: str = "twitchvault",
        min_replicas: int = 0,
    ) -> None:
        _driver("link").check_source(url_or_client)
        check_namespace(namespace)
        if type(min_replicas) is not int or min_replicas < 0:
            msg = f"'min_replicas' must be 0 or a positive int, not {min_replicas!r}"
            raise ValueError(msg)
        self._owned = isinstance(url_or_client, str)
        # A function, so that who looks at attributes does not see the password.
        self._source: Callable[[], str | Redis | RedisCluster] = lambda: url_or_client
        self._namespace = namespace
        self._min_replicas = min_replicas
        self._session: Session | None = None
        self._opened = False
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"RedisStore(namespace={self._namespace!r}, min_replicas={self._min_replicas})"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, and begin the namespace if it is new; idempotent, also after `close`.

        Logs one warning if the server's `maxmemory-policy` may evict our keys.
        """
        if self._pid != os.getpid() and not self._owned:
            msg = "a RedisStore's client cannot be used after a fork: make both anew in the child"
            raise StoreError(msg)
        session = self._session
        if session is None or not session.alive:
            make: type[Session] = _driver("session").Session
            session = self._session = make(self._source(), self._namespace, self._min_replicas)
        await session.start()
        self._opened = True

    async def close(self) -> None:
        """Let what is under way go through, within some seconds, and end the feeds; idempotent.

        Closes the client if the store was made from a URL.
        """
        session = self._session
        if session is not None:
            await session.close()
            if self._session is session:
                self._session = None

    async def get(self, key: str) -> Entry | None:
        """The entry of `key` as last committed by any process, or None; asked of the primary."""
        check_key(key)
        entry = await self._ready().reads.ask(key)
        if entry is not None and isinstance(entry.value, Unreadable):
            raise entry.value.error
        return entry

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write `value` and return its version; see `TokenStore.put`. Cancelled, it may happen."""
        check_key(key)
        check_value(value)
        check_expect(expect)
        return await self._ready().writes.ask(("p", key, value, expect), len(value))

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove `key`; True if it was there; see `TokenStore.delete`."""
        check_key(key)
        check_expect(expect)
        return bool(await self._ready().writes.ask(("d", key, b"", expect)))

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """All entries whose key starts with `prefix`, in steps of some 1,000.

        The value of a damaged one is `Unreadable`.
        """
        async with aclosing(self.scan_pages(prefix)) as pages:
            async for page in pages:
                for entry in page:
                    yield entry

    def scan_pages(self, prefix: str = "") -> AsyncGenerator[Page, None]:
        """As `scan`, a step at a time."""
        return self._ready().data.pages(prefix)

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[RedisFeed]:
        """A `PushingFeed` of the keys that start with `prefix`; it also has `on_loss(listener)`.

        All feeds of a store share one connection. A change arrives with its value.
        """
        reader = self._ready().reader
        feed = await reader.enter(prefix)
        try:
            yield feed
        finally:
            await reader.leave(feed)

    def _ready(self) -> Session:
        """The open session, or an error that says why there is none."""
        session = self._session
        if session is None or not session.alive or not session.ready:
            raise _not_open(self._namespace, session, opened=self._opened)
        return session


def _driver(module: str) -> Any:  # noqa: ANN401 - a module, as `importlib` types it
    """A module of this package that needs the driver, which is imported only now."""
    try:
        return importlib.import_module(f"twitchvault.stores.redis.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
    msg = "RedisStore needs the package 'redis' (redis-py): pip install 'twitchvault[redis]'"
    raise MissingDriver(msg)


def _not_open(namespace: str, session: Session | None, *, opened: bool) -> StoreError:
    """The error for using a store that is not open."""
    store = f"the RedisStore of namespace {namespace!r}"
    if session is not None and session.alive:
        return StoreError(f"{store} is still being opened: wait until open() returns")
    if opened:
        return StoreError(f"{store} is closed, or was opened in another event loop: open it again")
    return StoreError(f"{store} is not open yet: await its open(), or use 'async with'")
