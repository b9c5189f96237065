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


async def test_twitch_is_not_asked_about_a_lost_login(shell: Shell) -> None:
    """A user who has to sign in makes the exit code 1, without a request for that user."""
    await shell.sign_in("alice")
    shell.twitch.disconnect(shell.client, "alice")
    for _ in range(2):
        await shell.run("refresh", "--all", code=1)
    assert shell.twitch.counts.refused_refreshes == 1
