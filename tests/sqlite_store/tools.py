"""Looking at a SQLite store from outside."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BOUND = 20.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition without a loop, within a bound."""
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


def page_size(path: Path) -> int:
    """Bytes of a page, as every SQLite file says in its header."""
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


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Keep writers waiting, as another program would; `rollback()` lets them go on."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def edit(path: Path, *sql: str) -> None:
    """Change the file as another program might."""
    with closing(sqlite3.connect(path)) as file:
        file.executescript("PRAGMA ignore_check_constraints = ON;" + ";".join(sql))


def run_script(script: str, *arguments: object) -> str:
    """What a Python program prints; it must end well, in time, and without a complaint."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BOUND, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
