"""One double per test, a public and a confidential client, and a store in memory or in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from twitchvault import MemoryStore
from twitchvault.stores.sqlite import SQLiteStore
from twitchvault.testing import FakeTwitch

from .world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from twitchvault.stores.base import TokenStore


@pytest.fixture
async def twitch() -> AsyncIterator[FakeTwitch]:
    """A double that repeats itself, without a limit on Helix calls."""
    async with FakeTwitch(seed=7, helix_limit=1_000_000) as twitch:
        yield twitch


@pytest.fixture
async def worlds(twitch: FakeTwitch) -> AsyncIterator[Callable[..., World]]:
    """Makes clients; what they leave open is closed."""
    made: list[World] = []

    def make(**options: Any) -> World:  # noqa: ANN401 - World's own
        made.append(World(twitch, **options))
        return made[-1]

    yield make
    for world in made:
        await world.close()


@pytest.fixture
def world(worlds: Callable[..., World]) -> World:
    """A public client: one-use refresh tokens, and a replay cuts the connection."""
    return worlds()


@pytest.fixture
def confidential(worlds: Callable[..., World]) -> World:
    """A client with a secret."""
    return worlds(public=False)


@pytest.fixture
async def memory() -> AsyncIterator[MemoryStore]:
    """An open store in memory."""
    store = MemoryStore()
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    """An open store in a file."""
    store = SQLiteStore(tmp_path / "vault.db")
    await store.open()
    yield store
    await store.close()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TokenStore]:
    """An open store: one in memory, then one in a file."""
    store = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "vault.db")
    await store.open()
    yield store
    await store.close()
