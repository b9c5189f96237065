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
