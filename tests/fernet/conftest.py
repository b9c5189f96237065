"""Stores that the tests look into from below."""

from __future__ import annotations

import pytest

from twitchvault.stores import FernetStore, MemoryStore

from .makers import opened


@pytest.fixture
async def inner() -> MemoryStore:
    """An empty store, open, not encrypted."""
    store = MemoryStore()
    await store.open()
    return store


@pytest.fixture
async def store(inner: MemoryStore) -> FernetStore:
    """An open store over `inner`."""
    return await opened(inner)
