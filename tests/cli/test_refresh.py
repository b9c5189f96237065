"""`twitchvault refresh`: a new pair, asked for by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .command import Shell


async def test_a_running_program_goes_on_with_the_new_pair(shell: Shell) -> None:
    """A good pair is exchanged too, once, and a program that shares the store sees the new one."""
    old = await shell.sign_in("alice")
    async with shell.app() as app:
        outcome = await shell.run("refresh", "alice")
        token = app.get_user_by_id("1001").token
        assert token != old.access_token
        assert shell.twitch.is_live(token)
    assert outcome.rows["alice"][2] == "live"
    assert (shell.twitch.counts.exchanges, shell.twitch.counts.replays) == (1, 0)
