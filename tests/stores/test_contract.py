"""The contract of a token store, kept by the stores that need no server.

`tests/docs/test_own_store.py` runs it on the store of the page "Your own store".
"""

from __future__ import annotations

import functools
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

import pytest

from twitchvault.stores import MemoryStore, SQLiteStore
from twitchvault.testing import StoreContract

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twitchvault.stores import TokenStore

OWN: Final = "a MemoryStore is the data, there is no second one on them"


class TestMemoryStore(StoreContract, omits={"handles": OWN, "processes": OWN}):
    """`MemoryStore()`."""

    @pytest.fixture
    def make_store(self) -> Callable[[], MemoryStore]:
        """One store."""
        store = MemoryStore()
        return lambda: store


class TestSQLiteStore(StoreContract):
    """`SQLiteStore(path)`."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], SQLiteStore]:
        """Stores on one file."""
        self.path = tmp_path / "tokens.db"
        return functools.partial(SQLiteStore, self.path)

    async def damage(self, store: TokenStore, key: str) -> None:  # noqa: ARG002
        """Put a text where bytes belong."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute("UPDATE entries SET value = 'x' WHERE key = ?", (key.encode(),))
