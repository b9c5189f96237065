"""`twitchvault list`: who is in a store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .command import row

if TYPE_CHECKING:
    from .command import Shell


async def test_an_empty_store_is_said_to_be_empty(shell: Shell) -> None:
    """The list of nobody is a sentence, not an empty table."""
    await shell.leave_empty()
    outcome = await shell.run("list")
    assert (outcome.code, outcome.out) == (0, shell.named("Nobody is in the store.\n"))


async def test_list_shows_who_is_there_and_asks_nobody(shell: Shell) -> None:
    """Name, id, state, time and scopes of each user, without a request to Twitch."""
    shell = replace(shell, client=shell.twitch.register_client())
    await shell.sign_in("alice")
    await shell.sign_in("bob", "bits:read")
    before = len(shell.twitch.requests)
    outcome = await shell.run("list")
    assert outcome.code == 0
    assert f"Application {shell.client.client_id}" in outcome.out
    assert row(outcome.out, "alice")[1:3] == ["1001", "live"]
    assert row(outcome.out, "alice")[-1] == "chat:read"
    assert row(outcome.out, "bob")[-1] == "bits:read"
    assert len(shell.twitch.requests) == before


async def test_a_pipe_gets_whole_lines(shell: Shell) -> None:
    """However narrow the terminal was said to be, each user is one line and nothing is padded."""
    scopes = "chat:read chat:edit bits:read user:read:email channel:manage:broadcast"
    await shell.sign_in("alice", scopes)
    outcome = await shell.run("list", COLUMNS="40")
    assert row(outcome.out, "alice")[-5:] == scopes.split()
    assert max(map(len, outcome.out.splitlines())) < 200


async def test_list_shows_one_application_if_asked(shell: Shell) -> None:
    """--client-id leaves the users of other applications out."""
    await shell.sign_in("alice")
    outcome = await shell.run("list", "--client-id", "another")
    assert outcome.out == shell.named("Nobody is in the store.\n")


async def test_a_damaged_record_is_listed_as_such(shell: Shell) -> None:
    """A record that cannot be read is named, and hides nobody else."""
    await shell.sign_in("alice")
    await shell.damage(f"{shell.client.client_id}:1003")
    outcome = await shell.run("list")
    assert row(outcome.out, "1003")[2] == "damaged"
    assert row(outcome.out, "alice")[2] == "live"
    assert "the record of user '1003' is damaged" in outcome.err
