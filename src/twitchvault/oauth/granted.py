"""What follows the grant of a pair: a bad moment of Twitch or of the store does not lose it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from twitchvault.errors import HTTPException, RateLimited, StoreUnavailable, TwitchServerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["with_retries"]

T = TypeVar("T")

PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try. Nobody but this process holds the pair meanwhile."""


async def with_retries(call: Callable[[], Awaitable[T]]) -> T:
    """The result of the call, which is made again if it got no answer, a 429 or a 5xx, or if the
    store was away; in the end its error.
    """
    for pause in PAUSES:
        try:
            return await call()
        except (RateLimited, TwitchServerError, StoreUnavailable):
            pass
        except HTTPException as error:
            if error.status:
                raise
        await asyncio.sleep(pause)
    return await call()
