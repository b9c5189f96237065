"""Stores that each have one fault, with the test of the contract that finds it."""
# ruff: noqa: D102 - a class's docstring says its fault, its methods are those of TokenStore

from __future__ import annotations

import asyncio
import functools
import itertools
import re
import sqlite3
import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING

from twitchvault.errors import CorruptRecord
from twitchvault.stores.base import Entry, Unreadable, check_arguments

from .right_store import Disk, Right, fails

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

# Versions


@fails(versions_grow_over_the_store="keep the row of a deleted key")
class ReusesVersions(Right):
    """Counts on from the largest version that is still there."""

    def next_version(self) -> int:
        return max((e.version for e in self.disk.entries.values()), default=0) + 1


@fails(
    open_and_close_are_idempotent="after close() and open() put() gave version",
    entries_outlive_their_stores="after a new store was made put() gave version",
)
class ForgetsVersions(Right):
    """Looks for the largest version at open."""

    async def open(self) -> None:
        self.disk.version = max((e.version for e in self.disk.entries.values()), default=0)


@fails(
    versions_are_in_the_order_of_commits="take the version from a row, or under a lock",
    puts_to_one_key_at_once="an older version replaced a newer one",
)
class BareSequence(Right):
    """Takes a number, and commits after a while, as a database does with a bare sequence."""

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        check_arguments(key, value)
        await self.compare(key, expect)
        self.disk.version = version = self.next_version()
        for _ in range(1 + len(value) // 4096):
            await asyncio.sleep(0)
        return self.commit(key, version, value)


# Compare and set


@fails(
    put_with_expect="must raise VersionConflict",
    delete_with_expect="must raise VersionConflict",
    one_creates="50 of 50 puts with expect=0",
)
class IgnoresExpect(Right):
    """Writes whatever the version."""

    async def compare(self, key: str, expect: int | None) -> None:
        check_arguments(key, expect=expect)


@fails(increments_at_once="in one atomic step", one_creates="puts with expect=0")
class ComparesThenWrites(Right):
    """Lets others in between comparing and writing."""

    async def compare(self, key: str, expect: int | None) -> None:
        await super().compare(key, expect)
        await asyncio.sleep(0)


@fails(one_writes_over_a_version="put() and delete() must compare and write in one atomic step")
class DeletesInTwoSteps(Right):
    """Lets others in between comparing and deleting."""

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        await self.compare(key, expect)
        await asyncio.sleep(0)
        return await super().delete(key)


# Writes that get lost, or come late


@fails(open_and_close_are_idempotent="not deleted", entries_outlive_their_stores="must find")
class ForgetsData(Right):
    """Loses all at close."""

    async def close(self) -> None:
        self.disk.entries.clear()


@fails(puts_and_deletes_at_once="of 100 puts at once")
class LosesUpdates(Right):
    """Writes back the whole table as it was read a moment before."""

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        table = dict(self.disk.entries)
        await asyncio.sleep(0)
        version = await super().put(key, value, expect=expect)
        self.disk.entries = {**table, key: self.disk.entries[key]}
        return version


@fails(cancelled_puts="took effect after a later put")
class WritesLate(Right):
    """Goes on writing in the background when the put was cancelled."""

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        await self.compare(key, expect)

        async def late() -> int:
            await asyncio.sleep(0.001 if value == b"new" else 0)
            return self.write(key, value)

        task = asyncio.create_task(late())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)


@fails(cancelled_deletes="not deleted\nThe rule: A delete that is cancelled deletes or does not")
class DeletesLate(Right):
    """Deletes all the same, some time later, when the delete was cancelled."""

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            loop = asyncio.get_running_loop()
            loop.call_later(0.3, lambda: key in self.disk.entries and self.write(key, None))
            raise
        return await super().delete(key, expect=expect)


@fails(calls_that_nobody_awaits="a Task or Future has begun already")
class WritesAtOnce(Right):
    """Begins to write when it is called, not when it is awaited."""

    def put(  # type: ignore[override]
        self, key: str, value: bytes, *, expect: int | None = None
    ) -> asyncio.Task[int]:
        return asyncio.create_task(super().put(key, value, expect=expect))


@fails(stores_see_each_other="old entry")
class Caches(Right):
    """Remembers what it read, and does not learn what others write."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.cache: dict[str, Entry] = {}

    async def get(self, key: str) -> Entry | None:
        entry = self.cache.get(key) or await super().get(key)
        if entry:
            self.cache[key] = entry
        return entry


@fails(cancelled_gets="gave the entry of another key: 'a'")
class MixesAnswers(Right):
    """Takes the answer to a get that was cancelled for that to the next one."""

    left: Entry | None = None

    async def get(self, key: str) -> Entry | None:
        if (answer := self.left) is not None:
            self.left = None
            return answer
        answer = await super().get(key)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.left = answer
            raise
        return answer


# Scans


@fails(prefixes_are_literal="literally; too many")
class LikePrefix(Right):
    """Scans as SQL's LIKE does."""

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        like = re.escape(prefix).replace("%", ".*").replace("_", ".") + ".*"
        async for entry in super().scan():
            if re.fullmatch(like, entry.key, re.IGNORECASE | re.DOTALL):
                yield entry


