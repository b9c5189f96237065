"""One double and one HTTP session per test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from twitchvault.testing import FakeTwitch

from .http import HTTP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def http() -> AsyncIterator[HTTP]:
    """A running double that repeats itself, and a session without memory of cookies."""
    jar = aiohttp.DummyCookieJar()
    async with FakeTwitch(seed=7) as twitch, aiohttp.ClientSession(cookie_jar=jar) as session:
        yield HTTP(twitch, session)
