"""Records in a store: the one place where the vault touches a `TokenStore`.

Users stand under `<client_id>:<user_id>`. A refresh token that came from outside and whose user is
not known stands under `<client_id>/seed/<fingerprint>`, where no scan for users finds it.

Every call is bounded in time, whatever the store does, and every failure is a `StoreError`. What is
read is compared with what this process holds: a store that has lost data gets it back first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, ParamSpec, TypeVar

from msgspec.structs import replace

from twitchvault.errors import (
    CorruptRecord,
    DecryptionError,
    StoreError,
    StoreUnavailable,
    VersionConflict,
    WrongEventLoop,
)
from twitchvault.stores.base import Watchable, check_key, check_not_encrypted
from twitchvault.vault.losses import descends, leaves_trace
from twitchvault.vault.parked import is_with
from twitchvault.vault.record import Record, decode, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twitchvault.metrics import Metrics
    from twitchvault.stores.base import Entry, TokenStore
    from twitchvault.vault.mirror import Mirror

__all__ = ["UNREADABLE", "Held", "Repository", "WriteLost", "was_cancelled"]

P = ParamSpec("P")
T = TypeVar("T")

UNREADABLE: Final = (CorruptRecord, DecryptionError)
"""What is raised for an entry that is there but cannot be read."""
SAME_AS: Final = {"check_not_encrypted": "get", "_expired": "scan"}
"""What functions of ours ask a store for, as it is called in metrics."""
STORE_TIMEOUT: Final = 30.0
BATCH: Final = 500
"""Entries of a scan that are taken in before the loop goes on."""
MAX_SEEDS_HELD: Final = 1000
RESTORES: Final = 5
"""So often in a row a record is written back before the store counts as unavailable."""


class WriteLost(VersionConflict):
    """The write has taken place, but the store does not hold it any more."""


class Held(NamedTuple):
    """A record and the version at which the store holds it."""

    version: int
    record: Record


class Repository:
    """Reads and writes records; what it learns of users goes into the mirror.

    `catch_up` brings into the mirror all that was committed before its call. `losses` counts how
    often the store was found to have lost data; `loss` is set the next time.
    """

    catch_up: Callable[[], Awaitable[None]]

    def __init__(self, store: TokenStore, client_id: str, mirror: Mirror, metrics: Metrics) -> None:
        self.store = store
        self._metrics = metrics
        self.watchable = store if isinstance(store, Watchable) else None
        self.prefix = f"{client_id}:"
        self._seed_prefix = f"{client_id}/seed/"
        self._seeds: dict[str, tuple[Record, int]] = {}
        self.losses = 0
        self.loss = asyncio.Event()
        self._mirror = mirror

    def note_loss(self) -> None:
        """The store was found to have lost data."""
        self.losses += 1
        self._mirror.has_lost = True
        loss, self.loss = self.loss, asyncio.Event()
        loss.set()

    def user_key(self, user_id: str) -> str:
        """The key of a user; `TypeError` or `ValueError` if the id cannot be one."""
        if not isinstance(user_id, str) or not user_id:
            raise TypeError(f"'user_id' must be a non-empty str, not {type(user_id).__name__}")
        key = self.prefix + user_id
        try:
            check_key(key)
        except ValueError as error:
            raise ValueError(str(error).replace("'key'", "'user_id' with the client id")) from None
        return key

    def seed_key(self, mark: str) -> str:
        """The key of a refresh token from outside, by its fingerprint."""
        return self._seed_prefix + mark

    def login_key(self, name: str) -> str:
        """The key of the lease on a device login, where no scan for users finds it."""
        return f"{self.prefix.removesuffix(':')}/login/{name}"

    def user_of(self, key: str) -> str | None:
        """The user that a key belongs to; None for a seed's key."""
        return key[len(self.prefix) :] if key.startswith(self.prefix) else None

    # Reading

    async def read(self, key: str, *, absent_is_lost: bool | None = None) -> Held | None:
        """The record under `key`; what the store has lost of it is written back before.

        `absent_is_lost` says what it means that the store has no record of a user whom the mirror
        holds; None: the feed knows of every delete, so it is asked. `CorruptRecord` or
        `DecryptionError` if the record cannot be read, `StoreUnavailable` if the store does not
        keep what is written back.
        """
        user_id = self.user_of(key)
        for _ in range(RESTORES):
            known = self._mirror.version(user_id or "")
            held = await self._get(key)
            ours = self._known_seed(key) if user_id is None else self._mirror.confirmed(user_id)
            if ours is None or (held is not None and not self._is_behind(user_id, held, ours)):
                return held
            if self._mirror.version(user_id or "") > max(known, held.version if held else 0):
                continue  # what is newer was written while the store was asked
            if held is None:
                lost = absent_is_lost
                if user_id is not None and leaves_trace(ours):
                    lost = True
                if not (await self._is_lost(key, user_id) if lost is None else lost):
                    return None
            self.note_loss()
            if user_id is not None:
                ours = replace(ours, restored=ours.restored + 1)
            with suppress(VersionConflict):
                await self.write(key, ours, expect=0 if held is None else held.version)
        msg = f"the store does not keep the record of {user_id or key!r}; nothing was sent"
        raise StoreUnavailable(msg)

    def _is_behind(self, user_id: str | None, held: Held, ours: Record) -> bool:
        """Whether the store holds something older than this process does."""
        if held.record.order == ours.order and user_id is not None:
            known = self._mirror.version(user_id)
            # What was put together from both after a loss is not in the store yet.
            return held.version < known or (held.version == known and held.record != ours)
        return held.record.order < ours.order

    async def _is_lost(self, key: str, user_id: str | None) -> bool:
        """Whether a record that is not in the store is there no more without a delete."""
        if user_id is None:
            await self.catch_up()
            mark = key.removeprefix(self._seed_prefix)
            known = self._seeds.get(key)
            seed, losses = known or (None, 0)
            if seed and not self._mirror.find(partial(is_with, mark=mark, seed=seed), durable=True):
                # Whoever gives a lease back deletes it: only a loss tells that it should be there.
                return seed.lease is None or losses != self.losses
            self._seeds.pop(key, None)
            return False
        if self.watchable is None:
            return False
        await self.catch_up()
        return self._mirror.confirmed(user_id) is not None

    async def _get(self, key: str) -> Held | None:
        user_id = self.user_of(key)
        try:
            entry = await self._get_entry(key)
            if entry is None:
                return None  # the feed tells the mirror: it knows a delete from a loss
            if not _is_entry(entry, key):
                expected = "an Entry(key, version, value) of that key, or None"
                raise self._wrong_answer("get", expected)
            held = Held(entry.version, decode(entry.value, user_id or key))
        except UNREADABLE as error:
            if user_id is not None:
                self._mirror.learn_damage(user_id, error)
            raise
        if user_id is not None:
            self._mirror.learn(user_id, held.version, held.record, "remote")
        else:
            self._hold_seed(key, held.record)
        return held

    async def refuse_encrypted(self) -> None:
        """Raise `DecryptionError` if a `FernetStore` encrypts this store, which is open without it.

        Another process may have begun to after this one had opened the store.
        """
        await self.call(check_not_encrypted, self.store)

    def refuse_unreadable(self) -> None:
        """Raise if there are records that only other processes can read."""
        user_id = self._mirror.readable_elsewhere()
        if user_id is not None:
            encrypted = isinstance(self._mirror.damaged.get(user_id), DecryptionError)
            what, kind = (
                ("the keys of all records", DecryptionError)
                if encrypted
                else ("the newest twitchvault that writes to it", CorruptRecord)
            )
            raise kind(
                f"the record of user {user_id!r} cannot be read here and may remember this refresh "
                f"token as spent, so it was not sent: open the store with {what}, or remove that "
                "user"
            )

    async def _get_entry(self, key: str) -> Entry | None:
        for _ in range(RESTORES):
            losses = self.losses
            entry = await self.call(self.store.get, key)
            if losses == self.losses:
                return entry
            user_id = self.user_of(key)
            # It may be from before the loss.
            if user_id is not None and entry is not None and _is_entry(entry, key):
                self._mirror.learn_lost(user_id, entry.value)
        raise StoreUnavailable("the store loses data all the time; nothing was sent")

    async def version_of(self, key: str) -> int | None:
        """At which version an unreadable entry stands; None if even that cannot be known."""
        try:
            entry = await self.call(self.store.get, key)
        except UNREADABLE:
            return None
        return 0 if entry is None else entry.version

    async def scan(self, missing: dict[str, int], *, quiet: bool) -> None:
        """Take all users into the mirror, and out of `missing` whom the store holds."""
        scanned = self._mapped(partial(self._scan, missing, quiet=quiet), None)
        await self._metrics.timed("store_call", scanned, method="scan")

    async def _scan(self, missing: dict[str, int], *, quiet: bool) -> None:
        clock = asyncio.get_running_loop().time
        count = 0
        entries = self.store.scan(self.prefix)
        try:
            async with asyncio.timeout(STORE_TIMEOUT) as limit:
                async for entry in entries:
                    if not entry.key.startswith(self.prefix):
                        continue
                    missing.pop(self._mirror.fill(entry, quiet=quiet), None)
                    count += 1
                    if count % BATCH == 0:
                        limit.reschedule(clock() + STORE_TIMEOUT)
                        await asyncio.sleep(0)
        finally:
            if isinstance(entries, AsyncGenerator):
                await entries.aclose()

    # Writing

    async def write(self, key: str, record: Record, *, expect: int | None) -> int:
        """Put `record`, by compare-and-set; `VersionConflict` as the store says."""
        user_id = self.user_of(key)
        value = encode(record)
        if user_id is None:
            version = await self._put(key, value, expect)
            self._hold_seed(key, record)
            return version
        losses, clears = self.losses, self._mirror.clears
        self._mirror.begin_write(user_id, value)
        version = await self._put(key, value, expect)
        self._mirror.end_write(user_id, value)
        if clears != self._mirror.clears and losses == self.losses:
            self._mirror.on_loss(user_id)  # it may be deleted since, which no scan tells
            return version
        self._mirror.learn(user_id, version, record, "local")
        if losses != self.losses:
            self._mirror.on_loss(user_id)  # it may be among what was lost
        confirmed = self._mirror.confirmed(user_id)
        if confirmed is not None and not descends(confirmed, record):
            # Others have written something since without having seen it: it was lost.
            raise WriteLost(key, version, self._mirror.version(user_id))
        return version

    async def _put(self, key: str, value: bytes, expect: int | None) -> int:
        version = await self.call(self.store.put, key, value, expect=expect)
        if not isinstance(version, int):
            raise self._wrong_answer("put", "the new version, an int")
        return version

    async def delete(self, key: str, *, expect: int | None) -> None:
        """Delete what stands under `key`, by compare-and-set."""
        user_id = self.user_of(key)
        if user_id is None:
            await self.call(self.store.delete, key, expect=expect)
            self._hold_seed(key, None)
            return
        known = self._mirror.version(user_id) if expect is None else expect
        losses = self.losses
        self._mirror.begin_write(user_id, None)
        await self.call(self.store.delete, key, expect=expect)
        self._mirror.end_write(user_id, None)
        if losses != self.losses:  # what was deleted may be back
            raise WriteLost(key, known, known)
        self._mirror.forget(user_id, "local", known=known)

    def has_arrived(self, key: str, record: Record | None) -> bool:
        """Whether the feed has told of a write of `record` whose answer was an error.

        Somebody else may have changed it since, so it must not be written once more.
        """
        user_id = self.user_of(key)
        if user_id is None:
            return False
        return self._mirror.has_arrived(user_id, None if record is None else encode(record))

    # Seeds are in no mirror: what this process knows of them, leases of others too, is held until
    # it is with its user.

    def _known_seed(self, key: str) -> Record | None:
        return self._seeds[key][0] if key in self._seeds else None

    def _hold_seed(self, key: str, record: Record | None) -> None:
        known = self._known_seed(key)
        if record is not None and known is not None and record.order < known.order:
            return
        self._seeds.pop(key, None)
        if record is None or (record.seeded and record.lease is None and record.state == "live"):
            return
        self._seeds[key] = record, self.losses
        if len(self._seeds) > MAX_SEEDS_HELD:
            del self._seeds[next(iter(self._seeds))]

    async def restore_seeds(self) -> None:
        """Write back the seeds that a store has lost."""
        for key in list(self._seeds):
            await self.read(key)

    # Calling the store

    async def call(self, method: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
        """What the store answers, within STORE_TIMEOUT; every failure is a `StoreError`."""
        answer = self._mapped(partial(method, *args, **named), STORE_TIMEOUT)
        name = getattr(method, "__name__", "")
        name = SAME_AS.get(name, name)
        return await self._metrics.timed("store_call", answer, method=name)

    async def _mapped(self, ask: Callable[[], Awaitable[T]], timeout: float | None) -> T:
        try:
            async with asyncio.timeout(timeout):
                return await ask()
        except (StoreError, WrongEventLoop):
            raise
        except TimeoutError:
            msg = f"the store did not answer within {STORE_TIMEOUT:g} s; is it running?"
        except asyncio.CancelledError:
            if was_cancelled():
                raise
            msg = f"a call of {type(self.store).__name__} was cancelled from within"
        except Exception as error:
            msg = f"{type(self.store).__name__} failed with {type(error).__name__}"
        # Raised out here, it carries no trace of the original, which may quote what it was given.
        raise StoreUnavailable(msg)

    def _wrong_answer(self, method: str, expected: str) -> StoreUnavailable:
        name = type(self.store).__name__
        return StoreUnavailable(
            f"{name}.{method}() must return {expected}; StoreContract tells more"
        )


def was_cancelled() -> bool:
    """Whether somebody cancels this task; else a `CancelledError` comes from a store's inside."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _is_entry(entry: Entry, key: str) -> bool:
    version, value = getattr(entry, "version", None), getattr(entry, "value", None)
    is_of_key = getattr(entry, "key", None) == key
    return is_of_key and isinstance(version, int) and isinstance(value, bytes)
