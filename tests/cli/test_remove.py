"""`twitchvault remove`: taking users out of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .command import Shell


async def test_remove_takes_a_user_out(confidential: Shell) -> None:
    """By login or by id, without a request to Twitch; the tokens live on there."""
    pairs = [await confidential.sign_in("alice"), await confidential.sign_in("bob")]
    before = len(confidential.twitch.requests)
    by_login, by_id = (
        await confidential.run("remove", "alice"),
        await confidential.run("remove", "1002"),
    )
    assert by_login.out.startswith("Removed alice (1001)")
    assert by_id.out.startswith("Removed bob (1002)")
    assert (await confidential.run("list")).out == ""
    assert len(confidential.twitch.requests) == before
    assert all(confidential.twitch.is_live(pair.access_token) for pair in pairs)


async def test_remove_all(shell: Shell) -> None:
    """Every user of every application is removed, one line each; nobody is no failure."""
    pairs = [await shell.sign_in("alice"), await shell.sign_in("bob")]
    await shell.damage("another:1003")
    outcome = await shell.run("remove", "--all", TWITCHVAULT_CLIENT_ID=None)
    assert len(outcome.out.splitlines()) == 3
    again = await shell.run("remove", "--all", TWITCHVAULT_CLIENT_ID=None)
    assert again.out == ""
    assert all(shell.twitch.is_live(pair.access_token) for pair in pairs)


async def test_remove_does_not_guess(shell: Shell) -> None:
    """An unknown name, and one that two applications know, remove nothing."""
    await shell.sign_in("alice")
    unknown = await shell.run("remove", "nobody", code=2)
    assert unknown.err == shell.named(
        "twitchvault: no user 'nobody' in the store; 'twitchvault list' shows who is there\n"
    )
    await shell.damage("another:1001")
    doubtful = await shell.run("remove", "1001", code=2, TWITCHVAULT_CLIENT_ID=None)
    assert "several applications: add --client-id (another, " in doubtful.err
    await shell.run("remove", "1001", "--client-id", "another", TWITCHVAULT_CLIENT_ID=None)
    assert (await shell.run("list", TWITCHVAULT_CLIENT_ID=None)).rows["alice"][1] == "1001"
