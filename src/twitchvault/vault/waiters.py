"""Who waits for news of a user."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Waiters"]


class Waiters:
    """Iterating gives the users that somebody waits for."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._waiting)

    def wake(self, user_id: str) -> None:
        """There is news of this user."""
        for waiter in self._waiting.pop(user_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, user_id: str, timeout: float) -> None:
        """Return once there is news of this user, or after `timeout`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user_id, []).append(waiter)
        try:
            await asyncio.wait((waiter,), timeout=timeout)
        finally:
            waiter.cancel()
            others = [other for other in self._waiting.get(user_id, ()) if not other.done()]
            if others:
                self._waiting[user_id] = others
            else:
                self._waiting.pop(user_id, None)
