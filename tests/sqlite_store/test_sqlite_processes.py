"""The end of the interpreter, and kill -9 at random moments: the file stays whole."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
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


ROUNDS = 120
ROUNDS_PER_FILE = 10
KEYS = "abcdef"

# One quick-starting writer for each line with a path. Everything is imported before the forks.
WRITERS = """
import asyncio, concurrent.futures.thread, itertools, os, sys
from twitchvault.stores import SQLiteStore

SQLiteStore("imports.db")

async def main(path):
    store = SQLiteStore(path)
    await store.open()
    async def write(key):
        for number in itertools.count(1):
            version = await store.put(key, b"%d " % number * (200 * number % 1999 + 1))
            os.write(1, f"{key} {version} {number}\\n".encode())
    await asyncio.gather(*map(write, sys.argv[1]))

for path in map(str.strip, sys.stdin):
    pid = os.fork()
    if not pid:
        os.write(1, f"writing {os.getpid()}\\n".encode())
        asyncio.run(main(path))
    os.waitpid(pid, 0)
    os.write(1, b"dead\\n")
"""


def one_life(writers: subprocess.Popen[str], path: Path, *, late: bool) -> dict[str, list[int]]:
    """Let a writer write, kill it; the last version and number that it reported for each key."""
    assert writers.stdin
    assert writers.stdout
    writers.stdin.write(f"{path}\n")
    writers.stdin.flush()
    word, pid = writers.stdout.readline().split()
    assert word == "writing"
    lines = [writers.stdout.readline()] if late else []
    time.sleep(random.uniform(0, 0.06))  # the random moment itself: nothing is waited for
    os.kill(int(pid), signal.SIGKILL)
    while (line := writers.stdout.readline()) != "dead\n":
        lines.append(line)
    return {key: [*map(int, rest)] for key, *rest in map(str.split, lines)}


def inspect(path: Path, copies: Path) -> dict[str, tuple[int, bytes]]:
    """What a copy of the files holds; the originals wait for the next writer to recover them."""
    copies.mkdir()
    for original in path.parent.glob(f"{path.name}*"):
        if not original.name.endswith("-shm"):
            shutil.copy(original, copies)
    with closing(sqlite3.connect(copies / path.name)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        tables = file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        rows = file.execute("SELECT key, version, value FROM entries").fetchall() if tables else []
    shutil.rmtree(copies)
    return {key.decode(): (version, value) for key, version, value in rows}


@pytest.mark.long
@pytest.mark.timeout(120)
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """120 lives, ten on each file: no damage, no acknowledged write lost, none half written.

    Each second one is killed after its first write; the others may die while they open the file.
    """
    command, pipe = [sys.executable, "-c", WRITERS, KEYS], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as writers:
        for life in range(ROUNDS):
            path = tmp_path / f"{life // ROUNDS_PER_FILE}.db"
            reported = one_life(writers, path, late=bool(life % 2))
            found = inspect(path, tmp_path / "copies")
            for key, (version, number) in reported.items():
                assert found[key][0] >= version, f"life {life}: a write of {key!r} is lost"
                if found[key][0] == version:
                    assert found[key][1].startswith(b"%d " % number)
            for version, value in found.values():
                number = int(value.split()[0])
                assert value == b"%d " % number * (200 * number % 1999 + 1), f"half at {version}"
        assert writers.stdin
        writers.stdin.close()
