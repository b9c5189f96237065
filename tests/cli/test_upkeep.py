"""`twitchvault list`, `check` and `remove`: looking after who is in a store."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from twitchvault import App, SQLiteStore

if TYPE_CHECKING:
    from twitchvault.testing.fake import Pair

    from .command import Shell


async def signed_in(shell: Shell, login: str, scope: str = "chat:read") -> Pair:
    """A user whose pair is in the store."""
    pair = shell.twitch.issue(shell.client, login, [scope])
    async with App(
        shell.client.client_id,
        store=shell.store,
        id_url=shell.twitch.id_url,
        api_url=shell.twitch.api_url,
    ) as app:
        await app.add_user(pair.access_token, pair.refresh_token)
    return pair


def row(text: str, name: str) -> list[str]:
    """The words of the line that begins with a user's name."""
    return next(line.split() for line in text.splitlines() if line.startswith(f"{name} "))


async def test_an_empty_store_is_said_to_be_empty(shell: Shell) -> None:
    """The list of nobody is a sentence, not an empty table."""
    outcome = await shell.run("list")
    assert (outcome.code, outcome.out) == (0, "Nobody is in the store.\n")


async def test_list_shows_who_is_there_and_asks_nobody(shell: Shell) -> None:
    """Name, id, state, time and scopes of each user, without a request to Twitch."""
    await signed_in(shell, "alice")
    await signed_in(shell, "bob", "bits:read")
    before = len(shell.twitch.requests)
    outcome = await shell.run("list")
    assert outcome.code == 0
    assert f"Application {shell.client.client_id}" in outcome.out
    assert row(outcome.out, "alice")[1:3] == ["1001", "live"]
    assert row(outcome.out, "alice")[-1] == "chat:read"
    assert row(outcome.out, "bob")[-1] == "bits:read"
    assert len(shell.twitch.requests) == before


async def test_list_shows_one_application_if_asked(shell: Shell) -> None:
    """--client-id leaves the users of other applications out."""
    await signed_in(shell, "alice")
    outcome = await shell.run("list", "--client-id", "another")
    assert outcome.out == "Nobody is in the store.\n"


async def test_a_damaged_record_is_listed_as_such(shell: Shell) -> None:
    """A record that cannot be read is named, and hides nobody else."""
    await signed_in(shell, "alice")
    store = SQLiteStore(shell.folder / "tokens.db")
    await store.open()
    await store.put(f"{shell.client.client_id}:1003", b"garbage")
    await store.close()
    outcome = await shell.run("list")
    assert row(outcome.out, "1003")[2] == "damaged"
    assert row(outcome.out, "alice")[2] == "live"
    assert "the record of user '1003' is damaged" in outcome.err


async def test_check_is_content_when_all_works(shell: Shell) -> None:
    """Live tokens are validated; the exit code is 0."""
    pair = await signed_in(shell, "alice")
    before = len(shell.twitch.validations_of(pair.access_token))
    outcome = await shell.run("check", *shell.places)
    assert outcome.code == 0, outcome.err
    assert row(outcome.out, "alice")[2] == "live"
    assert len(shell.twitch.validations_of(pair.access_token)) > before


async def test_check_renews_what_has_expired(shell: Shell) -> None:
    """An expired access token is exchanged once, and that user need not sign in."""
    await signed_in(shell, "alice")
    shell.twitch.expire_access("alice")
    outcome = await shell.run("check", *shell.places)
    assert outcome.code == 0, outcome.err
    assert (shell.twitch.counts.exchanges, shell.twitch.counts.replays) == (1, 0)


async def test_check_says_who_has_to_sign_in(shell: Shell) -> None:
    """A user who disconnected the application is named; the exit code is 1."""
    await signed_in(shell, "alice")
    await signed_in(shell, "bob")
    shell.twitch.disconnect(shell.client, "alice")
    outcome = await shell.run("check", *shell.places)
    assert outcome.code == 1
    assert row(outcome.out, "alice")[2:4] == ["needs", "login"]
    assert row(outcome.out, "bob")[2] == "live"
    assert "Sign in again: alice\n" in outcome.err
    again = await shell.run("check", *shell.places)
    assert again.code == 1
    assert shell.twitch.counts.refused_refreshes == 1


