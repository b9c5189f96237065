"""`twitchvault check`: who has to sign in again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .command import row

if TYPE_CHECKING:
    from .command import Shell


async def test_check_is_content_when_all_works(shell: Shell) -> None:
    """Live tokens are validated; the exit code is 0."""
    pair = await shell.sign_in("alice")
    before = len(shell.twitch.validations_of(pair.access_token))
    outcome = await shell.run("check", *shell.urls)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith(shell.named("Application"))
    assert row(outcome.out, "alice")[2] == "live"
    assert len(shell.twitch.validations_of(pair.access_token)) > before


async def test_check_renews_what_has_expired(shell: Shell) -> None:
    """An expired access token is exchanged once, and that user need not sign in."""
    await shell.sign_in("alice")
    shell.twitch.expire_access("alice")
    outcome = await shell.run("check", *shell.urls)
    assert outcome.code == 0, outcome.err
    assert (shell.twitch.counts.exchanges, shell.twitch.counts.replays) == (1, 0)


async def test_check_says_who_has_to_sign_in(shell: Shell) -> None:
    """A user who disconnected the application is named; the exit code is 1."""
    await shell.sign_in("alice")
    await shell.sign_in("bob")
    shell.twitch.disconnect(shell.client, "alice")
    outcome = await shell.run("check", *shell.urls)
    assert outcome.code == 1
    assert row(outcome.out, "alice")[2:4] == ["needs", "login"]
    assert row(outcome.out, "bob")[2] == "live"
    assert "Sign in again: alice\n" in outcome.err
    second = await shell.run("check", *shell.urls)
    assert second.code == 1
    assert shell.twitch.counts.refused_refreshes == 1


async def test_check_tells_trouble_from_lost_logins(shell: Shell) -> None:
    """When Twitch cannot answer, nobody is said to have to sign in; the exit code is 2."""
    await shell.sign_in("alice")
    shell.twitch.fail("validate", status=500, times=None)
    outcome = await shell.run("check", *shell.urls)
    assert outcome.code == 2
    assert "User '1001' could not be checked: 500" in outcome.err
    assert row(outcome.out, "alice")[2] == "live"


async def test_check_without_twitch_is_one_line(shell: Shell) -> None:
    """An address where nobody listens is trouble too."""
    await shell.sign_in("alice")
    await shell.twitch.close()
    outcome = await shell.run("check", *shell.urls)
    assert outcome.code == 2
    assert "User '1001' could not be checked: " in outcome.err


async def test_a_damaged_record_does_not_stop_the_others(shell: Shell) -> None:
    """Its user has to sign in again; everybody else is validated."""
    await shell.sign_in("alice")
    await shell.damage(f"{shell.client.client_id}:1003")
    outcome = await shell.run("check", *shell.urls)
    assert outcome.code == 1
    assert row(outcome.out, "alice")[2] == "live"
    assert "Sign in again: 1003\n" in outcome.err
