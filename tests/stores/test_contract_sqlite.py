"""The contract of a token store, kept by `SQLiteStore`."""

from __future__ import annotations

import functools
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from twitchvault.stores.sqlite import SQLiteStore
from twitchvault.testing import StoreContract

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twitchvault.stores.base import TokenStore


class TestSQLiteStore(StoreContract):
    """A SQLiteStore keeps the contract."""

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
