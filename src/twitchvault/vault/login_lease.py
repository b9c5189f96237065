"""Who of several processes that want the same user signed in may show a device code."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from twitchvault.errors import StoreError, StoreUnavailable, VersionConflict
from twitchvault.vault.record import Record, decode, encode

if TYPE_CHECKING:
    from twitchvault.stores.base import Entry
    from twitchvault.vault.clocks import Clocks
    from twitchvault.vault.repository import Repository

__all__ = ["LoginLease"]


class LoginLease:
    """A lease in an entry of its own, taken by compare-and-set.

    It is dead once it has stood at one version for its ttl on the clock of whoever waits.
    """

    def __init__(self, repository: Repository, clocks: Clocks, ttl: float, name: str) -> None:
        self.ttl = ttl
        self._repository = repository
        self._clocks = clocks
        self._key = repository.login_key(name)
        self._record = Record("", lease=secrets.token_hex(8), lease_ttl=ttl)
        self._version = 0
        self._seen: tuple[int, float] = (0, 0.0)
        """The version at which another's lease stands, and since when."""

    async def take(self) -> bool:
        """Take it if nobody who is alive has it."""
        entry = await self._get()
        if entry is not None and not self._is_ours(entry) and not self._is_dead(entry):
            return False
        with suppress(VersionConflict):
            await self._put(0 if entry is None else entry.version)
            return True
        return False

    async def renew(self) -> bool:
        """Go on holding it; False if another process has taken it over."""
        try:
            await self._put(self._version)
        except VersionConflict:
            # It may be our own write, of which the store said that it had failed.
            entry = await self._get()
            if entry is None or not self._is_ours(entry):
                return False
            self._version = entry.version
        except StoreUnavailable:
            pass  # the next time, before anybody else may take it over
        return True

    async def give_back(self) -> None:
        """Let the next one have it at once."""
        with suppress(StoreError):
            store = self._repository.store
            await self._repository.call(store.delete, self._key, expect=self._version)

    async def _get(self) -> Entry | None:
        return await self._repository.call(self._repository.store.get, self._key)

    async def _put(self, expect: int) -> None:
        put = self._repository.store.put
        value = encode(self._record)
        self._version = await self._repository.call(put, self._key, value, expect=expect)

    def _is_ours(self, entry: Entry) -> bool:
        return entry.value == encode(self._record)

    def _is_dead(self, entry: Entry) -> bool:
        now, ttl = self._clocks.monotonic(), self.ttl
        with suppress(StoreError):  # what cannot be read is replaced, too, when its time is over
            ttl = decode(entry.value, self._key).lease_ttl
        if self._seen[0] != entry.version:
            self._seen = entry.version, now
        return now - self._seen[1] >= ttl
