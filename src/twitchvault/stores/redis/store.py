"""`RedisStore`: tokens on a Redis or Valkey server, shared by any number of processes and hosts."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from twitchvault.errors import WrongValue, scrub_traceback
from twitchvault.stores.base import Watchable, check_arguments, check_key, missing_driver
from twitchvault.stores.connected import ConnectedStore, Write
from twitchvault.stores.redis.namespace import Namespace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from redis.asyncio import Redis, RedisCluster

    from twitchvault.stores.base import Entry
    from twitchvault.stores.redis.feed import RedisFeed

__all__ = ["RedisStore", "from_url"]


class RedisStore(ConnectedStore[Namespace], Watchable):
    """For processes on several machines: keeps all on a Redis or Valkey server.

    Redis 6.2 or later, or Valkey 7.2 or later: standalone, Sentinel or Cluster.
    `url_or_client` is a URL (`redis://`, `rediss://`, `unix://`), which goes whole to the driver
    and makes a client that `close` closes; or a client of yours (`redis.asyncio.Redis`, also one
    that a Sentinel made, or `redis.asyncio.RedisCluster`), which stays open and must not decode
    answers. The store uses at most 4 connections.

    `namespace`: stores of different namespaces never see each other. `min_replicas`: a write
    returns only once so many replicas have confirmed it; `StoreUnavailable` if they do not in time,
    although the write then is on the primary.

    A call whose connection breaks is repeated as the driver's `retry` says; a repeated write is
    recognised, so `expect` never conflicts with an own earlier try. What does not go through within
    some 5 s, or may heal in another way (wrong password, no permission, out of memory), raises
    `StoreUnavailable`, which says if a write may have taken place all the same. A key of the
    namespace that holds something else is a `StoreError`.
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
        super().__init__()
        try:
            from twitchvault.stores.redis.client import check_source  # noqa: PLC0415 - the driver
        except ImportError:
            raise missing_driver("RedisStore", "redis", "redis") from None
        check_source(url_or_client)
        check_key(namespace, "namespace")
        if "{" in namespace or "}" in namespace:
            raise WrongValue(f"'namespace' must not hold a brace: {namespace!r}")
        if type(min_replicas) is not int or min_replicas < 0:
            raise WrongValue(f"'min_replicas' must be 0 or a positive int, not {min_replicas!r}")
        # A function, so that a look at the attributes does not show the password.
        self._source: Callable[[], str | Redis | RedisCluster] = lambda: url_or_client
        self._name = namespace
        self._min_replicas = min_replicas

    def __repr__(self) -> str:
        return f"RedisStore(namespace={self._name!r}, min_replicas={self._min_replicas})"

    async def get(self, key: str) -> Entry | None:
        """The entry of `key` as last committed by any process, or None; asked of the primary."""
        check_arguments(key)
        return await self._opened().get(key)

    def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """All entries whose key starts with `prefix`; a damaged one has an `Unreadable` value."""
        return self._opened().scan(prefix)

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[RedisFeed]:
        """A feed of the keys that start with `prefix`; it also has `on_loss(listener)`.

        All feeds of a store share one connection. A change arrives with its value.
        """
        follower = self._opened().follower
        feed = await follower.enter(prefix)
        try:
            yield feed
        finally:
            follower.leave(feed)

    async def _connect(self) -> Namespace:
        from twitchvault.stores.redis.client import Client  # noqa: PLC0415 - the driver

        client = Client(self._source(), self._name, self._min_replicas)
        namespace = Namespace(client)
        try:
            await namespace.open()
        except BaseException:
            await client.close()
            raise
        return namespace

    async def _write(self, write: Write) -> int:
        return await self._opened().write(write)


def from_url(url: str) -> RedisStore:
    """The store of a 'redis', 'rediss' or 'unix' URL."""
    return RedisStore(url)
