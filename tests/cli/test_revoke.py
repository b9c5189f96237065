"""`twitchvault revoke`: ending a user's token at Twitch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .command import Shell


async def test_revoke_ends_the_token_at_twitch(shell: Shell) -> None:
    """The access token is dead and the user is out of the store; nobody else is touched."""
    pairs = [await shell.sign_in("alice"), await shell.sign_in("bob")]
    outcome = await shell.run("revoke", "alice")
    assert outcome.out == "Removed alice (1001), whose token no longer works.\n"
    live = [shell.twitch.is_live(pair.access_token) for pair in pairs]
    assert live == [False, True]
    assert list((await shell.run("list")).rows) == ["bob"]


async def test_revoke_all_goes_on_after_a_failure(shell: Shell) -> None:
    """A token that is dead already just leaves; who could not be revoked is named and stays."""
    await shell.sign_in("alice")
    await shell.sign_in("bob")
    shell.twitch.disconnect(shell.client, "alice")
    shell.twitch.fail("revoke", status=503, times=1)
    outcome = await shell.run("revoke", "--all", code=2)
    assert len(outcome.out.splitlines()) == 1
    assert outcome.err.count(": 503") == 1
    await shell.run("revoke", "--all")
    assert (await shell.run("list")).out == ""


async def test_a_document_names_each_user_with_the_outcome(shell: Shell) -> None:
    """Also who could not be revoked, and why; then the exit code is 2."""
    await shell.sign_in("alice")
    shell.twitch.fail("revoke", status=503, times=1)
    failed = await shell.run("revoke", "--all", "--json", code=2)
    (user,) = failed.json["users"]
    assert (user["login"], user["outcome"]) == ("alice", "failed")
    assert "503" in user["reason"]
