"""`twitchvault revoke`: ending a user's token at Twitch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .command import rows

if TYPE_CHECKING:
    from .command import Shell


async def test_revoke_ends_the_token_at_twitch(shell: Shell) -> None:
    """The access token is dead and the user is out of the store; nobody else is touched."""
    pairs = [await shell.sign_in("alice"), await shell.sign_in("bob")]
    outcome = await shell.run("revoke", "alice", *shell.urls)
    assert (outcome.code, outcome.out) == (
        0,
        "Removed alice (1001), whose token no longer works.\n",
    )
    live = [shell.twitch.is_live(pair.access_token) for pair in pairs]
    assert live == [False, True]
    assert list(rows((await shell.run("list")).out)) == ["bob"]


async def test_revoke_all_goes_on_after_a_failure(shell: Shell) -> None:
    """A token that is dead already just leaves; who could not be revoked is named and stays."""
    await shell.sign_in("alice")
    await shell.sign_in("bob")
    shell.twitch.disconnect(shell.client, "alice")
    shell.twitch.fail("revoke", status=503, times=1)
    outcome = await shell.run("revoke", "--all", *shell.urls)
    assert outcome.code == 2
    assert len(outcome.out.splitlines()) == 1
    assert outcome.err.count(": 503") == 1
    again = await shell.run("revoke", "--all", *shell.urls)
    assert again.code == 0, again.err
    assert (await shell.run("list")).out == ""
