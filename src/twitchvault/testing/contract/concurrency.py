"""Many tasks, many stores on the same data, and several real processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import traceback
from collections.abc import Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from itertools import cycle, product, zip_longest
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from twitchvault.errors import VersionConflict
from twitchvault.testing.contract.feeds import reading
from twitchvault.testing.contract.support import (
    CANCEL_POINTS,
    LATE,
    ContractFixtures,
    MakeStore,
    check_conflict,
    check_entry,
    get_entry,
    opened,
    reach_point,
    scan_all,
    time_limit,
)

if TYPE_CHECKING:
    from twitchvault.stores.base import TokenStore
    from twitchvault.testing.contract.support import Watch

TASKS: Final = 50
ROUNDS: Final = 4
LARGE: Final = Random(0).randbytes(2**20)  # noqa: S311 - bytes that no database can compress
"""A value whose write takes longer than that of a few bytes."""


STEP: Final = "put() and delete() must compare and write in one atomic step"
PROCESSES: Final = 3
STEPS: Final = 30
WORK_TIMEOUT: Final = 25.0
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


class Concurrency(ContractFixtures):
    """What holds when much happens at once, also in several processes."""

    async def test_increments_at_once(self, stores: list[TokenStore]) -> None:
        """50 tasks that count up by compare-and-set lose no step, whichever store each uses."""
        calls = [increment(stores[i % len(stores)], "count") for i in range(TASKS)]
        versions = await asyncio.gather(*calls)
        for store in stores:
            await check_count(store, "count", versions)

    async def test_one_creates(self, stores: list[TokenStore]) -> None:
        """Of many puts with expect=0 at once one succeeds; the others learn its version."""
        calls = [stores[i % len(stores)].put("key", b"%d" % i, expect=0) for i in range(TASKS)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        made = [(result, i) for i, result in enumerate(results) if isinstance(result, int)]
        assert len(made) == 1, (
            f"{len(made)} of {TASKS} puts with expect=0 at once succeeded: {STEP}"
        )
        version, winner = made[0]
        await check_entry(stores[0], ("key", version, b"%d" % winner), "another one stands")
        for result in results[:winner] + results[winner + 1 :]:
            check_conflict(result, "key", 0, version)

    async def test_one_writes_over_a_version(self, stores: list[TokenStore]) -> None:
        """Of many puts and deletes at once that expect one version, one succeeds."""
        for turn in range(ROUNDS):
            version = await stores[0].put("key", b"value")
            calls = (
                store.delete("key", expect=version)
                if (i + turn) % 2
                else store.put("key", b"%d" % i, expect=version)
                for i, store in zip(range(TASKS), cycle(stores), strict=False)
            )
            results = await asyncio.gather(*calls, return_exceptions=True)
            done = [result for result in results if not isinstance(result, VersionConflict)]
            assert len(done) == 1, (
                f"of {TASKS} puts and deletes at once with expect={version} one must succeed and "
                f"the others raise VersionConflict; these did not: {done}. {STEP}"
            )

    async def test_stores_see_each_other(self, stores: list[TokenStore]) -> None:
        """What one store has written, another store on the same data reads at once."""
        store, other = stores[0], stores[-1]
        for number in range(5):
            version = await store.put("key", b"%d" % number)
            expected = ("key", version, b"%d" % number)
            await check_entry(other, expected, "get() gave an old entry")
            assert await scan_all(other) == {"key": expected}, "scan() gave an old entry"
            assert await other.delete("key", expect=version) is True, "delete() by another store"
            assert await store.get("key") is None, "another store's delete is not seen"
            later = await other.put("key", b"other")
            shared = "all stores of the same data must take their versions from one place"
            assert later > version, f"another store gave version {later} after {version}: {shared}"

    async def test_versions_are_in_the_order_of_commits(self, stores: list[TokenStore]) -> None:
        """When a write can be read, its version is larger than all that could be read before."""
        for number in range(ROUNDS):
            await _check_commit_order(stores, [f"large:{number}:{i}" for i in range(8)])

    async def test_puts_to_one_key_at_once(self, stores: list[TokenStore]) -> None:
        """After many puts to one key at once, the one with the largest version stands."""
        values = [LARGE[: 2000 * (TASKS - number)] for number in range(TASKS)]
        calls = [stores[i % len(stores)].put("key", value) for i, value in enumerate(values)]
        versions = await asyncio.gather(*calls)
        last = max(versions)
        found = await get_entry(stores[0], "key")
        right = ("key", last, values[versions.index(last)])
        assert found == right, f"an older version replaced a newer one: {found}, not {last}. {STEP}"

    async def test_puts_and_deletes_at_once(self, store: TokenStore) -> None:
        """Of many writes at once none is lost, and each takes a version of its own.

        A refused put takes no other with it. Of many deletes of one key one returns True.
        """
        keys = [f"key:{number}" for number in range(2 * TASKS)]
        refused = (store.put(f"absent:{key}", b"", expect=TASKS) for key in keys[:TASKS])
        puts = (store.put(key, key.encode()) for key in keys)
        pairs = (call for pair in zip_longest(puts, refused) for call in pair if call)
        results = await asyncio.gather(*pairs, return_exceptions=True)
        for number in range(TASKS):
            check_conflict(results.pop(number + 1), f"absent:key:{number}", TASKS, 0)
        assert len(set(results)) == len(keys), f"puts must give versions of their own: {results}"
        found = await scan_all(store)
        right = {k: (k, v, k.encode()) for k, v in zip(keys, results, strict=True)}
        assert found == right, f"of {len(keys)} puts at once {len(found)} are there"
        gone = await asyncio.gather(*(store.delete("key:0") for _ in range(TASKS)))
        assert gone.count(True) == 1, f"{gone.count(True)} of {TASKS} deletes gave True"

    async def test_cancelled_puts(self, store: TokenStore) -> None:
        """A put that is cancelled leaves the old value or the new one, and has no effect later.

        The puts beside it go on.
        """
        await _check_cancelled(store, b"new")

    async def test_cancelled_deletes(self, store: TokenStore) -> None:
        """A delete that is cancelled deletes or does not, and has no effect later.

        The deletes beside it go on.
        """
        await _check_cancelled(store, None)

    async def test_cancelled_gets(self, store: TokenStore) -> None:
        """After a get that is cancelled, every get gives the entry of its own key."""
        right = [(key, await store.put(key, key.encode()), key.encode()) for key in "abcd"]
        for point in range(2 * CANCEL_POINTS):
            gets = [asyncio.create_task(store.get("a")) for _ in range(4)]
            if point < CANCEL_POINTS:
                await reach_point(point)
            else:
                await asyncio.wait(gets, return_when=asyncio.FIRST_COMPLETED)
            for get in gets:
                get.cancel()
            for entry in right:
                await check_entry(store, entry, "a get() beside a cancelled one gave another entry")
            await asyncio.wait(gets)

    @pytest.fixture
    def in_processes(self, make_store: MakeStore) -> InProcesses:
        """Lets processes write at the same time."""
        try:
            pickle.dumps(make_store)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            pytest.fail(UNPICKLABLE.format(reason=error), pytrace=False)
        return lambda: _write_in_processes(make_store)

    async def test_compare_and_set_between_processes(
        self, store: TokenStore, in_processes: InProcesses
    ) -> None:
        """Processes that count up by compare-and-set lose no step, and create each key once."""
        done = await in_processes()
        await check_count(store, "count", [v for each in done for v in each.versions])
        for number in range(STEPS):
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
        """A feed gives what other processes write, however it is read, also while nobody writes
        here.
        """
        async with reading(watch, store, {f"done:{number}" for number in range(PROCESSES)}):
            await in_processes()


async def increment(store: TokenStore, key: str) -> int:
    """Add one to the number under `key` by compare-and-set; returns the version."""
    while True:
        entry = await store.get(key)
        number, version = (int(entry.value), entry.version) if entry else (0, 0)
        await asyncio.sleep(0)  # lets others in between, also in a store that never waits
        with suppress(VersionConflict):
            return await store.put(key, b"%d" % (number + 1), expect=version)


async def check_count(store: TokenStore, key: str, versions: list[int]) -> None:
    """Fail unless every one of the increments that returned `versions` is in the number."""
    lost = f"increments by compare-and-set are lost: {STEP}"
    await check_entry(store, (key, max(versions), b"%d" % len(versions)), lost)
    assert len(set(versions)) == len(versions), "two writes were given the same version"


async def _check_commit_order(stores: list[TokenStore], keys: list[str]) -> None:
    """Write small values while large ones are on their way; fail if those are numbered too low."""
    turns = cycle(stores[:-1] or stores)  # the last one looks on
    puts = {key: asyncio.create_task(next(turns).put(key, LARGE)) for key in keys}
    newest = dict.fromkeys(keys, 0)
    while not all(put.done() for put in puts.values()):
        version = await stores[-1].put("small", b"")
        waiting = [key for key, put in puts.items() if not put.done()]
        found = await asyncio.gather(*map(stores[-1].get, waiting))
        newest |= {key: version for key, entry in zip(waiting, found, strict=True) if not entry}
    for key, put in puts.items():
        assert await put > newest[key], (
            f"{key!r} came with version {await put} when {newest[key]} could be read already: a "
            "feed that goes on above that never finds it. Number writes in the order of their "
            "commits: take the version from a row, or under a lock, that stays locked until then"
        )


async def _check_cancelled(store: TokenStore, new: bytes | None) -> None:
    """Cancel every second of some puts, or deletes (None), at each point of their way.

    Fail if one has another effect than it says, or one after a later put.
    """
    last: dict[str, int] = {}
    for point, count in product(range(CANCEL_POINTS), (1, 4)):
        keys = [f"key:{point}:{count}:{number}" for number in range(count)]
        old = b"old" if point % 2 or new is None else None
        versions = [await store.put(key, old) if old else 0 for key in keys]
        tasks: list[asyncio.Task[int]] = [
            asyncio.create_task(store.put(key, new, expect=v) if new else store.delete(key))
            for key, v in zip(keys, versions, strict=True)
        ]
        await reach_point(point)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for key, result in zip(keys, results, strict=True):
            entry = await store.get(key)
            if isinstance(result, asyncio.CancelledError):
                right = (entry.value if entry else None) in (new, old)
            else:
                right = entry == (key, result, new) if new else result is True and entry is None
            assert right, (
                f"a write that was cancelled, or beside one, gave {result!r}: {entry} stands"
            )
        last |= {key: await store.put(key, b"last") for key in keys}
    await asyncio.sleep(LATE)
    for key, version in last.items():
        late = "a cancelled put() or delete() took effect after a later put had returned"
        await check_entry(store, (key, version, b"last"), late)


async def _write_in_processes(make_store: MakeStore) -> list[Done]:
    """Let processes write at the same time; returns what each did."""
    # Forked, if there is a way to do so without copying threads.
    quick = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if quick else "spawn")
    before, loop = multiprocessing.active_children(), asyncio.get_running_loop()
    pool = ProcessPoolExecutor(PROCESSES, context)
    try:
        calls = (loop.run_in_executor(pool, _run, make_store, i) for i in range(PROCESSES))
        async with time_limit("the processes with the store do their work", WORK_TIMEOUT):
            results = await asyncio.gather(*calls)
        async with time_limit("a process ends after close(), which must leave no thread behind"):
            await asyncio.to_thread(pool.shutdown)
    finally:
        for process in set(multiprocessing.active_children()).difference(before):
            process.kill()
    for result in results:
        assert isinstance(result, Done), f"a process that uses the store failed:\n{result}"
    return [result for result in results if isinstance(result, Done)]


def _run(make_store: MakeStore, number: int) -> Done | str:
    """The work of a process; returns what it did, or why it failed."""
    try:
        return asyncio.run(_write(make_store, number))
    except Exception:
        return traceback.format_exc()


async def _write(make_store: MakeStore, number: int) -> Done:
    """Count, create, write and delete together with the other processes."""
    async with opened(make_store) as store:
        async with time_limit("all processes find what each has written", WORK_TIMEOUT):
            await store.put(f"ready:{number}", b"")
            while len(await scan_all(store, "ready:")) < PROCESSES:  # noqa: ASYNC110 - elsewhere
                await asyncio.sleep(0.005)
        done = Done([], {})
        for step in range(STEPS):
            done.versions.append(await increment(store, "count"))
            with suppress(VersionConflict):
                key = f"once:{step}"
                done.created[key] = await store.put(key, b"value", expect=0)
            await store.put(f"shared:{step % 5}", b"%d" % step)
            await store.delete(f"shared:{step % 7}")
        await store.put(f"done:{number}", b"")
        return done
