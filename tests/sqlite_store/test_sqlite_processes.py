"""The end of the interpreter, and forks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .tools import run_script

if TYPE_CHECKING:
    from pathlib import Path

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


FORK = """
import asyncio, os, sys, warnings
from twitchvault.errors import StoreError
from twitchvault.stores import SQLiteStore

warnings.simplefilter("ignore", DeprecationWarning)  # threads live in the parent
store = SQLiteStore(sys.argv[1])

async def parent():
    await store.open()
    await store.put("a", b"1")
    return await watching.__aenter__()

async def child(feed):
    async def drain():
        feed.drain()
    steps = (
        store.get("a"), store.put("a", b"2"), anext(store.scan()), store.open(),
        store.watch().__aenter__(), drain(), feed.catch_up(),
    )
    for step in steps:
        try:
            await step
        except StoreError as error:
            print(error, flush=True)
    await store.close()

async def parent_again(feed):
    print(await store.put("a", b"3"), feed.drain())
    await store.close()

watching = store.watch()
loop = asyncio.new_event_loop()
feed = loop.run_until_complete(parent())
if not os.fork():
    asyncio.run(child(feed))
    os._exit(0)  # a usual end would close the parent's loop as well
_, status = os.wait()
loop.run_until_complete(parent_again(feed))
loop.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_fork(path: Path) -> None:
    """The child of an open store is told, whatever it tries; the parent is not disturbed."""
    forked = (
        f"SQLiteStore({str(path)!r}) was open when this process was forked: close it before, or "
        "start processes by 'spawn' or 'forkserver'"
    )
    feed = f"the store in {str(path)!r} is closed, or was open before a fork"
    parent = "2 [Change(key='a', version=2, value=<1 bytes>)]"
    assert run_script(FORK, path).splitlines() == [*[forked] * 5, *[feed] * 2, parent]
