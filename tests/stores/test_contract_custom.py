"""The contract of a token store, kept by a store that somebody wrote for themselves."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from twitchvault.testing import StoreContract

from .custom_store import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class TestFileStore(StoreContract, omits={"watch": "it has none: the vault scans it"}):
    """40 lines around a SQLite file keep the contract."""

    @pytest.fixture
    def make_store(self, quick_path: Path) -> Callable[[], FileStore]:
        """Stores on one file."""
        return functools.partial(FileStore, quick_path / "tokens.db")
