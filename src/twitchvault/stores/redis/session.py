"""A `RedisStore` from `open` to `close`: everything that belongs to one event loop."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreUnavailable
from twitchvault.stores.redis.data import Data, Write
from twitchvault.stores.redis.feed import Reader
from twitchvault.stores.redis.lane import Lane
from twitchvault.stores.redis.link import OPENING, Link, connect
from twitchvault.stores.redis.scripts import Names

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

    from twitchvault.stores.base import Entry

__all__ = ["Session"]

FINISHING: Final = 3.0
"""Seconds that `close` gives to what is under way."""

log = logging.getLogger("twitchvault.stores.redis")


class Session:
    """An opened store; used up once closed."""

    def __init__(
        self, source: str | Redis | RedisCluster, namespace: str, min_replicas: int
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        owned = isinstance(source, str)
        client = connect(source) if isinstance(source, str) else source
        self._link = Link(client, Names.of(namespace), owned=owned)
        self.data = Data(self._link, min_replicas)
        self.reads: Lane[str, Entry | None] = Lane(self.data.read)
        self.writes: Lane[Write, int | bool] = Lane(self.data.write)
        self.reader = Reader(self.data)
        self._starting: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether it belongs to the running loop, has not failed to start and is not closed."""
        if not self._here or self._closing is not None:
            return False
        start = self._starting
        return start is None or not start.done() or not (start.cancelled() or start.exception())

    @property
    def _here(self) -> bool:
        return self._loop is asyncio.get_running_loop() and self._pid == os.getpid()

    @property
    def ready(self) -> bool:
        """Whether `start` is through."""
        return self._starting is not None and self._starting.done()

    async def start(self) -> None:
        """Connect; many may call it at the same time, and be cancelled each for himself."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start(), name="twitchvault-redis-open")
            # Looked at also when everybody who waited for it was cancelled.
            self._starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._starting)

    async def close(self) -> None:
        """End everything, within some seconds; goes on if the caller is cancelled."""
        if not self._here:
            return  # what belonged to a loop that is gone has gone with it
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="twitchvault-redis-close")
        await asyncio.shield(self._closing)

    async def _start(self) -> None:
        try:
            self.reader.epoch = (await self.data.state(budget=OPENING)).epoch
            policy = await self._link.policy()
        except BaseException:
            await self._link.close()
            raise
        if policy.startswith("allkeys"):
            log.warning(
                "%s: maxmemory-policy is %r, so the server may evict tokens when memory runs "
                "short; set it to 'noeviction' or 'volatile-*' (our keys have no time to live)",
                self._link.address,
                policy,
            )

    async def _close(self) -> None:
        if self._starting is not None:
            await asyncio.wait({self._starting}, timeout=FINISHING)
            self._starting.cancel()
        late = StoreUnavailable(f"{self._link.address}: the store was closed; this was not sent")
        await asyncio.gather(
            self.reads.finish(FINISHING, late),
            self.writes.finish(FINISHING, late),
            self.reader.close(),
        )
        await self._link.close()
