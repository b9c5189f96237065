"""Where the programs run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from twitchvault.testing import FakeTwitch

from .place import Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """A folder with the programs and an expired token, which is exchanged once or not at all."""
    async with FakeTwitch(seed=3) as twitch:
        place = Place(tmp_path, twitch)
        await place.fill()
        yield place
        assert twitch.counts.replays == 0
        assert twitch.counts.exchanges <= 1
