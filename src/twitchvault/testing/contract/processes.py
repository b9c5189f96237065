"""Several real processes on the same data."""

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
from twitchvault.testing.contract.concurrency import check_count, increment
from twitchvault.testing.contract.replica import Replica
from twitchvault.testing.contract.support import (
    CALL_TIMEOUT,
    TEST_TIMEOUT,
    ContractFixtures,
    MakeStore,
    get_entry,
    opened,
    running,
)

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext, SpawnContext
    from multiprocessing.process import BaseProcess
    from multiprocessing.synchronize import Barrier

    from twitchvault.stores.base import TokenStore
    from twitchvault.testing.contract.support import Watch

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
    assert process.exitcode == 0, (
        f"a process that used the store did not end by itself (exit code {process.exitcode}): does "
        f"close() leave a thread behind?"
    )
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
