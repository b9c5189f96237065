"""`twitchvault demo`: several processes and one token."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .command import Shell


async def test_each_expiry_is_one_exchange(shell: Shell) -> None:
    """However many processes call, each expired token is exchanged once and none is replayed."""
    outcome = await shell.run("demo", "--seconds", "3")
    found = re.search(r"expired (\d+) times\.\n(\d+) exchanges, 0 replays", outcome.out)
    assert found is not None, outcome.out
    assert int(found[1]) == int(found[2]) > 0


async def test_ctrl_c_ends_all_processes(shell: Shell) -> None:
    """The code is 130, and nobody of them complains."""
    async with shell.terminal("demo", "--seconds", "60") as terminal:
        await terminal.see("a token lives 2 s")
        assert await terminal.interrupted() == 130
