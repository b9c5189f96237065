"""Paths, an open store, and a check that nothing is left behind."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from twitchvault.stores import SQLiteStore

from .tools import BOUND, open_files, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(autouse=True)
def nothing_leaks(tmp_path: Path) -> Iterator[None]:
    """No thread and no open file is left behind by any test."""
    before = set(threading.enumerate())
    yield
    wait_until(lambda: set(threading.enumerate()) <= before, "a thread is left")
    left = [name for name in open_files() if name.startswith(str(tmp_path))]
    assert not left, "a file is left open"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "tokens.db"


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder into which any user may look."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    """An open store."""
    store = SQLiteStore(path, busy_timeout=BOUND)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What SQLite runs from now on, on all connections that are opened from now on."""
    seen: list[str] = []

    class Traced(sqlite3.Connection):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            self.set_trace_callback(seen.append)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Traced, **k))
    return seen
