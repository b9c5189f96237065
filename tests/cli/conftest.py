"""One double per test, and the command beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.processes.conftest import fleet, twitch  # noqa: F401 - fixtures
from tests.redis_store.conftest import own_server  # noqa: F401 - a fixture
from twitchvault.testing import FakeTwitch

from .command import Shell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def shell(tmp_path: Path) -> AsyncIterator[Shell]:
    """A public client, and two users; alice approves every device login at once."""
    async with FakeTwitch(seed=11, device_interval=1) as double:
        client = double.register_client(client_id="client", public=True)
        double.auto_approve(double.add_user("alice", user_id="1001"))
        double.add_user("bob", user_id="1002")
        yield Shell(tmp_path, double, client)


@pytest.fixture
def confidential(shell: Shell) -> Shell:
    """The same for a client with a secret."""
    return replace(shell, client=shell.twitch.register_client())