async def test_check_tells_trouble_from_lost_logins(shell: Shell) -> None:
    """When Twitch cannot answer, nobody is said to have to sign in; the exit code is 2."""
    await signed_in(shell, "alice")
    shell.twitch.fail("validate", status=500, times=None)
    outcome = await shell.run("check", *shell.places)
    assert outcome.code == 2
    assert "User '1001' could not be checked: 500" in outcome.err
    assert row(outcome.out, "alice")[2] == "live"


async def test_check_without_twitch_is_one_line(shell: Shell) -> None:
    """An address where nobody listens is trouble too."""
    await signed_in(shell, "alice")
    await shell.twitch.close()
    outcome = await shell.run("check", *shell.places)
    assert outcome.code == 2
    assert "User '1001' could not be checked: " in outcome.err


async def test_remove_takes_a_user_out(shell: Shell) -> None:
    """By login or by id; the tokens live on at Twitch."""
    pairs = [await signed_in(shell, "alice"), await signed_in(shell, "bob")]
    by_login, by_id = await shell.run("remove", "alice"), await shell.run("remove", "1002")
    assert by_login.code == by_id.code == 0
    assert by_login.out.startswith("Removed alice (1001)")
    assert by_id.out.startswith("Removed bob (1002)")
    assert (await shell.run("list")).out == "Nobody is in the store.\n"
    assert all(shell.twitch.is_live(pair.access_token) for pair in pairs)


async def test_remove_does_not_guess(shell: Shell) -> None:
    """An unknown name, and one that two applications know, remove nothing."""
    await signed_in(shell, "alice")
    unknown = await shell.run("remove", "nobody")
    assert (unknown.code, unknown.err) == (
        2,
        "twitchvault: no user 'nobody' in the store; 'twitchvault list' shows who is there\n",
    )
    store = SQLiteStore(shell.folder / "tokens.db")
    await store.open()
    await store.put("another:1001", b"garbage")
    await store.close()
    everywhere = {"TWITCHVAULT_CLIENT_ID": ""}
    doubtful = await shell.run("remove", "1001", **everywhere)
    assert doubtful.code == 2
    assert "several applications: add --client-id (another, " in doubtful.err
    certain = await shell.run("remove", "1001", "--client-id", "another", **everywhere)
    assert certain.code == 0, certain.err
    assert row((await shell.run("list", **everywhere)).out, "alice")[1] == "1001"


@pytest.mark.parametrize("command", ["login", "list", "check", "remove alice"])
async def test_a_store_that_cannot_be_is_one_line(shell: Shell, command: str) -> None:
    """An unknown kind of URL gives a message and exit code 2."""
    outcome = await shell.run(*command.split(), "--store", "file:///tokens")
    assert outcome.code == 2
    assert outcome.err.startswith("twitchvault: 'file://...' names no store known here")


async def test_a_store_without_a_folder_is_one_line(shell: Shell) -> None:
    """The message of the store is shown as it is."""
    outcome = await shell.run("list", "--store", f"sqlite:///{shell.folder}/none/tokens.db")
    assert outcome.code == 2
    assert "its folder does not exist, make that first" in outcome.err


@pytest.mark.parametrize("package", ["typer", "rich", "segno", "platformdirs"])
def test_a_missing_package_is_named_with_its_extra(package: str) -> None:
    """Without the extra the command says what to install."""
    code = f"import sys; sys.modules[{package!r}] = None; import twitchvault.cli as c; c.main()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr == (
        f"The 'twitchvault' command needs the package '{package}': pip install 'twitchvault[cli]'\n"
    )
