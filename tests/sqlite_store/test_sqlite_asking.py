"""What `put` and `delete` return: a coroutine to whoever wants one, a future to `gather`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

from twitchvault.errors import StoreError, VersionConflict
from twitchvault.stores.base import Entry
from twitchvault.stores.sqlite import SQLiteStore

from .tools import BOUND, held

if TYPE_CHECKING:
    from pathlib import Path

Asked = Coroutine[Any, Any, int]


async def in_a_group(asked: Asked) -> int:
    """As a task of a group."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asked)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return task.result()


async def awaited(asked: Asked) -> int:
    """As nearly everybody does it."""
    return await asked


WAYS: dict[str, Callable[[Asked], Awaitable[int]]] = {
    "await": awaited,
    "task": asyncio.create_task,
    "group": in_a_group,
    "shield": asyncio.shield,
    "timeout": lambda asked: asyncio.wait_for(asked, BOUND),
}


@pytest.mark.parametrize("way", WAYS)
async def test_it_is_a_coroutine(store: SQLiteStore, way: str) -> None:
    """Whatever takes a coroutine takes it, and gives the result or raises the error."""
    asked = store.put("a", b"1")
    assert isinstance(asked, Coroutine)
    assert await WAYS[way](asked) == 1
    assert await WAYS[way](store.delete("a")) is True
    assert await WAYS[way](store.delete("a")) is False
    with pytest.raises(VersionConflict):
        await WAYS[way](store.put("a", b"1", expect=7))


async def test_gathered_it_is_no_task(store: SQLiteStore) -> None:
    """A thousand writes that are gathered make no thousand tasks."""
    before = len(asyncio.all_tasks())
    writes = asyncio.gather(*(store.put(f"k{n}", b"1") for n in range(1_000)))
    assert len(asyncio.all_tasks()) <= before + 1
    assert await writes == list(range(1, 1_001))


async def test_puts_and_deletes_are_carried_out_as_called(store: SQLiteStore) -> None:
    """In the order of the calls, whatever is awaited first."""
    await store.put("a", b"1")
    gone, back = store.delete("a"), store.put("a", b"2")
    assert await back == 3
    assert await gone is True
    assert await store.get("a") == Entry("a", 3, b"2")


@pytest.mark.parametrize(
    ("key", "value", "expect"), [("", b"1", None), ("a", "text", None), ("a", b"1", -1)]
)
async def test_what_is_wrong_is_raised_when_awaited(
    store: SQLiteStore, key: str, value: bytes | str, expect: int | None
) -> None:
    """As by any coroutine: who gathers with `return_exceptions` gets it among the others."""
    bad = store.put(key, value, expect=expect)  # type: ignore[arg-type]
    good = store.put("b", b"1")
    results = await asyncio.gather(bad, good, return_exceptions=True)
    assert isinstance(results[0], TypeError | ValueError)
    assert results[1] == 1


async def test_of_a_closed_store(store: SQLiteStore) -> None:
    """The error comes when it is awaited."""
    await store.close()
    asked = store.put("a", b"1")
    with pytest.raises(StoreError, match="is closed"):
        await asked


async def test_closing_it_takes_the_write_back(store: SQLiteStore) -> None:
    """As closing a coroutine that never ran."""
    store.put("a", b"1").close()
    assert await store.put("b", b"1") == 1
    assert await store.get("a") is None


async def test_cancelling_a_task_leaves_what_has_begun(store: SQLiteStore) -> None:
    """The task ends at once; the write is carried out."""
    with held(store) as busy:
        assert await asyncio.to_thread(busy.wait, BOUND)
        task = asyncio.create_task(store.put("a", b"1"))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await store.get("a") == Entry("a", 1, b"1")


async def test_asked_for_by_another_thread(store: SQLiteStore) -> None:
    """The store's own loop carries it out, also if the asker's thread has a loop as well."""
    loop = asyncio.get_running_loop()
    results: list[int] = []

    async def ask() -> None:
        asked = asyncio.run_coroutine_threadsafe(store.put("a", b"1"), loop)
        results.append(await asyncio.wrap_future(asked))

    thread = threading.Thread(target=lambda: asyncio.run(ask()))
    thread.start()
    await asyncio.to_thread(thread.join, BOUND)
    assert results == [1]
    assert await store.get("a") == Entry("a", 1, b"1")


def test_asked_for_outside_of_a_loop(path: Path) -> None:
    """What is called before its loop runs is carried out in it; so is what a second loop asks."""
    store = SQLiteStore(path)

    async def writes() -> list[int]:
        await store.open()
        return [await store.put("a", b"1"), *await asyncio.gather(store.put("b", b"1"))]

    assert asyncio.run(writes()) == [1, 2]
    assert asyncio.run(store.put("c", b"1")) == 3
    assert asyncio.run(writes()) == [4, 5]
    asyncio.run(store.close())
