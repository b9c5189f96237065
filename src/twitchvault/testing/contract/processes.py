"""Several real processes on the same data."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from twitchvault.errors import VersionConflict
from twitchvault.testing.contract.kit import (
    PATIENCE,
    PROMPT,
    Kit,
    MakeStore,
    check_count,
    content,
    held,
    increment,
    opened,
    rule,
)
from twitchvault.testing.contract.picture import Picture, need_watch

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext, SpawnContext
    from multiprocessing.process import BaseProcess
    from multiprocessing.synchronize import Barrier

    from twitchvault.stores.base import TokenStore

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


class Processes(Kit):
    """What holds between processes; each makes its own store with the pickled `make_store`."""

    @rule("processes")
    async def test_compare_and_set_between_processes(
        self, store: TokenStore, opener: MakeStore
    ) -> None:
        """Processes that add one by compare-and-set lose nothing; a key is created once."""
        done = await in_processes(opener, PROCESSES)
        await check_count(store, "count", [v for each in done for v in each.versions])
        for number in range(ROUNDS):
            key = f"once:{number}"
            makers = [each.created[key] for each in done if key in each.created]
            assert len(makers) == 1, f"{len(makers)} processes created the key {key!r} (expect=0)"
            assert (await held(store, key)).version == makers[0], "another process's value stands"
        versions = [v for each in done for v in (*each.versions, *each.created.values())]
        assert len(set(versions)) == len(versions), "two processes were given the same version"
        last = await store.put("after", b"value")
        assert last > max(versions), f"version {last} came after {max(versions)} elsewhere"

    @rule("processes", "watch")
    async def test_feed_of_other_processes(self, store: TokenStore, opener: MakeStore) -> None:
        """A feed misses nothing that other processes write while it is read."""
        async with need_watch(store).watch() as feed:
            picture = Picture()
            work = asyncio.create_task(in_processes(opener, PROCESSES))
            try:
                while not work.done():
                    picture.apply(await feed.catch_up())
                    picture.apply(feed.drain())
                    await asyncio.wait({work}, timeout=0.01)
                await work
            finally:
                work.cancel()
                await asyncio.wait({work})
            picture.apply(await feed.catch_up())
            picture.check(await content(store), "a feed read while other processes wrote")


async def in_processes(make_store: MakeStore, count: int) -> list[Done]:
    """Let processes work at the same time; what each did."""
    try:
        pickle.dumps(make_store)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        pytest.fail(UNPICKLABLE.format(reason=error), pytrace=False)
    context = _context()
    barrier = context.Barrier(count)
    crew: list[tuple[BaseProcess, Connection]] = []
    try:
        for _ in range(count):
            answers, answer = context.Pipe(duplex=False)
            process: BaseProcess = context.Process(target=_work, args=(make_store, barrier, answer))
            crew.append((process, answers))
            process.start()
            answer.close()
        return [await asyncio.to_thread(_answer, *member) for member in crew]
    finally:
        for process, _ in crew:
            _end(process)


def _context() -> SpawnContext | ForkServerContext:
    """How to start processes: forked, if there is a way to do so without copying threads."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("forkserver")
    return multiprocessing.get_context("spawn")


def _answer(process: BaseProcess, answers: Connection) -> Done:
    """What a process did; fail if it failed, or does not end by itself."""
    assert answers.poll(PATIENCE - PROMPT), "a process that uses the store gives no answer"
    try:
        done = answers.recv()
    except EOFError:
        msg = "a process that uses the store died"
        raise AssertionError(msg) from None
    assert isinstance(done, Done), f"a process that uses the store failed:\n{done}"
    process.join(PROMPT)
    assert process.exitcode == 0, (
        f"a process that used the store did not end by itself (exit code {process.exitcode}): does "
        f"close() leave a thread behind?"
    )
    return done


def _end(process: BaseProcess) -> None:
    """Leave nothing of a process behind."""
    if process.pid is not None:
        process.kill()
        process.join()
    process.close()


def _work(make_store: MakeStore, barrier: Barrier, answer: Connection) -> None:
    """The life of a process."""
    try:
        answer.send(asyncio.run(_share(make_store, barrier)))
    except Exception:
        answer.send(traceback.format_exc())


async def _share(make_store: MakeStore, barrier: Barrier) -> Done:
    """Count and create together with the other processes."""
    async with opened(make_store) as store:
        await asyncio.to_thread(barrier.wait, PATIENCE / 2)
        done = Done([], {})
        for number in range(ROUNDS):
            done.versions.append(await increment(store, "count"))
            await _create(store, f"once:{number}", done)
            await _churn(store, number)
        return done


async def _create(store: TokenStore, key: str, done: Done) -> None:
    """Create a key if no other process has."""
    with suppress(VersionConflict):
        done.created[key] = await store.put(key, b"value", expect=0)


async def _churn(store: TokenStore, number: int) -> None:
    """Write or delete a key that all processes write and delete."""
    key = f"churn:{number % 5}"
    if number % 3:
        await store.put(key, b"%d" % number)
    else:
        await store.delete(key)
