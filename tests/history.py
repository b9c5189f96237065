"""Histories of what several processes did to one store at the same time, and their checker.

A key is a register with versions, and versions are totally ordered, so no search is needed: what is
known to have happened must stand in the order of its versions. A call that failed
with `StoreUnavailable` may have taken place at any time after it began, or never.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
import math
import random
import time
import traceback
from collections import defaultdict
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from tests.spawning import CONTEXT, fork
from twitchvault import StoreUnavailable, VersionConflict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from multiprocessing.connection import Connection

    from twitchvault import Entry, TokenStore

KEYS: Final = tuple(f"key:{number}" for number in range(5))
NEVER: Final = math.inf
STARTING: Final = 30.0
ENDING: Final = 30.0

Kind = Literal["get", "put", "delete"]
Outcome = Literal["done", "conflict", "unknown"]


class Op(NamedTuple):
    """One call, and what became of it."""

    kind: Kind
    key: str
    start: float
    """Seconds on the machine's monotonic clock, the same for all processes."""
    end: float
    """When it returned; never, if it is unknown what became of it."""
    outcome: Outcome = "done"
    version: int = 0
    """get: the version found; put: the version given; conflict: the version found; 0: absent."""
    value: bytes | None = None
    """get: what was found; put: what was written, different each time."""
    expect: int | None = None
    deleted: bool = False


async def act(store: TokenStore, seconds: float, tasks: int, name: str) -> list[Op]:
    """Let some tasks read, write and delete at random for a while."""
    ops: list[Op] = []
    deadline = time.monotonic() + seconds
    await asyncio.gather(*(_act(store, deadline, f"{name}.{i}", ops) for i in range(tasks)))
    return ops


async def _act(store: TokenStore, deadline: float, name: str, ops: list[Op]) -> None:
    chance = random.Random(name)
    known = dict.fromkeys(KEYS, 0)
    number = 0
    while time.monotonic() < deadline:
        number += 1
        key = chance.choice(KEYS)
        expect = chance.choice([None, 0, known[key], known[key]])
        kind: Kind = chance.choices(["get", "put", "delete"], [4, 5, 1])[0]  # type: ignore[assignment]
        op = await _call(store, kind, key, f"{name}.{number}".encode(), expect)
        ops.append(op)
        if op.outcome != "unknown" and kind != "delete":
            known[key] = op.version


async def _call(store: TokenStore, kind: Kind, key: str, value: bytes, expect: int | None) -> Op:
    start = time.monotonic()
    attempt = Op(kind, key, start, NEVER, "unknown", value=value, expect=expect)
    try:
        if kind == "get":
            entry = await store.get(key)
            seen = (entry.version, entry.value) if entry else (0, None)
            return Op(kind, key, start, time.monotonic(), "done", *seen)
        if kind == "put":
            version = await store.put(key, value, expect=expect)
            return attempt._replace(outcome="done", version=version, end=time.monotonic())
        deleted = await store.delete(key, expect=expect)
        return attempt._replace(outcome="done", deleted=deleted, end=time.monotonic())
    except VersionConflict as conflict:
        found = conflict.found
        return attempt._replace(outcome="conflict", version=found, end=time.monotonic())
    except StoreUnavailable:
        return attempt


async def record(
    make_store: Callable[[], TokenStore],
    *,
    seconds: float,
    processes: int = 4,
    tasks: int = 3,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
) -> list[Op]:
    """What several processes did; `meanwhile` is called over and over until they are done."""
    recorders = []
    for number in range(processes):
        answers, answer = CONTEXT.Pipe(duplex=False)
        process = fork(_life, make_store, seconds, tasks, str(number), answer)
        answer.close()
        recorders.append((process, answers))
    try:
        for _, answers in recorders:
            await asyncio.to_thread(_answer, answers, STARTING)  # its store is open
        work = asyncio.gather(
            *(asyncio.to_thread(_answer, answers, seconds + ENDING) for _, answers in recorders)
        )
        while not work.done():
            if meanwhile is not None:
                await meanwhile()
            await asyncio.wait({work}, timeout=0.05)
        return [op for ops in await work for op in ops]
    finally:
        for process, answers in recorders:
            answers.close()
            process.kill()
            process.join()


def _answer(answers: Connection, patience: float) -> list[Op]:
    assert answers.poll(patience), "a process that acts on the store gives no answer"
    answer = answers.recv()
    assert isinstance(answer, list), f"a process that acts on the store failed:\n{answer}"
    return answer


def _life(
    make_store: Callable[[], TokenStore], seconds: float, tasks: int, name: str, answer: Connection
) -> None:
    async def live() -> list[Op]:
        store = make_store()
        await store.open()
        answer.send([])
        try:
            return await act(store, seconds, tasks, name)
        finally:
            await store.close()

    try:
        answer.send(asyncio.run(live()))
    except Exception:
        answer.send(traceback.format_exc())


def check(ops: Iterable[Op], content: Mapping[str, Entry]) -> None:
    """Raise `AssertionError` unless some order explains all outcomes."""
    ops = sorted(ops, key=lambda op: op.start)
    by_key: dict[str, list[Op]] = defaultdict(list)
    for op in ops:
        by_key[op.key].append(op)
    for key, entry in content.items():
        by_key[key].append(Op("get", key, NEVER, NEVER, "done", entry.version, entry.value))
    for key in by_key.keys() - content.keys():
        by_key[key].append(Op("get", key, NEVER, NEVER))
    writes = [write for of_key in by_key.values() for write in _writes(of_key)]
    _check_order(writes)
    for of_key in by_key.values():
        _Key(of_key).check()


