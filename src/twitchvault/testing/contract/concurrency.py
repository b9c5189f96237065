"""Many tasks, many stores on the same data, and several real processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import traceback
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from twitchvault.errors import VersionConflict
from twitchvault.testing.contract.support import (
    CALL_TIMEOUT,
    CANCEL_POINTS,
    TEST_TIMEOUT,
    ContractFixtures,
    MakeStore,
    Replica,
    check_conflict,
    check_entry,
    get_entry,
    opened,
    reach_point,
    running,
    scan_all,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext, SpawnContext
    from multiprocessing.process import BaseProcess
    from multiprocessing.synchronize import Barrier

    from twitchvault.stores.base import TokenStore
    from twitchvault.testing.contract.support import Watch

TASKS: Final = 50
LATE: Final = 0.05
"""Seconds in which a cancelled write that goes on in the background would be done."""


class Concurrency(ContractFixtures):
    """What holds when much happens at once."""

    async def test_increments_of_many_tasks(self, store: TokenStore) -> None:
        """50 tasks that add one by compare-and-set lose nothing."""
        await _check_increments([store])

    async def test_increments_of_several_stores(
        self, store: TokenStore, others: list[TokenStore]
    ) -> None:
        """The same with stores on the same data."""
        await _check_increments([store, *others])

    async def test_one_creates(self, store: TokenStore) -> None:
        """Of many puts with expect=0 at once one succeeds; the others learn its version."""
        await _check_one_creates([store])

    async def test_one_of_several_stores_creates(
        self, store: TokenStore, others: list[TokenStore]
    ) -> None:
        """The same with stores on the same data."""
        await _check_one_creates([store, *others])

    async def test_stores_see_each_other(self, store: TokenStore, others: list[TokenStore]) -> None:
        """What one store has written, another on the same data reads at once."""
        other = others[0]
        for number in range(5):
            version = await store.put("key", b"%d" % number)
            expected = ("key", version, b"%d" % number)
            await check_entry(other, expected, "get() gave an old entry")
            assert await scan_all(other) == {"key": expected}, "scan() gave an old entry"
            assert await other.delete("key", expect=version) is True, "delete() by another store"
            assert await store.get("key") is None, "another store's delete is not seen"
            later = await other.put("key", b"other")
            assert later > version, f"another store gave version {later} after {version}"

    async def test_puts_and_deletes_at_once(self, store: TokenStore) -> None:
        """All puts are kept, each at a version of its own; of many deletes one returns True."""
        keys = [f"key:{number}" for number in range(2 * TASKS)]
        versions = await asyncio.gather(*(store.put(key, key.encode()) for key in keys))
        assert len(set(versions)) == len(keys), "two writes were given the same version"
        found = await scan_all(store)
        right = {k: (k, v, k.encode()) for k, v in zip(keys, versions, strict=True)}
        assert found == right, f"of {len(keys)} puts at once {len(found)} are there"
        results = await asyncio.gather(*(store.delete("key:0") for _ in range(TASKS)))
        assert results.count(True) == 1, f"{results.count(True)} of {TASKS} deletes gave True"

    async def test_refused_among_accepted(self, store: TokenStore) -> None:
        """A refused write does not take those with it that were made at the same time."""
        calls = [store.put(f"key:{i}", b"value", expect=i % 2 * TASKS) for i in range(TASKS)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        for number, result in enumerate(results):
            key, entry = f"key:{number}", await store.get(f"key:{number}")
            if number % 2:
                check_conflict(result, key, TASKS, 0)
                assert entry is None, f"a refused put left {entry!r}"
            else:
                assert entry == (key, result, b"value"), f"put({key!r}) gave {result!r}: {entry!r}"

    async def test_cancelled_put(self, store: TokenStore) -> None:
        """A put that is cancelled leaves the old value or the new one, and the store usable."""
        last: dict[str, int] = {}
        for point in range(CANCEL_POINTS):
            key = f"key:{point}"
            old = await store.put(key, b"old")
            await _check_cancelled(store, key, point, expect=old if point % 2 else None)
            last[key] = await store.put(key, b"last")
            assert last[key] > old, f"after a cancelled put version {last[key]} came after {old}"
        await asyncio.sleep(LATE)
        for key, version in last.items():
            late = "a cancelled put took effect after a later put had returned"
            await check_entry(store, (key, version, b"last"), late)

    async def test_cancelled_put_among_others(self, store: TokenStore) -> None:
        """A cancelled put does not take those with it that were made at the same time."""
        for point in range(CANCEL_POINTS // 2):
            puts = [asyncio.create_task(store.put(f"key:{i}", b"%d" % point)) for i in range(10)]
            await reach_point(point)
            for put in puts[::2]:
                put.cancel()
            results = await asyncio.gather(*puts, return_exceptions=True)
            for number in range(1, len(puts), 2):
                version = results[number]
                assert isinstance(version, int), f"a put beside a cancelled one gave {version!r}"
                entry = f"key:{number}", version, b"%d" % point
                await check_entry(store, entry, "a put beside a cancelled one is lost")


async def increment(store: TokenStore, key: str) -> int:
    """Add one to the number under `key` by compare-and-set; the version it was written at."""
    while True:
        entry = await store.get(key)
        number, version = (int(entry.value), entry.version) if entry else (0, 0)
        await asyncio.sleep(0)  # lets others in between, also in a store that never waits
        with suppress(VersionConflict):
            return await store.put(key, b"%d" % (number + 1), expect=version)


async def check_count(store: TokenStore, key: str, versions: list[int]) -> None:
    """Fail unless every one of the increments that returned `versions` is in the number."""
    lost = "increments by compare-and-set are lost: put() must compare and write in one atomic step"
    await check_entry(store, (key, max(versions), b"%d" % len(versions)), lost)
    assert len(set(versions)) == len(versions), "two writes were given the same version"


async def _check_increments(stores: Sequence[TokenStore]) -> None:
    calls = [increment(stores[i % len(stores)], "count") for i in range(TASKS)]
    versions = await asyncio.gather(*calls)
    for store in stores:
        await check_count(store, "count", versions)


async def _check_one_creates(stores: Sequence[TokenStore]) -> None:
    """Let all create the same key at once; fail unless exactly one does."""
    calls = [stores[i % len(stores)].put("key", b"%d" % i, expect=0) for i in range(TASKS)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    made = {i: result for i, result in enumerate(results) if isinstance(result, int)}
    assert len(made) == 1, f"{len(made)} of {TASKS} puts with expect=0 at once succeeded"
    ((winner, version),) = made.items()
    await check_entry(stores[0], ("key", version, b"%d" % winner), "another one stands")
    for result in results[:winner] + results[winner + 1 :]:
        check_conflict(result, "key", 0, version)


async def _check_cancelled(store: TokenStore, key: str, point: int, expect: int | None) -> None:
    """Cancel a put at some point of its way; fail if it left neither the old value nor the new."""
    put = asyncio.create_task(store.put(key, b"cancelled", expect=expect))
    await reach_point(point)
    put.cancel()
    (result,) = await asyncio.gather(put, return_exceptions=True)
    assert isinstance(result, int | asyncio.CancelledError), f"a cancelled put raised {result!r}"
    value = (await get_entry(store, key)).value
    right = [b"cancelled"] if isinstance(result, int) else [b"old", b"cancelled"]
    assert value in right, f"a cancelled put gave {result!r} and left {value!r}"


PROCESSES: Final = 3
ROUNDS: Final = 30
UNPICKLABLE: Final = """\
make_store must be picklable, so that other processes can make the store too: return a
functools.partial of a class or of a module's function, not a lambda or an inner function
({reason}).
If several processes cannot share the data, say so:
    class TestMyStore(StoreContract, omits={{"processes": "why not"}}): ..."""


class Done(NamedTuple):
    """What one process did: its increments' versions, and the keys that it created."""

    versions: list[int]
    created: dict[str, int]


