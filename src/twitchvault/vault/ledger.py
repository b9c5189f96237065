"""Records in a store: the one place where the vault touches a `TokenStore`.

Users stand under `<client_id>:<user_id>`. A refresh token that came from outside and is being
exchanged stands under `<client_id>/seed/<fingerprint>`, where no scan for users finds it.

Every call is bounded in time, whatever the store does, and every failure is a `StoreError`.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final, NamedTuple, ParamSpec, TypeVar

from twitchvault.errors import CorruptRecord, DecryptionError, StoreError, StoreUnavailable
from twitchvault.stores.base import check_key
from twitchvault.stores.pages import pages_of
from twitchvault.vault.record import Record, decode, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twitchvault.stores.base import TokenStore
    from twitchvault.vault.mirror import Mirror
    from twitchvault.vault.scan import Scan

__all__ = ["Held", "Ledger"]

P = ParamSpec("P")
T = TypeVar("T")

STORE_TIMEOUT: Final = 30.0


class Held(NamedTuple):
    """A record and the version at which the store holds it."""

    version: int
    record: Record


class Ledger:
    """Reads and writes records; what it learns of users goes into the mirror."""

    def __init__(self, store: TokenStore, client_id: str, mirror: Mirror) -> None:
        self.store = store
        self.prefix = f"{client_id}:"
        self._seeds = f"{client_id}/seed/"
        self._mirror = mirror

    def user_key(self, user_id: str) -> str:
        """The key of a user; `ValueError` if it cannot be one."""
        if not isinstance(user_id, str) or not user_id:
            msg = f"'user_id' must be a non-empty str, not {user_id!r}"
            raise ValueError(msg)
        key = self.prefix + user_id
        try:
            check_key(key)
        except ValueError as error:
            raise ValueError(str(error).replace("'key'", "'user_id' with the client id")) from None
        return key

    def seed_key(self, mark: str) -> str:
        """The key of a refresh token from outside, by its fingerprint."""
        return self._seeds + mark

    def user_of(self, key: str) -> str | None:
        """The user that a key belongs to; None for a seed's key."""
        return key[len(self.prefix) :] if key.startswith(self.prefix) else None

    async def read(self, key: str) -> Held | None:
        """The record under `key`; `CorruptRecord` or `DecryptionError` if it cannot be read."""
        user_id = self.user_of(key)
        try:
            entry = await self.call(self.store.get, key)
            held = (
                None if entry is None else Held(entry.version, decode(entry.value, user_id or key))
            )
        except (CorruptRecord, DecryptionError) as error:
            if user_id is not None:
                self._mirror.learn_damage(user_id, error)
            raise
        # That nothing was found is for the feed to tell the mirror: it knows a delete from a loss.
        if user_id is not None and held is not None:
            self._mirror.learn(user_id, held.version, held.record, "remote")
        return held

    async def version_of(self, key: str) -> int | None:
        """At which version an unreadable entry stands; None if even that cannot be known."""
        try:
            entry = await self.call(self.store.get, key)
        except (CorruptRecord, DecryptionError):
            return None
        return 0 if entry is None else entry.version

    async def write(self, key: str, record: Record, *, expect: int | None) -> int:
        """Put `record`, by compare-and-set; `VersionConflict` as the store says."""
        user_id = self.user_of(key)
        value = encode(record)
        if user_id is not None:
            self._mirror.begin_write(user_id, value)
        try:
            version = await self.call(self.store.put, key, value, expect=expect)
        finally:
            if user_id is not None:
                self._mirror.end_write(user_id)
        if user_id is not None:
            self._mirror.learn(user_id, version, record, "local")
        return version

    async def remove(self, key: str, *, expect: int | None) -> bool:
        """Delete what stands under `key`, by compare-and-set; True if there was something."""
        return await self.call(self.store.delete, key, expect=expect)

    async def load(self, *, quiet: bool) -> None:
        """Compare all users in the store with the mirror, a few hundred at a stretch."""
        scan = self._mirror.begin_scan(quiet=quiet)
        try:
            await self._mapped(self._load_from(scan))
            for user_id in self._mirror.missing(scan):
                await self._look_for(user_id)
        finally:
            self._mirror.end_scan(scan)

    async def _look_for(self, user_id: str) -> None:
        # A scan may pass over what is written meanwhile; whether it is gone only `get` can tell.
        known = self._mirror.version(user_id)
        with suppress(CorruptRecord, DecryptionError):
            if await self.read(self.user_key(user_id)) is None:
                self._mirror.forget(user_id, "remote", known=known)

    async def _load_from(self, scan: Scan) -> None:
        clock = asyncio.get_running_loop().time
        async with (
            aclosing(pages_of(self.store, self.prefix)) as pages,
            asyncio.timeout(STORE_TIMEOUT) as limit,
        ):
            async for page in pages:
                self._mirror.met(scan, page)
                limit.reschedule(clock() + STORE_TIMEOUT)
                await asyncio.sleep(0)

    async def call(self, method: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
        """What the store answers, within STORE_TIMEOUT; every failure is a `StoreError`."""

        async def bounded() -> T:
            async with asyncio.timeout(STORE_TIMEOUT):
                return await method(*args, **named)

        return await self._mapped(bounded())

    async def _mapped(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except StoreError:
            raise
        except TimeoutError:
            msg = f"the store did not answer within {STORE_TIMEOUT:g} s; is it running?"
        except Exception as error:
            msg = f"{type(self.store).__name__} failed with {type(error).__name__}"
        # Raised out here, it carries no trace of the original, which may quote what it was given.
        raise StoreUnavailable(msg)