def _writes(ops: list[Op]) -> list[Op]:
    """The puts of a key that took place, each with its version, in the order of versions."""
    by_value = {op.value: op for op in ops if op.kind == "put"}
    done_puts = [op for op in by_value.values() if op.outcome == "done"]
    done = {op.version: op for op in done_puts}
    assert len(done_puts) == len(done), f"one version was given to two puts: {done_puts}"
    for op in ops:
        if op.kind != "get" or not op.version:
            continue
        write = by_value.get(op.value)
        assert write is not None, f"a value that was never written to this key was read: {op}"
        assert write.outcome != "conflict", f"a put that was refused was read: {write} by {op}"
        known = done.setdefault(op.version, write._replace(version=op.version))
        assert known.value == op.value, f"two values at one version: {known} and {op}"
    return [done[version] for version in sorted(done)]


def _check_order(writes: list[Op]) -> None:
    """Fail unless versions grow over the whole store as time goes on, and each is given once."""
    writes = sorted(writes, key=lambda op: op.version)
    for one, other in itertools.pairwise(writes):
        assert one.version < other.version, f"one version was given twice: {one} and {other}"
    earliest_end = NEVER
    later: Op | None = None
    for write in reversed(writes):
        assert write.start <= earliest_end, f"{write} began after {later} was done, yet is older"
        if write.end < earliest_end:
            earliest_end, later = write.end, write


class _Largest:
    """Of pairs of a time and a number: the largest number of all that come before some time."""

    def __init__(self, pairs: Iterable[tuple[float, float]]) -> None:
        ordered = sorted(pairs)
        self._times = [when for when, _ in ordered]
        self._largest = list(itertools.accumulate((what for _, what in ordered), max))

    def before(self, when: float) -> float:
        """The largest number before that time; -1 if there is none."""
        count = bisect.bisect_left(self._times, when)
        return self._largest[count - 1] if count else -1


class _Key:
    """What happened to one key."""

    def __init__(self, ops: list[Op]) -> None:
        self.ops = ops
        self.writes = _writes(ops)
        self.by_version = {write.version: write for write in self.writes}
        reads = [op for op in ops if op.kind == "get" and op.version]
        gone = [op for op in ops if _absent(op)]
        may_delete = [op for op in ops if op.kind == "delete" and _may_have_deleted(op)]
        self._versions = _Largest((op.end, op.version) for op in (*self.writes, *reads))
        self._absences = _Largest((op.end, op.start) for op in gone)
        self._deletes = _Largest((op.start, op.end) for op in may_delete)

    def check(self) -> None:
        """Fail unless some order of these calls explains what each of them returned."""
        puts = sum(op.kind == "put" and op.outcome != "conflict" for op in self.ops)
        assert sum(op.deleted for op in self.ops) <= puts, "more was deleted than was ever written"
        for op in self.ops:
            if op.outcome == "conflict":
                assert op.version != op.expect, f"a conflict with what was expected: {op}"
            if op.kind == "get" or op.outcome == "conflict" or (_absent(op) and not op.deleted):
                self._check_found(op)
        for before, write in zip([None, *self.writes], self.writes, strict=False):
            self._check_expected(write, before)

    def _check_found(self, op: Op) -> None:
        """Fail unless this version, or absence, can have stood there at some time of the call."""
        newest = int(self._versions.before(op.start))
        if not op.version:
            write = self.by_version.get(newest)
            gone = write is None or self._deleted_between(write, op.end)
            assert gone, f"{op} found nothing, but {write} stood there"
            return
        assert op.version >= newest, f"{op} found an old version, {newest} was there before it"
        write = self.by_version.get(op.version)
        if write is not None:
            assert write.start <= op.end, f"{op} found what was written later: {write}"
            gone_since = self._absences.before(op.start) > write.end
            assert not gone_since, f"{op} found {write}, after it was known to be absent"

    def _check_expected(self, write: Op, before: Op | None) -> None:
        """Fail unless what stood there before a put can be what the put expected."""
        if write.expect is None:
            return
        if write.expect == 0:
            gone = before is None or self._deleted_between(before, write.end)
            assert gone, f"{write} expected nothing, but {before} stood there"
            return
        last = before.version if before else 0
        # A put of unknown outcome may have been seen only by its version, in a conflict.
        unread = last < write.expect < write.version and any(
            op.outcome == "conflict" and op.version == write.expect for op in self.ops
        )
        assert last == write.expect or unread, f"{write} came after {before}, not as it expected"

    def _deleted_between(self, write: Op, until: float) -> bool:
        """Whether some delete can have come after that write, and before that time."""
        return self._deletes.before(math.nextafter(until, NEVER)) >= write.start


def _absent(op: Op) -> bool:
    """Whether the key was absent at some time during the call."""
    return op.outcome == "done" and (op.kind == "delete" or (op.kind == "get" and not op.version))


def _may_have_deleted(op: Op) -> bool:
    """Whether the delete took something away, for all one knows."""
    return op.deleted or op.outcome == "unknown"