InProcesses = Callable[[], Coroutine[None, None, list[Done]]]


class Processes(ContractFixtures):
    """What holds between processes; each makes its own store with the pickled `make_store`."""

    @pytest.fixture
    def in_processes(self, opener: MakeStore) -> InProcesses:
        """Lets processes write at the same time."""
        return lambda: write_in_processes(opener)

    async def test_compare_and_set_between_processes(
        self, store: TokenStore, in_processes: InProcesses
    ) -> None:
        """Processes that add one by compare-and-set lose nothing; a key is created once."""
        done = await in_processes()
        await check_count(store, "count", [v for each in done for v in each.versions])
        for number in range(ROUNDS):
            key = f"once:{number}"
            versions = [each.created[key] for each in done if key in each.created]
            assert len(versions) == 1, f"{len(versions)} processes created {key!r} (expect=0)"
            assert (await get_entry(store, key)).version == versions[0], "another value stands"
        versions = [v for each in done for v in (*each.versions, *each.created.values())]
        assert len(set(versions)) == len(versions), "two processes were given the same version"
        last = await store.put("after", b"value")
        assert last > max(versions), f"version {last} came after {max(versions)} elsewhere"

    async def test_feed_of_other_processes(
        self, store: TokenStore, watch: Watch, in_processes: InProcesses
    ) -> None:
        """A feed misses nothing that other processes write while it is read."""
        async with watch() as feed:
            replica = Replica()
            async with running(in_processes()) as (work,):
                while not work.done():
                    replica.apply(await feed.catch_up())
                    replica.apply(feed.drain())
                    await asyncio.wait({work}, timeout=0.01)
            replica.apply(await feed.catch_up())
            await replica.check(store, "a feed read while other processes wrote")


