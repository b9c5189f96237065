"""`--key-file`: the commands on an encrypted store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fernet.makers import KEY, NEW, WRONG
from twitchvault import FernetStore, open_store

if TYPE_CHECKING:
    from pathlib import Path

    from .command import Outcome, Shell


def written(file: Path, text: str) -> Path:
    """The file, with that in it."""
    file.write_text(text)
    return file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with two keys, one a line."""
    return written(tmp_path / "token_keys", f"{KEY}\n{NEW}\n")


async def run(shell: Shell, *arguments: str, keys: Path) -> Outcome:
    """A command that is told of the keys by the environment; it shows none of them."""
    outcome = await shell.run(*arguments, TWITCHVAULT_KEY_FILE=str(keys))
    assert KEY not in outcome.out + outcome.err
    return outcome


async def test_all_commands_on_an_encrypted_store(shell: Shell, file: Path) -> None:
    """A login is stored encrypted under the first key; the others read, renew and remove it."""
    login = await shell.run("login", *shell.places, "--key-file", str(file))
    assert login.code == 0, login.err
    store = FernetStore(shell.store, KEY)
    await store.open()
    assert [entry.key async for entry in store.scan()] == [f"{shell.client.client_id}:1001"]
    await store.close()
    shell.twitch.expire_access("alice")
    check = await run(shell, "check", *shell.places, keys=file)
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
    login = await shell.run("login", *shell.places)
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
