"""`twitchvault login` by device code."""

from __future__ import annotations

import signal
import stat
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .command import Shell

WAITING = "Waiting for you, 30 minutes at most ...\n"


async def stored(shell: Shell, path: Path) -> dict[str, tuple[str, str | None]]:
    """The tokens in a file, as a flow sees them."""
    async with shell.app(f"sqlite:///{path}") as app:
        return dict(app.tokens)


async def test_a_user_signs_in(shell: Shell) -> None:
    """The address and the code are shown, and in the end the pair is in the store."""
    scopes = ("--scope", "chat:read chat:edit", "--scope", "bits:read")
    outcome = await shell.run("login", *scopes)
    assert outcome.err == shell.named(WAITING)
    assert f"Open  {shell.twitch.url}/activate?device-code=" in outcome.out
    assert "Code  " in outcome.out
    assert "Signed in: alice (1001)." in outcome.out
    pair = shell.twitch.live_pair(shell.client, "alice")
    assert pair is not None
    assert set(pair.scopes) == {"chat:read", "chat:edit", "bits:read"}
    tokens = await stored(shell, shell.folder / "tokens.db")
    assert tokens == {"1001": (pair.access_token, pair.refresh_token)}


async def test_a_terminal_shows_a_picture_of_the_address(shell: Shell) -> None:
    """A QR code, which a phone's camera can read, and Enter for a browser on this machine."""
    terminal = await shell.screen("login")
    assert "▄▄▄▄▄" in terminal
    assert "Press Enter to open it in your browser." in terminal
    assert "Signed in: alice (1001)." in terminal


async def test_a_narrow_terminal_shows_no_picture(shell: Shell) -> None:
    """Twenty columns have no room for it; the address can still be copied in one piece."""
    terminal = await shell.screen("login", COLUMNS="20")
    assert "▄" not in terminal
    assert f"{shell.twitch.url}/activate?device-code=" in terminal


async def test_enter_opens_the_browser(shell: Shell) -> None:
    """The one that the environment names gets the address."""
    shell.twitch.auto_approve(None)
    visited = shell.folder / "visited"
    browser = shell.folder / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {visited}.part && mv {visited}.part {visited}\n')
    browser.chmod(0o700)
    async with shell.terminal("login", BROWSER=f"{browser} %s") as terminal:
        await terminal.see("Waiting")
        terminal.type("\n")
        while not visited.exists():
            await terminal.pause()
        shell.twitch.approve(visited.read_text().strip()[-8:], "alice")
        assert await terminal.end() == 0
    assert visited.read_text().startswith(f"{shell.twitch.url}/activate?device-code=")


async def test_a_new_code_is_offered_when_one_expires(shell: Shell) -> None:
    """At a terminal Enter brings another one; Ctrl-C ends it with 130."""
    shell.twitch.auto_approve(None)
    shell.twitch.configure(device_code_lifetime=1)
    async with shell.terminal("login") as terminal:
        await terminal.see("has expired. Press Enter for a new one")
        shown = len(terminal.text)
        terminal.type("\n")
        await terminal.see("has expired. Press Enter for a new one", since=shown)
        assert await terminal.interrupted() == 130
    assert terminal.text.count("   Open  ") == 2
    assert terminal.text.endswith("Stopped.\n")


async def test_waiting_has_an_end(shell: Shell) -> None:
    """Where nobody can be asked, a code that expires ends the command."""
    shell.twitch.auto_approve(None)
    shell.twitch.configure(device_code_lifetime=1)
    outcome = await shell.run("login", code=2)
    assert outcome.err == shell.named(
        "Waiting for you, 1 minute at most ...\ntwitchvault: the user has not approved within 1 s\n"
    )


