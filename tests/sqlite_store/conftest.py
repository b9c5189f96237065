"""A path, an open store, and the certainty that nothing is left behind."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from twitchvault.stores.sqlite import SQLiteStore

from .tools import open_files, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


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
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    """An open store."""
    store = SQLiteStore(path, busy_timeout=0.3)
    await store.open()
    yield store
    await store.close()