@fails(scan_of_many="1000 of 2500")
class OnePage(Right):
    """Reads one page of a scan as if it were all."""

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        left = 1000
        async for entry in super().scan(prefix):
            if (left := left - 1) >= 0:
                yield entry


@fails(scan_while_others_write="exactly once")
class Offsets(Right):
    """Pages by offset, so that writes shift what comes."""

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        for offset in itertools.count(0, 1000):
            found = [e for e in self.disk.entries.values() if e.key.startswith(prefix)]
            found.sort(key=lambda entry: entry.version)
            for entry in found[offset : offset + 1000]:
                yield entry
            if len(found) <= offset + 1000:
                return


@fails(abandoned_scan_blocks_nothing="expected within 0.5 s: put(), delete() and scan() return")
class LocksWhileScanning(Right):
    """Holds a lock as long as a scan is not through."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.lock = asyncio.Lock()

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        async with self.lock:
            async for entry in super().scan(prefix):
                yield entry

    async def compare(self, key: str, expect: int | None) -> None:
        async with self.lock:
            await super().compare(key, expect)


# Keys, values and errors


class Changed(Right):
    """Stores keys in another form."""

    form: Callable[[str], str]

    async def get(self, key: str) -> Entry | None:
        entry = await super().get(type(self).form(key))
        return entry and entry._replace(key=key)

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        return await super().put(type(self).form(key), value, expect=expect)


FORMS: list[tuple[str, Callable[[str], str], str]] = [
    ("FoldsCase", str.lower, "'APP'"),
    ("Normalizes", functools.partial(unicodedata.normalize, "NFC"), "\\xe9"),
    ("Strips", lambda key: key.strip() or key, "' a'"),
]
for name, form, said in FORMS:
    broken = type(name, (Changed,), {"form": staticmethod(form)})
    fails(hostile_keys_stay_apart=said)(broken)


@fails(wrong_arguments="must raise ValueError or TypeError")
class Truncates(Changed):
    """As a column of a set width may."""

    form = staticmethod(lambda key: key[:512])


@fails(put_then_get="must give Entry objects, not tuple")
class PlainTuples(Right):
    """Gives rows as the driver does."""

    async def get(self, key: str) -> Entry | None:
        entry = await super().get(key)
        return entry and tuple(entry)  # type: ignore[return-value]


@fails(values_come_back_as_they_are="put b'\\x00', got b''")
class NoNul(Right):
    """Ends values at a NUL."""

    def write(self, key: str, value: bytes | None) -> int:
        return super().write(key, value and value.split(b"\0")[0])


@fails(absent_keys="`delete` of one returns False")
class RaisesOnAbsent(Right):
    """Deletes as a dict does."""

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        await super().compare(key, expect)
        self.disk.entries.pop(key)
        return True


@fails(after_close="must work or raise StoreError, it raised Progr")
class LeaksDriverErrors(Right):
    """Lets the driver's error out when it is closed."""

    closed = False

    async def open(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True

    async def get(self, key: str) -> Entry | None:
        if self.closed:
            msg = "Cannot operate on a closed database."
            raise sqlite3.ProgrammingError(msg)
        return await super().get(key)


# Damage

DAMAGE = b"damaged"


class SeesDamage(Right):
    """Without a fault: says what it cannot read, and goes on."""

    async def get(self, key: str) -> Entry | None:
        entry = await super().get(key)
        if entry and entry.value == DAMAGE:
            raise CorruptRecord(f"the entry of {key!r} cannot be read")
        return entry

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        async for entry in super().scan(prefix):
            error = CorruptRecord(f"the entry of {entry.key!r} cannot be read")
            yield entry._replace(value=Unreadable(error)) if entry.value == DAMAGE else entry


@fails(damage_is_not_absence="must raise CorruptRecord or DecryptionError, which names")
class DamageIsAbsence(SeesDamage):
    """Takes what it cannot read for absent."""

    async def get(self, key: str) -> Entry | None:
        with suppress(CorruptRecord):
            return await super().get(key)
        return None


@fails(damage_is_not_absence="must not leave out")
class DamageIsSkipped(SeesDamage):
    """Leaves out of a scan what it cannot read."""

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        async for entry in super().scan(prefix):
            if not isinstance(entry.value, Unreadable):
                yield entry
