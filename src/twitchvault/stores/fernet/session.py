"""What stands between `open` and `close`: the inner store, and the seal of its entries."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores.fernet import check
from twitchvault.stores.fernet.seal import Seal, no_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twitchvault.stores.base import TokenStore
    from twitchvault.stores.fernet.check import Check
    from twitchvault.stores.fernet.keys import Ring
    from twitchvault.stores.fernet.source import KeySource

__all__ = ["Session"]

_PAUSE: Final = 1.0
_REPLACED: Final = (
    "the store was emptied or replaced by another while it was open: close it and open it again"
)


class Session:
    """One opening of a store. `await Session.open(...)` makes it."""

    def __init__(self, inner: TokenStore, source: KeySource, seal: Seal) -> None:
        self.inner = inner
        self.seal = seal
        self._source = source
        self._turn = asyncio.Lock()
        self._began = float("-inf")
        self._trouble = ""

    @classmethod
    async def open(
        cls,
        inner: TokenStore,
        source: KeySource,
        unlock: Callable[[TokenStore, Ring], Awaitable[Check]],
    ) -> Session:
        """Open the inner store and find out whether the keys are the right ones."""
        ring = await source.load()
        await inner.open()
        return cls(inner, source, Seal(ring, (await unlock(inner, ring)).store_id))

    @property
    def may_change(self) -> bool:
        """Whether `renew` may bring keys that open more."""
        return self._source.may_change

    async def load(self) -> None:
        """Take the keys as they are now, if they are keys of this store."""
        ring = await self._source.load()
        found = await check.read(self.inner, ring)
        if found is None or found.store_id != self.seal.store_id:
            raise StoreError(_REPLACED)
        self.seal = Seal(ring, self.seal.store_id)

    async def renew(self) -> None:
        """As `load`, for an entry that no key opens: `StoreUnavailable` if that fails.

        At most once a second, and once for all who wait at the same time: many entries may be
        damaged, and a key service is neither fast nor free.
        """
        if not self.may_change:
            return
        asked = time.monotonic()
        async with self._turn:
            if self._began < asked:
                await asyncio.sleep(self._began + _PAUSE - time.monotonic())
                await self._try_load()
        if self._trouble:
            raise StoreUnavailable(self._trouble)

    def open_late(self, key: str, token: bytes) -> bytes:
        """The value of an entry that no key opened before `renew`, or an `Unreadable`."""
        value = self.seal.open(key, token)
        note = f"; {self._trouble}" if self._trouble else ""
        return no_key(key, note) if value is None else value

    async def _try_load(self) -> None:
        self._began = time.monotonic()
        try:
            await self.load()
        except (StoreError, ValueError, TypeError) as error:
            self._trouble = f"asking for the keys again brought none that helps: {error}"
        else:
            self._trouble = ""
