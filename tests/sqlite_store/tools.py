"""Looking into a SQLite store from outside."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from twitchvault.stores.sqlite import SQLiteStore

BOUND = 20.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition without a loop, within a bound."""
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


def page_size(path: Path) -> int:
    """Bytes of a page, as every SQLite file tells in its header."""
    return int.from_bytes(path.read_bytes()[16:18])


def open_files() -> list[str]:
    """The paths this process has open, where the system tells."""
    names = []
    for link in Path("/proc/self/fd").glob("*"):
        try:
            names.append(os.readlink(link))  # noqa: PTH115 - a Path would not show '(deleted)'
        except FileNotFoundError:
            continue
    return names


def permissions(folder: Path) -> dict[str, int]:
    """The files of a folder."""
    return {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()}


def writer(store: SQLiteStore) -> sqlite3.Connection:
    """The connection on the worker's thread."""
    assert store._session
    return store._session._worker.connections.writer


@contextmanager
def held(store: SQLiteStore) -> Iterator[threading.Event]:
    """Keep the worker's thread busy meanwhile; the event says that it is."""
    assert store._session
    gate, busy = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        busy.set()
        gate.wait(BOUND)

    task = asyncio.ensure_future(store._session.run(hold))
    try:
        yield busy
    finally:
        gate.set()
        task.add_done_callback(lambda _: busy.wait(BOUND))


@contextmanager
def commits(store: SQLiteStore) -> Iterator[list[str]]:
    """The COMMITs of the writer, as SQLite itself reports them."""
    seen: list[str] = []
    connection = writer(store)
    connection.set_trace_callback(lambda sql: seen.append(sql) if sql == "COMMIT" else None)
    try:
        yield seen
    finally:
        connection.set_trace_callback(None)


def run_script(script: str, *arguments: object, flags: tuple[str, ...] = ()) -> str:
    """What a Python program of its own prints; it must end well, in time, and without a word of
    complaint.
    """
    command = [sys.executable, *flags, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BOUND, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
