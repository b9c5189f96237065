"""Several processes on one file, forks, and the end of the interpreter."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import pytest

from .tools import run_script

if TYPE_CHECKING:
    from pathlib import Path

    from twitchvault.stores.sqlite import SQLiteStore

INCREMENT = """
import asyncio, sys
from twitchvault.errors import VersionConflict
from twitchvault.stores.sqlite import SQLiteStore

async def increment(store):
    while True:
        entry = await store.get("counter")
        value, version = (int(entry.value), entry.version) if entry else (0, 0)
        try:
            return await store.put("counter", b"%d" % (value + 1), expect=version)
        except VersionConflict:
            pass

async def main():
    store = SQLiteStore(sys.argv[1])
    await store.open()
    for _ in range(10):
        await asyncio.gather(*(increment(store) for _ in range(10)))
    await store.close()

asyncio.run(main())
"""


async def test_increments_of_two_processes(path: Path, store: SQLiteStore) -> None:
    """Compare-and-set loses none of them, and each has a version of its own."""
    command = [sys.executable, "-c", INCREMENT, str(path)]
    processes = [await asyncio.create_subprocess_exec(*command) for _ in range(2)]
    assert [await process.wait() for process in processes] == [0, 0]
    assert await store.get("counter") == ("counter", 200, b"200")


ENDING = """
import asyncio, sys
from twitchvault.stores.sqlite import SQLiteStore

path, how = sys.argv[1:]
store = SQLiteStore(path)

async def main():
    await store.open()
    await store.put("a", b"1")
    if how == "closed":
        await store.close()
    elif how == "in a feed":
        feed = await store.watch().__aenter__()
        asyncio.create_task(feed.wait())
    elif how == "while writing":
        for number in range(3000):
            asyncio.create_task(store.put(f"k{number}", bytes(1000)))
        await asyncio.sleep(0)
    elif how == "another one forgotten":
        await SQLiteStore(path).open()
    elif how == "by an error":
        sys.exit(0)
    elif how == "opening fails":
        try:
            await SQLiteStore("/").open()
        except Exception:
            pass

asyncio.run(main())
"""


@pytest.mark.parametrize(
    "how",
    [
        "closed",
        "not closed",
        "in a feed",
        "while writing",
        "another one forgotten",
        "by an error",
        "opening fails",
    ],
)
def test_the_interpreter_ends_by_itself(path: Path, how: str) -> None:
    """Soon and without a complaint, also with warnings made errors, closed or not."""
    started = time.monotonic()
    assert run_script(ENDING, path, how, flags=("-W", "error")) == ""
    assert time.monotonic() - started < 10


FORK = """
import asyncio, os, sys
from twitchvault.errors import StoreError
from twitchvault.stores.sqlite import SQLiteStore

path = sys.argv[1]
store = SQLiteStore(path)

async def before():
    await store.open()
    await store.put("a", b"1")
    return await watching.__aenter__()

async def child(feed):
    async def drain():
        feed.drain()
    steps = {
        "get": store.get("a"), "put": store.put("a", b"2"), "scan": anext(store.scan()),
        "open": store.open(), "watch": store.watch().__aenter__(), "drain": drain(),
        "catch_up": feed.catch_up(), "new store": SQLiteStore(path).open(),
    }
    for name, step in steps.items():
        try:
            await step
        except StoreError as error:
            print(name, error)
    await store.close()
    other = SQLiteStore(path + ".other")
    await other.open()
    print("another file", await other.put("a", b"1"))
    await other.close()

async def after(feed):
    print("parent", await store.put("a", b"3"), feed.drain())
    await store.close()

watching = store.watch()
loop = asyncio.new_event_loop()
feed = loop.run_until_complete(before())
if not os.fork():
    asyncio.run(child(feed))
    sys.exit()
_, status = os.wait()
loop.run_until_complete(after(feed))
loop.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_fork_with_an_open_store(path: Path) -> None:
    """The child is told, whatever it tries on that file; the parent is not disturbed."""
    message = (
        f"{str(path)!r} was open when this process was forked, and SQLite's locks do not live "
        "through that: close the store before the fork, or start the process by 'spawn' or "
        "'forkserver'"
    )
    names = "get", "put", "scan", "open", "watch", "drain", "catch_up", "new store"
    told = run_script(FORK, path, flags=("-W", "ignore::DeprecationWarning")).splitlines()
    assert told == [
        *(f"{name} {message}" for name in names),
        "another file 1",
        "parent 2 [Change(key='a', version=2, value=<1 bytes>)]",
    ]


FORK_CLOSED = """
import asyncio, os, sys
from twitchvault.stores.sqlite import SQLiteStore

store = SQLiteStore(sys.argv[1])

async def use(value):
    await store.open()
    print(await store.put("a", value))
    await store.close()

asyncio.run(use(b"parent"))
sys.stdout.flush()
if not os.fork():
    asyncio.run(use(b"child"))
    sys.exit()
os.wait()
asyncio.run(use(b"parent"))
"""


def test_a_fork_with_a_closed_store(path: Path) -> None:
    """It may be opened on both sides afterwards."""
    told = run_script(FORK_CLOSED, path, flags=("-W", "ignore::DeprecationWarning"))
    assert told.split() == ["1", "2", "3"]


LOOP_GONE = """
import asyncio, logging, sys, threading
from twitchvault.errors import StoreUnavailable
from twitchvault.stores.sqlite import SQLiteStore

logging.disable()  # asyncio's word on the task that is destroyed pending
threading.excepthook = lambda args: print("thread:", args.exc_value)
path, what = sys.argv[1:]
store = SQLiteStore(path)
loop = asyncio.new_event_loop()
loop.run_until_complete(store.open())
worker = store._session._worker.thread
gate = threading.Event()
check_file = store._session.check_file
store._session.check_file = lambda: (gate.wait(10), check_file())
lost = loop.create_task(store.put("a", b"1") if what == "write" else store.get("a"))
for _ in range(3):
    loop.run_until_complete(asyncio.sleep(0))
loop.close()
gate.set()
if what == "read":
    worker.join(10)

async def again():
    for _ in range(2):
        try:
            print(await store.put("a", b"2"))
        except StoreUnavailable as error:
            print(error)
    await store.close()
    await store.open()
    print(await store.put("a", b"3"))
    await store.close()

asyncio.run(again())
"""


def test_a_loop_closed_over_a_write(path: Path) -> None:
    """The write is carried out all the same, and the store serves the next loop."""
    assert run_script(LOOP_GONE, path, "write").splitlines() == ["2", "3", "4"]


def test_a_loop_closed_over_a_read(path: Path) -> None:
    """The driver's thread dies of it; nothing hangs, and opening again helps."""
    ended = f"the thread for {str(path)!r} has ended: close the store and open it again"
    told = run_script(LOOP_GONE, path, "read").splitlines()
    assert told == ["thread: Event loop is closed", ended, ended, "1"]
