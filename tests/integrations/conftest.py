"""An app with a secret, and a user of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.environment import Environment
    from twitchvault import App, UserAPI

PYTHON_OF_TWITCHPY = (3, 12)
collect_ignore = [
    "test_twitchpy_old_python.py" if sys.version_info >= PYTHON_OF_TWITCHPY else "test_twitchpy.py"
]
"""twitch.py needs a later Python than the library: before it, what the module says is tested."""


@pytest.fixture
async def app(env: Environment) -> AsyncIterator[App]:
    """An app with a secret, authorized."""
    env.client = env.confidential
    async with env.app() as app:
        yield app


@pytest.fixture
async def alice(env: Environment, app: App) -> UserAPI:
    """Alice, who is in the vault."""
    pair = env.pair(scopes=["chat:read", "chat:edit"])
    return await app.add_user(pair.access_token, pair.refresh_token)
