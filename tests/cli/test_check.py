"""`twitchvault check`, and what it shares with `validate` and `refresh`: who has to sign in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .command import Shell


async def test_check_is_content_when_all_works(shell: Shell) -> None:
    """Live tokens are validated; the exit code is 0."""
    pair = await shell.sign_in("alice")
    before = len(shell.twitch.validations_of(pair.access_token))
    outcome = await shell.run("check")
    assert outcome.err == shell.named()
    assert outcome.rows["alice"][2] == "live"
    assert len(shell.twitch.validations_of(pair.access_token)) > before


@pytest.mark.parametrize("command", ["check", "validate --all", "refresh --all"])
async def test_an_expired_token_is_renewed_once(shell: Shell, command: str) -> None:
    """An expired access token is exchanged once, and that user need not sign in."""
    await shell.sign_in("alice")
    shell.twitch.expire_access("alice")
    outcome = await shell.run(*command.split())
    assert outcome.rows["alice"][2] == "live"
    assert (shell.twitch.counts.exchanges, shell.twitch.counts.replays) == (1, 0)


@pytest.mark.parametrize("command", ["check", "validate --all", "refresh --all"])
async def test_who_has_to_sign_in(shell: Shell, command: str) -> None:
    """A user who disconnected the application is named; the exit code is 1, also in JSON."""
    await shell.sign_in("alice")
    await shell.sign_in("bob")
    shell.twitch.disconnect(shell.client, "alice")
    outcome = await shell.run(*command.split(), code=1)
    assert outcome.err.endswith("Sign in again: alice\n")
    users = outcome.rows
    assert (users["alice"][2], users["bob"][2]) == ("needs_login", "live")
    second = await shell.run(*command.split(), "--json", code=1)
    states = {user["login"]: user["state"] for user in second.json["users"]}
    assert states == {"alice": "needs_login", "bob": "live"}
    assert shell.twitch.counts.refused_refreshes == 1


async def test_one_user_alone(shell: Shell) -> None:
    """A user who is named is touched, shown and judged, and nobody else."""
    pairs = [await shell.sign_in("alice"), await shell.sign_in("bob")]
    shell.twitch.disconnect(shell.client, "alice")
    for command in ("check", "validate", "refresh"):
        outcome = await shell.run(command, "bob")
        assert list(outcome.rows) == ["bob"]
    assert shell.twitch.counts.exchanges == 1
    assert not shell.twitch.is_live(pairs[1].access_token)
    assert (await shell.run("list")).out.count("\tlive\t") == 2


@pytest.mark.parametrize("command", ["validate", "refresh", "revoke", "remove"])
async def test_one_or_all_has_to_be_said(shell: Shell, command: str) -> None:
    """Neither, or both, is misuse; nothing is done."""
    pair = await shell.sign_in("alice")
    for arguments in ((), ("alice", "--all")):
        outcome = await shell.run(command, *arguments, code=2)
        assert outcome.out == ""
        assert outcome.err == shell.named("twitchvault: name one user, or use --all\n")
    assert shell.twitch.is_live(pair.access_token)
    assert shell.twitch.counts.exchanges == 0


async def test_a_failure_of_twitch_is_no_lost_login(shell: Shell) -> None:
    """When Twitch cannot answer, nobody is said to have to sign in; the exit code is 2."""
    await shell.sign_in("alice")
    shell.twitch.fail("validate", status=500, times=None)
    outcome = await shell.run("check", code=2)
    assert "twitchvault: alice (1001): 500" in outcome.err
    assert outcome.rows["alice"][2] == "live"
    await shell.twitch.close()
    away = await shell.run("refresh", "alice", code=2)
    assert "twitchvault: alice (1001): " in away.err
    assert "no answer from 127.0.0.1" in away.err


async def test_a_damaged_record_does_not_stop_the_others(shell: Shell) -> None:
    """Its user has to sign in again; everybody else is validated."""
    await shell.sign_in("alice")
    await shell.damage("client:1003")
    outcome = await shell.run("check", code=1)
    assert outcome.rows["alice"][2] == "live"
    assert outcome.err.endswith("Sign in again: 1003\n")


async def test_a_bar_shows_how_far_it_is(shell: Shell) -> None:
    """At a terminal, on standard error; the table follows."""
    await shell.sign_in("alice")
    await shell.sign_in("bob")
    gate = shell.twitch.hold("validate")
    async with shell.terminal("check") as terminal:
        await terminal.see("Checking")
        await terminal.see("0/2")
        gate.release()
        assert await terminal.end() == 0
    assert terminal.text.index("Checking") < terminal.text.index("VALIDATED")
