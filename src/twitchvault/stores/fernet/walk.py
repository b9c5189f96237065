"""A scan in pieces that lets other tasks run, and is closed however it ends."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from twitchvault.stores.pages import pages_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from twitchvault.stores.base import TokenStore
    from twitchvault.stores.pages import Page

__all__ = ["SLICE", "walk"]

SLICE: Final = 0.005
"""Seconds of work after which other tasks get their turn."""
_ENTRIES: Final = 250
_BYTES: Final = 500_000


async def walk(store: TokenStore, prefix: str = "") -> AsyncGenerator[Page, None]:
    """All entries whose key starts with `prefix`, some at a time, a few milliseconds' work.

    In pieces, because decrypting one after the other costs a third less than in between with what
    the reader does with each.
    """
    since = time.monotonic()
    async with aclosing(pages_of(store, prefix)) as pages:
        async for page in pages:
            for piece in _pieces(page):
                yield piece
                if time.monotonic() - since > SLICE:
                    await asyncio.sleep(0)
                    since = time.monotonic()


def _pieces(page: Page) -> Iterator[Page]:
    for start in range(0, len(page), _ENTRIES):
        piece = page.part(start, _ENTRIES)
        if piece.size <= _BYTES:
            yield piece
        else:
            few = max(1, len(piece) * _BYTES // piece.size)
            yield from (piece.part(place, few) for place in range(0, len(piece), few))