async def write_in_processes(make_store: MakeStore) -> list[Done]:
    """Let processes write at the same time; what each did."""
    try:
        pickle.dumps(make_store)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        pytest.fail(UNPICKLABLE.format(reason=error), pytrace=False)
    # Forked, if there is a way to do so without copying threads.
    if "forkserver" in multiprocessing.get_all_start_methods():
        context: ForkServerContext | SpawnContext = multiprocessing.get_context("forkserver")
    else:
        context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    processes: list[tuple[BaseProcess, Connection]] = []
    try:
        for _ in range(PROCESSES):
            answers, answer = context.Pipe(duplex=False)
            process: BaseProcess = context.Process(target=_run, args=(make_store, barrier, answer))
            processes.append((process, answers))
            process.start()
            answer.close()
        return [await asyncio.to_thread(_result, *each) for each in processes]
    finally:
        for process, _ in processes:
            if process.pid is not None:
                process.kill()
                process.join()
            process.close()


def _result(process: BaseProcess, answers: Connection) -> Done:
    """What a process did; fail if it failed, or does not end by itself."""
    assert answers.poll(TEST_TIMEOUT - CALL_TIMEOUT), "a process that uses the store hangs"
    try:
        done = answers.recv()
    except EOFError:
        raise AssertionError("a process that uses the store died") from None
    assert isinstance(done, Done), f"a process that uses the store failed:\n{done}"
    process.join(CALL_TIMEOUT)
    code = process.exitcode
    assert code == 0, f"a process did not end ({code=}): does close() leave a thread behind?"
    return done


def _run(make_store: MakeStore, barrier: Barrier, answer: Connection) -> None:
    """The work of a process."""
    try:
        answer.send(asyncio.run(_write(make_store, barrier)))
    except Exception:
        answer.send(traceback.format_exc())


async def _write(make_store: MakeStore, barrier: Barrier) -> Done:
    """Count, create, write and delete together with the other processes."""
    async with opened(make_store) as store:
        await asyncio.to_thread(barrier.wait, TEST_TIMEOUT / 2)
        done = Done([], {})
        for number in range(ROUNDS):
            done.versions.append(await increment(store, "count"))
            with suppress(VersionConflict):
                key = f"once:{number}"
                done.created[key] = await store.put(key, b"value", expect=0)
            await store.put(f"shared:{number % 5}", b"%d" % number)
            await store.delete(f"shared:{number % 7}")
        return done
