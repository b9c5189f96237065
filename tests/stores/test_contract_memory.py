"""The contract of a token store, kept by `MemoryStore`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from twitchvault.stores.memory import MemoryStore
from twitchvault.testing import StoreContract

if TYPE_CHECKING:
    from collections.abc import Callable

OWN: Final = "a MemoryStore is the data, there is no second one on them"


class TestMemoryStore(StoreContract, omits={"handles": OWN, "processes": OWN}):
    """A MemoryStore keeps the contract."""

    @pytest.fixture
    def make_store(self) -> Callable[[], MemoryStore]:
        """One store."""
        store = MemoryStore()
        return lambda: store
