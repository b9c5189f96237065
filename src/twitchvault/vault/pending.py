"""Logins that wait for their callback, in the store: any process of the application may end one."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final

from twitchvault.errors import VersionConflict

if TYPE_CHECKING:
    from twitchvault.stores.base import Entry
    from twitchvault.vault.clocks import Clocks
    from twitchvault.vault.repository import Repository

__all__ = ["LIFETIME", "PendingStates"]

LIFETIME: Final = 600.0
"""Seconds after which a login is no longer waited for."""
AT_ONCE: Final = 100


class PendingStates:
    """The states of logins that have begun; each can be taken once.

    They stand under `<client_id>/pending/<SHA-256>`, where no scan for users finds them.
    """

    def __init__(self, repository: Repository, clocks: Clocks) -> None:
        self._repository = repository
        self._clocks = clocks
        self._prefix = f"{repository.prefix.removesuffix(':')}/pending/"
        self._swept = 0.0

    async def put(self, state: str) -> None:
        """Remember a state; those that are too old are forgotten."""
        store, now = self._repository.store, self._clocks.wall()
        if abs(now - self._swept) > LIFETIME:
            self._swept = now
            old = await self._repository.call(self._expired, now)
            for start in range(0, len(old), AT_ONCE):
                some = map(self._delete, old[start : start + AT_ONCE])
                await asyncio.gather(*some, return_exceptions=True)  # else the next time
        await self._repository.call(store.put, self._key(state), b"%f" % now)

    async def take(self, state: str) -> bool:
        """Whether the state is there and not too old; it is not there any more afterwards."""
        entry = await self._repository.call(self._repository.store.get, self._key(state))
        return (
            entry is not None
            and await self._delete(entry)
            and not _is_expired(entry, self._clocks.wall())
        )

    def _key(self, state: str) -> str:
        return self._prefix + hashlib.sha256(state.encode(errors="replace")).hexdigest()

    async def _expired(self, now: float) -> list[Entry]:
        entries = self._repository.store.scan(self._prefix)
        return [entry async for entry in entries if _is_expired(entry, now)]

    async def _delete(self, entry: Entry) -> bool:
        """Whether it was this call that deleted the entry."""
        delete = self._repository.store.delete
        try:
            return await self._repository.call(delete, entry.key, expect=entry.version)
        except VersionConflict:
            return False


def _is_expired(entry: Entry, now: float) -> bool:
    try:  # on a host whose clock is behind, a login seems to begin later than now
        return not abs(now - float(entry.value)) < LIFETIME
    except (TypeError, ValueError):  # it cannot be read
        return True
