"""`twitchvault remove`: taking a user out of a store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .command import row

if TYPE_CHECKING:
    from .command import Shell


async def test_remove_takes_a_user_out(shell: Shell) -> None:
    """By login or by id, without a request to Twitch; the tokens live on there."""
    shell = replace(shell, client=shell.twitch.register_client())
    pairs = [await shell.sign_in("alice"), await shell.sign_in("bob")]
    by_login, by_id = await shell.run("remove", "alice"), await shell.run("remove", "1002")
    assert by_login.code == by_id.code == 0
    assert by_login.out.startswith(shell.named("Removed alice (1001)"))
    assert by_id.out.startswith(shell.named("Removed bob (1002)"))
    assert (await shell.run("list")).out == shell.named("Nobody is in the store.\n")
    assert all(shell.twitch.is_live(pair.access_token) for pair in pairs)


async def test_remove_does_not_guess(shell: Shell) -> None:
    """An unknown name, and one that two applications know, remove nothing."""
    await shell.sign_in("alice")
    unknown = await shell.run("remove", "nobody")
    assert (unknown.code, unknown.err) == (
        2,
        "twitchvault: no user 'nobody' in the store; 'twitchvault list' shows who is there\n",
    )
    await shell.damage("another:1001")
    everywhere = {"TWITCHVAULT_CLIENT_ID": ""}
    doubtful = await shell.run("remove", "1001", **everywhere)
    assert doubtful.code == 2
    assert "several applications: add --client-id (another, " in doubtful.err
    certain = await shell.run("remove", "1001", "--client-id", "another", **everywhere)
    assert certain.code == 0, certain.err
    assert row((await shell.run("list", **everywhere)).out, "alice")[1] == "1001"