async def test_a_refusal_is_no_failure(shell: Shell) -> None:
    """The exit code is 1, and nothing is stored."""
    shell.twitch.switch(shell.client, denied_device="access_denied")
    shell.twitch.auto_approve(None)
    process = await shell.start("login")
    line = await process.readline()
    shell.twitch.deny(line.strip()[-8:])
    outcome = await shell.end(process, code=1)
    assert outcome.err == shell.named(WAITING + "The user has refused, and nothing is stored.\n")
    assert (await shell.run("list")).out == ""


async def test_only_the_expected_user_may_sign_in(shell: Shell) -> None:
    """Another account's token is revoked and not stored; the expected one's is, by name or id."""
    outcome = await shell.run("login", "--expect", "bob", code=2)
    assert outcome.err == shell.named(
        WAITING
        + "twitchvault: alice (1001) has signed in, not 'bob': the token was revoked, and nothing "
        "is stored\n"
    )
    assert shell.twitch.requests[-1].endpoint == "revoke"
    assert (await shell.run("list")).out == ""
    for expected in ("Alice", "1001"):
        await shell.run("login", "--expect", expected)
    shell.twitch.fail("revoke", status=500)
    outcome = await shell.run("login", "--expect", "bob", code=2)
    assert "the token could not be revoked (500" in outcome.err


async def test_the_store_is_a_private_file_of_ones_own_unless_said(shell: Shell) -> None:
    """Without --store the pair lies in the user's data folder, for that user alone."""
    await shell.run("login", TWITCHVAULT_STORE=None)
    file = shell.folder / "twitchvault" / "tokens.db"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert "1001" in await stored(shell, file)


async def test_the_secret_of_a_confidential_client(confidential: Shell) -> None:
    """It is in the environment or typed, and no argument; a wrong one is said as Twitch says it."""
    client = confidential.client
    await confidential.run("login")
    assert confidential.twitch.counts.app_tokens == 1
    command = await confidential.start("login", "--secret", TWITCHVAULT_CLIENT_SECRET="not this")
    await confidential.end(command, typed=f"{client.client_secret}\n")
    wrong = await confidential.run("login", code=2, TWITCHVAULT_CLIENT_SECRET="wrong")
    assert f"Twitch does not take the secret of {client.client_id}; take" in wrong.err
    fresh = f"sqlite:///{confidential.folder}/fresh.db"
    wrong = await confidential.run(
        "login", code=2, TWITCHVAULT_CLIENT_SECRET="wrong", TWITCHVAULT_STORE=fresh
    )
    assert "Twitch does not take the client secret (403: invalid client secret)" in wrong.err


async def test_a_secret_that_is_missing_is_said_at_the_login(confidential: Shell) -> None:
    """Twitch would give tokens that nobody can refresh: no code is shown."""
    for kind in ((), ("--code",)):
        outcome = await confidential.run("login", *kind, code=2, TWITCHVAULT_CLIENT_SECRET=None)
        assert outcome.out == ""
        assert outcome.err.endswith("use --secret, or set TWITCHVAULT_CLIENT_SECRET\n")


async def test_an_unknown_scope_is_one_line(shell: Shell) -> None:
    """Twitch's complaint names the scope."""
    outcome = await shell.run("login", "--scope", "chat:shout", code=2)
    assert "chat:shout" in outcome.err


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
async def test_a_signal_ends_the_wait(shell: Shell, name: str) -> None:
    """One word instead of a traceback, and the exit code that shells expect; the command ends by
    itself, so that nothing is left in a temporary folder.
    """
    shell.twitch.auto_approve(None)
    process = await shell.start("login")
    await process.see("Code")
    outcome = await shell.interrupt(process, signal.Signals[name])
    assert outcome.err == shell.named(WAITING + "Stopped.\n")


async def test_a_secret_that_is_not_typed(shell: Shell) -> None:
    """Leaving the question is not taken for a user who has to sign in."""
    outcome = await shell.run("login", "--secret", code=130)
    assert outcome.err.endswith("Stopped.\n")
    async with shell.terminal("login", "--secret") as terminal:
        await terminal.see("Client secret")
        assert await terminal.interrupted() == 130
