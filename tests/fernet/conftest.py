"""Stores that the tests look into from below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from twitchvault.stores import FernetStore, MemoryStore

from .makers import opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def inner() -> AsyncIterator[MemoryStore]:
    """An empty store, open, not encrypted."""
    store = MemoryStore()
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def store(inner: MemoryStore) -> FernetStore:
    """An open store over `inner`."""
    return await opened(inner)
