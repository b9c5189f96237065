"""`twitchvault login`: a user signs in at a terminal."""

from __future__ import annotations

import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from twitchvault import App, SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path

    from .command import Shell


async def stored(shell: Shell, path: Path) -> dict[str, tuple[str, str | None]]:
    """The tokens in a file, as a flow sees them; the store stays the test's."""
    store = SQLiteStore(path)
    async with App(
        shell.client.client_id,
        shell.client.client_secret,
        store=store,
        id_url=shell.twitch.id_url,
        api_url=shell.twitch.api_url,
    ) as app:
        tokens = dict(app.tokens)
    await store.close()
    return tokens


async def test_a_user_signs_in(shell: Shell) -> None:
    """The address and the code are shown, and in the end the pair is in the store."""
    outcome = await shell.run("login", "--scope", "chat:read", "--scope", "chat:edit", *shell.urls)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith(shell.named(""))
    assert f"{shell.twitch.url}/activate?device-code=" in outcome.out
    assert "Code  " in outcome.out
    assert "Signed in: alice (1001)." in outcome.out
    pair = shell.twitch.live_pair(shell.client, "alice")
    assert pair is not None
    assert set(pair.scopes) == {"chat:read", "chat:edit"}
    tokens = await stored(shell, shell.folder / "tokens.db")
    assert tokens == {"1001": (pair.access_token, pair.refresh_token)}


async def test_scopes_in_one_option(shell: Shell) -> None:
    """Several scopes in one --scope are what they are in two."""
    outcome = await shell.run("login", "--scope", "chat:read chat:edit", *shell.urls)
    assert (outcome.code, outcome.err) == (0, "")
    pair = shell.twitch.live_pair(shell.client, "alice")
    assert pair is not None
    assert set(pair.scopes) == {"chat:read", "chat:edit"}


async def test_a_terminal_shows_a_picture_of_the_address(shell: Shell) -> None:
    """A QR code, which a phone's camera can read."""
    text = await shell.run_at_terminal("login", *shell.urls)
    assert "▄▄▄▄▄" in text
    assert "Signed in: alice (1001)." in text


async def test_the_store_is_a_private_file_of_ones_own_unless_said(shell: Shell) -> None:
    """Without --store the pair lies in the user's data folder, for that user alone."""
    outcome = await shell.run("login", *shell.urls, TWITCHVAULT_STORE="")
    assert outcome.code == 0, outcome.err
    file = shell.folder / "twitchvault" / "tokens.db"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert "1001" in await stored(shell, file)


async def test_the_secret_comes_from_the_environment(shell: Shell) -> None:
    """A confidential client signs users in too; its secret is no argument."""
    confidential = replace(shell, client=shell.twitch.register_client())
    outcome = await confidential.run("login", *shell.urls)
    assert outcome.code == 0, outcome.err
    assert shell.twitch.counts.app_tokens == 1


async def test_the_secret_can_be_typed(shell: Shell) -> None:
    """--secret asks for it, and does not show it."""
    client = shell.twitch.register_client()
    typing = replace(shell, client=client)
    outcome = await typing.run(
        "login",
        "--secret",
        *shell.urls,
        typed=f"{client.client_secret}\n",
        TWITCHVAULT_CLIENT_SECRET="not this one",
    )
    assert outcome.code == 0, outcome.err
    assert "Signed in: alice" in outcome.out


async def test_a_wrong_secret_is_one_line(shell: Shell) -> None:
    """What Twitch says is shown, and the exit code is 2."""
    wrong = replace(shell, client=shell.twitch.register_client())
    outcome = await wrong.run("login", *shell.urls, TWITCHVAULT_CLIENT_SECRET="wrong")
    assert outcome.code == 2
    assert outcome.err == "twitchvault: 403: invalid client secret\n"


async def test_an_unknown_scope_is_one_line(shell: Shell) -> None:
    """Twitch's complaint names the scope."""
    outcome = await shell.run("login", "--scope", "chat:shout", *shell.urls)
    assert outcome.code == 2
    assert "chat:shout" in outcome.err


async def test_waiting_has_an_end(shell: Shell) -> None:
    """A code that nobody approves ends the command when it expires."""
    shell.twitch.auto_approve(None)
    shell.twitch.configure(device_code_lifetime=1)
    outcome = await shell.run("login", *shell.urls)
    assert outcome.code == 2
    assert outcome.err == "twitchvault: the user has not approved within 1 s\n"


async def test_ctrl_c_ends_the_wait(shell: Shell) -> None:
    """One word instead of a traceback, and the exit code that shells expect."""
    shell.twitch.auto_approve(None)
    process = await shell.start("login", *shell.urls)
    outcome = await shell.interrupt(process, after="Waiting")
    assert outcome.code == 130
    assert outcome.err == "Stopped.\n"


async def test_a_secret_that_is_not_typed(shell: Shell) -> None:
    """Leaving the question is not taken for a user who has to sign in."""
    outcome = await shell.run("login", "--secret", *shell.urls)
    assert outcome.code == 130
    assert outcome.err.endswith("Stopped.\n")
