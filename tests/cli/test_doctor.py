"""`twitchvault doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet

from tests.environment import INVALID
from tests.stores.broken_feeds import NoBarrier
from tests.stores.broken_stores import IgnoresExpect, ReusesVersions
from tests.stores.right_store import Disk, Right
from twitchvault import FernetStore
from twitchvault.cli.checks.contract import check_contract
from twitchvault.cli.checks.files import check_mode, check_sqlite

from .records import fill, login

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.redis_store.servers import Server

    from .command import Shell


async def checks(
    shell: Shell, *arguments: str, code: int = 0, **variables: str | None
) -> dict[str, Any]:
    """The checks by name, from the JSON document."""
    outcome = await shell.run("doctor", "--json", *arguments, code=code, **variables)
    assert outcome.err == ""
    found = outcome.json["checks"]
    for check in found:
        assert set(check) == {"name", "state", "text", "advice"}
        assert (check["state"] == "ok") == (not check["advice"]), check
    return {check["name"]: check for check in found}


async def test_all_is_well(shell: Shell) -> None:
    """Each subject has a line, all are ok, and the store is left as it was."""
    await shell.sign_in("alice")
    before = await shell.entries()
    found = await checks(shell)
    assert {check["state"] for check in found.values()} == {"ok"}
    names = ["versions", "store", "file", "key", "contract", "users", "twitch", "clock", "client"]
    assert [*found] == names
    assert "mode 600" in found["file"]["text"]
    assert "is a public client" in found["client"]["text"]
    assert await shell.entries() == before


async def test_a_pipe_gets_a_line_for_each(shell: Shell) -> None:
    """State, name, text and advice stand between tabs."""
    await shell.sign_in("alice")
    shell.file.chmod(0o644)
    outcome = await shell.run("doctor")
    line = next(line for line in outcome.out.splitlines() if "\tfile\t" in line)
    owner = f"{shell.file.owner()} (uid {os.getuid()})"
    text = f"{shell.file} has mode 644 and belongs to {owner}: other users can read its secrets"
    assert line.split("\t") == ["warning", "file", text, f"'chmod 600 {shell.file}'"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file for its owner alone."""
    (tmp_path / "tokens.db").touch(mode=0o600)
    return tmp_path / "tokens.db"


