"""The options that commands share: the application, the store, its keys."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet

from twitchvault import FernetStore, open_store

if TYPE_CHECKING:
    from pathlib import Path

    from .command import Outcome, Shell

KEY, SECOND, WRONG = (Fernet.generate_key().decode() for _ in range(3))


def written(file: Path, text: str) -> Path:
    """The file, with that in it."""
    file.write_text(text)
    return file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with two keys, one a line."""
    return written(tmp_path / "token_keys", f"{KEY}\n{SECOND}\n")


async def run(shell: Shell, *arguments: str, keys: Path) -> Outcome:
    """A command that is told of the keys by the environment; it shows none of them."""
    outcome = await shell.run(*arguments, TWITCHVAULT_KEY_FILE=str(keys))
    assert KEY not in outcome.out + outcome.err
    return outcome


async def test_all_commands_on_an_encrypted_store(shell: Shell, file: Path) -> None:
    """A login is stored encrypted under the first key; the others read, renew and remove it."""
    login = await shell.run("login", *shell.urls, "--key-file", str(file))
    assert login.code == 0, login.err
    store = FernetStore(shell.store, KEY)
    await store.open()
    assert [entry.key async for entry in store.scan()] == [f"{shell.client.client_id}:1001"]
    await store.close()
    shell.twitch.expire_access("alice")
    check = await run(shell, "check", *shell.urls, keys=file)
    assert check.code == 0, check.err
    assert shell.twitch.counts.exchanges == 1
    assert "alice" in check.out
    assert (await run(shell, "remove", "alice", keys=file)).code == 0
    assert "Nobody" in (await run(shell, "list", keys=file)).out


async def test_an_encrypted_store_without_its_keys(shell: Shell, file: Path) -> None:
    """One line says what is missing or wrong, and nothing is written over what is there."""
    store = FernetStore(shell.store, KEY)
    await store.open()
    await store.close()
    inner = open_store(shell.store)
    await inner.open()
    before = [entry async for entry in inner.scan()]
    wants = "this store is encrypted: name the file with its keys, --key-file"
    login = await shell.run("login", *shell.urls)
    assert (login.code, login.err) == (2, f"twitchvault: {wants}\n")
    wrong = await run(shell, "list", keys=written(file, WRONG))
    assert wrong.code == 2
    assert wrong.err.startswith("twitchvault: none of the keys decrypts this store")
    assert [entry async for entry in inner.scan()] == before
    await inner.close()


async def test_a_bad_key_file(shell: Shell, file: Path) -> None:
    """A file that is not there, or holds no key, is one line that does not show it."""
    away = await run(shell, "list", keys=file.with_name("away"))
    assert away.code == 2
    assert away.err.startswith(f"twitchvault: the key file {str(file.with_name('away'))!r}")
    bad = await run(shell, "list", keys=written(file, KEY[1:]))
    assert bad.code == 2
    assert bad.err.startswith("twitchvault: 'keys'[0] is not a Fernet key: expected 44 characters")
    assert KEY[1:] not in bad.err


async def test_the_client_id_is_asked_for(shell: Shell) -> None:
    """Without one the message says where to give it."""
    outcome = await shell.run("login", *shell.urls, TWITCHVAULT_CLIENT_ID="")
    assert outcome.code == 2
    assert outcome.err == (
        "twitchvault: name the application: --client-id, or TWITCHVAULT_CLIENT_ID\n"
    )


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
