"""Stores as the contract wants them: made without arguments, also in other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twitchvault.stores import RedisStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis, RedisCluster


class Maker:
    """Makes stores on clients of the test's own; `close` closes the clients."""

    def __init__(
        self, client: Callable[..., Redis | RedisCluster], namespace: str, **options: object
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._options = options
        self._made: list[Redis | RedisCluster] = []

    def __call__(self) -> RedisStore:
        """A store that is not open yet."""
        self._made.append(self._client(**self._options))
        return RedisStore(self._made[-1], namespace=self._namespace)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_made": []}

    async def close(self) -> None:
        """Close all clients made here."""
        for client in self._made:
            await client.aclose()