def test_an_owner_without_a_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner, as often in a container, is a number that says what it is."""
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    expected = f"{file} has mode 600 and belongs to uid {os.getuid()}"
    assert check_mode("file", file).text == expected


async def test_the_keys(shell: Shell) -> None:
    """Missing, wrong, needless and right keys are told apart; none is shown."""
    right, wrong = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    await shell.fill({"client:1001": login("alice")})
    found = await checks(shell, code=2, TWITCHVAULT_KEYS=right)
    assert "not encrypted" in found["key"]["text"]
    shell.file.unlink()
    await fill(FernetStore(shell.store, right), {"client:1001": login("alice")})
    found = await checks(shell, code=2)
    assert found["key"]["text"] == f"{str(shell.file)!r} is encrypted"
    found = await checks(shell, code=2, TWITCHVAULT_KEYS=wrong)
    assert "none of the keys in TWITCHVAULT_KEYS decrypts" in found["key"]["text"]
    file = shell.folder / "keys"
    file.write_text(right)
    file.chmod(0o640)
    found = await checks(shell, "--key-file", str(file))
    assert found["key"]["state"] == "ok"
    assert found["key file"]["advice"] == f"'chmod 600 {file}'"
    assert right not in str(found)


async def test_users_who_cannot_be_used(shell: Shell) -> None:
    """Who has to sign in is a warning; who cannot be read is a problem."""
    await shell.sign_in("alice")
    shell.twitch.disconnect(shell.client, "alice")
    await shell.run("check", code=1)
    found = await checks(shell)
    assert found["users"]["text"] == "1 of 1 has to sign in again: alice"
    await shell.damage("client:1002")
    found = await checks(shell, code=2)
    assert found["users"]["text"] == "1 of 2 cannot be read: 1002"


async def test_the_client(confidential: Shell) -> None:
    """A missing and a wrong secret, and an unknown client id, are problems with a remedy each."""
    await confidential.fill({})
    found = await checks(confidential)
    assert "its secret is right" in found["client"]["text"]
    found = await checks(confidential, code=2, TWITCHVAULT_CLIENT_SECRET=None)
    assert found["client"]["advice"] == "use --secret, or set TWITCHVAULT_CLIENT_SECRET"
    for wrong in ("wrong", "secret"):  # one is a word of the answer, in which secrets are replaced
        found = await checks(confidential, code=2, TWITCHVAULT_CLIENT_SECRET=wrong)
        assert "does not take the secret" in found["client"]["text"]
    found = await checks(confidential, code=2, TWITCHVAULT_CLIENT_ID="nobody")
    assert "does not know the client id" in found["client"]["text"]
    found = await checks(confidential, code=2, TWITCHVAULT_ID_URL=confidential.twitch.url)
    assert found["client"]["advice"] == "look at --id-url"


async def test_twitch_and_the_clock(shell: Shell) -> None:
    """A clock that is wrong is a warning with how much, as is a Twitch in bad weather; one out of
    reach is a problem.
    """
    await shell.fill({})
    later = format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True)
    shell.twitch.fail("token", status=400, body=INVALID, headers={"Date": later}, times=1)
    found = await checks(shell)
    assert "s behind Twitch's" in found["clock"]["text"]
    shell.twitch.fail("token", status=503, times=1)
    found = await checks(shell)
    assert found["twitch"]["state"] == "warning"
    await shell.twitch.close()
    found = await checks(shell, code=2)
    assert found["twitch"]["state"] == "problem"


async def test_a_server(shell: Shell, own_server: Callable[..., Server]) -> None:
    """Its version, what a restart keeps, and whether it may drop tokens."""
    options = ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    server = await own_server(*options).ready()
    found = await checks(shell, "--store", server.url, code=2)
    assert found["redis"]["text"].startswith(("Valkey ", "Redis "))
    assert "loses every token" in found["persistence"]["text"]
    assert found["eviction"]["state"] == "problem"
    async with server.client() as client:
        await client.config_set("appendonly", "yes")
        await client.config_set("maxmemory-policy", "noeviction")
    found = await checks(shell, "--store", server.url)
    assert found["persistence"]["state"] == found["eviction"]["state"] == "ok"
    server.kill()
    found = await checks(shell, "--store", server.url, code=2)
    assert found["store"]["state"] == "problem"


def test_a_file_that_is_mounted_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount point, as of a container, and a folder without room for the log are named."""
    assert [check.state for check in check_sqlite(file)] == ["ok"]
    monkeypatch.setattr("os.path.ismount", lambda path: path == file)
    monkeypatch.setattr("os.access", lambda path, _: path != file.parent)
    found = {check.name: check for check in check_sqlite(file)}
    assert found["mount"].advice == "mount the folder, not the file"
    assert found["folder"].state == "problem"


class LateFeed(Right):
    """A store whose feed brings what was written a little later."""

    feed = NoBarrier


@pytest.mark.parametrize("kind", [IgnoresExpect, ReusesVersions, LateFeed])
async def test_a_store_that_is_not_right(kind: type[Right]) -> None:
    """A store of one's own that does not keep the contract is a problem; a right one is not."""
    assert (await check_contract(Right(Disk()))).state == "ok"
    assert (await check_contract(kind(Disk()))).state == "problem"


async def test_the_doctor_at_a_terminal(shell: Shell) -> None:
    """The advice stands below what it is about, such as a store that is not there, nor is made."""
    lines = (await shell.screen("doctor", code=2)).splitlines()
    problem = next(n for n, line in enumerate(lines) if "problem" in line)
    assert "there is none in" in lines[problem]
    assert lines[problem + 1].strip().endswith("sign in, or name another\x1b[0m")
    assert not shell.file.exists()
