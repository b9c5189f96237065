"""Writing: the group commit, and cancelling; and the end of the interpreter."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.environment import until

from .tools import locked, run_script

if TYPE_CHECKING:
    from pathlib import Path

    from twitchvault.stores import SQLiteStore


ENDING = """
import asyncio, sys
from twitchvault.stores import SQLiteStore

path, how = sys.argv[1:]
store = SQLiteStore(path)

async def main():
    await store.open()
    await store.put("a", b"1")
    other = SQLiteStore("/" if how == "opening fails" else path)
    steps = {
        "closing": lambda: [store.close()],
        "opening": lambda: [other.open()],
        "opening fails": lambda: [other.open()],
        "reading": lambda: [store.get("a") for _ in range(30)],
        "watching": lambda: [watch()],
        "writing": lambda: [store.put(f"k{n}", bytes(1000)) for n in range(3000)],
    }
    tasks = [asyncio.create_task(step) for step in steps.get(how, lambda: [])()]
    await asyncio.sleep(0)
    if how in ("closed", "opening fails"):
        await store.close()
        await asyncio.wait(tasks) if tasks else None
    if how == "exit":
        sys.exit(0)
    for task in tasks:
        task.add_done_callback(lambda task: task.cancelled() or task.exception())

async def watch():
    async with store.watch() as feed:
        await feed.wait()

asyncio.run(main())
"""


WAYS = "closed,open,exit,closing,opening,opening fails,reading,watching,writing"


@pytest.mark.parametrize("how", WAYS.split(","))
def test_the_interpreter_ends_by_itself(path: Path, how: str) -> None:
    """Soon and without a complaint, whether the store is closed, or what it is doing."""
    assert run_script(ENDING, path, how) == ""


def writes(statements: list[str]) -> int:
    """How many statements wrote; each is a transaction of its own."""
    return sum("INSERT INTO entries" in statement for statement in statements)


async def test_writes_that_wait_share_a_transaction(
    statements: list[str], store: SQLiteStore
) -> None:
    """1,000 of them at most; one that waits for nobody has one of its own."""
    versions = await asyncio.gather(*(store.put(f"k{n}", b"1") for n in range(2_500)))
    assert len(set(versions)) == 2_500
    assert writes(statements) == 3
    for number in range(4, 7):
        await store.put("a", b"1")
        assert writes(statements) == number
    assert "PRAGMA synchronous = FULL" in statements


async def test_each_write_of_a_group_has_its_own_result(store: SQLiteStore) -> None:
    """Conflicts, absent keys and successes stand side by side."""
    await store.put("there", b"1")
    await store.put("gone", b"1")
    results = await asyncio.gather(
        store.put("new", b"1", expect=0),
        store.delete("absent"),
        store.delete("absent too", expect=0),
        store.put("there", b"2", expect=7),
        store.put("missing", b"1", expect=2),
        store.delete("gone", expect=2),
        store.delete("lost", expect=2),
        return_exceptions=True,
    )
    new, absent, absent_too, there, missing, gone, lost = results
    assert isinstance(new, int)
    assert (absent, absent_too, gone) == (False, False, True)
    assert [str(there), str(missing), str(lost)] == [
        "key 'there': expected version 7, found version 1",
        "key 'missing': expected version 2, found no entry",
        "key 'lost': expected version 2, found no entry",
    ]
    assert {entry.key: entry.value async for entry in store.scan()} == {"new": b"1", "there": b"1"}


async def test_a_conflict_never_names_what_was_expected(store: SQLiteStore) -> None:
    """If what was expected comes about while the write is refused, it is written after all."""
    await store.put("a", b"1")
    for _ in range(20):
        results = await asyncio.gather(
            store.put("a", b"2", expect=0), store.delete("a"), return_exceptions=True
        )
        assert [type(result) for result in results] == [int, bool]
        assert results[1] is True


async def test_cancelling(path: Path, statements: list[str], store: SQLiteStore) -> None:
    """The caller leaves at once. A write that has begun is carried out, another is taken back."""
    with locked(path) as other:
        begun = [asyncio.create_task(store.put(key, b"1")) for key in "ab"]
        await until(lambda: writes(statements) == 1)
        waiting = [asyncio.create_task(store.put(key, b"1")) for key in "bcd"]
        reading = asyncio.create_task(store.get("a"))
        await asyncio.sleep(0)
        for task in (begun[0], waiting[0], waiting[1], reading):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        other.rollback()
        await asyncio.gather(begun[1], waiting[2])
    found = [(entry.key, entry.version) async for entry in store.scan()]
    assert found == [("a", 1), ("b", 2), ("d", 3)]
