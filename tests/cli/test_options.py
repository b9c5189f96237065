"""The options that commands share: the application, the store, its keys."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet

from tests.redis_store.servers import Server, running
from twitchvault import FernetStore, open_store

if TYPE_CHECKING:
    from pathlib import Path

    from .command import Outcome, Shell

KEY, SECOND, WRONG = (Fernet.generate_key().decode() for _ in range(3))
BAD_URLS = {
    "tokens.db": "--store has no scheme: expected one of ",
    "file:///tokens": "'file://...' names no store known here: expected one of ",
    "sqlite:///a.db?mode=ro": "a 'sqlite' URL takes no '?' options and no '#' part: write '%3F' or",
    "redis://[": "--store is a URL that the driver cannot read",
    "sqlite:///%00": "--store must name a file",
    "memory://": "a store in memory ends with the command",
}


def written(file: Path, text: str, mode: int = 0o600) -> Path:
    """The file, with that in it, for its owner alone unless `mode` says otherwise."""
    file.write_text(text)
    file.chmod(mode)
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
    assert "Nobody" in (await run(shell, "list", keys=file)).err


async def test_an_encrypted_store_without_its_keys(shell: Shell, file: Path) -> None:
    """One line says what is missing or wrong, and nothing is written over what is there."""
    store = FernetStore(shell.store, KEY)
    await store.open()
    await store.close()
    inner = open_store(shell.store)
    await inner.open()
    before = [entry async for entry in inner.scan()]
    wants = (
        f"{str(shell.file)!r} is encrypted: name the file with its keys by --key-file, or set "
        "TWITCHVAULT_KEYS"
    )
    login = await shell.run("login", *shell.urls)
    assert (login.code, login.err) == (2, f"twitchvault: {wants}\n")
    wrong = await run(shell, "list", keys=written(file, WRONG))
    assert wrong.code == 2
    keys, store_file = str(file), str(shell.file)
    why = f"none of the keys in the key file {keys!r} decrypts {store_file!r}: name other keys"
    assert wrong.err == f"twitchvault: {why}\n"
    assert [entry async for entry in inner.scan()] == before
    await inner.close()


async def test_a_bad_key_file(shell: Shell, file: Path) -> None:
    """A file that is not there, or holds no key, is one line that does not show it."""
    away = await run(shell, "list", keys=file.with_name("away"))
    assert away.code == 2
    assert away.err.startswith(f"twitchvault: the key file {str(file.with_name('away'))!r}")
    bad = await run(shell, "list", keys=written(file, KEY[1:]))
    assert bad.code == 2
    where = f"twitchvault: the key file {str(file)!r}"
    assert bad.err.startswith(f"{where}: key 1 is not a Fernet key: expected 44 characters")
    assert KEY[1:] not in bad.err
    empty = await run(shell, "list", keys=written(file, "\n"))
    assert (empty.code, empty.err) == (2, f"{where} is empty: it holds Fernet keys, one a line\n")
    assert not shell.file.exists()


async def test_a_key_file_for_all_to_read(shell: Shell, file: Path) -> None:
    """As for a store's file there is a warning that says what to do."""
    login = await run(shell, "login", *shell.urls, keys=written(file, KEY, 0o644))
    assert login.code == 0
    warning = next(line for line in login.err.splitlines() if "other users" in line)
    assert warning.startswith(f"{file} has mode 644 and belongs to ")
    assert warning.endswith(f": other users can read its secrets: 'chmod 600 {file}'")


@pytest.mark.parametrize("command", ["list", "check", "remove alice", "login"])
@pytest.mark.parametrize("somebody", [True, False])
async def test_keys_for_a_store_without_encryption(
    shell: Shell, file: Path, command: str, somebody: bool
) -> None:
    """They are refused, and the store stays as it is; only a login may encrypt an empty one."""
    await (shell.sign_in("alice") if somebody else shell.leave_empty())
    if command != "login" or somebody:
        urls = () if command in {"list", "remove alice"} else shell.urls
        refused = await run(shell, *command.split(), *urls, keys=file)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err == (
            f"twitchvault: {str(shell.file)!r} is not encrypted: run 'twitchvault encrypt' first, "
            "or leave the keys out\n"
        )
    assert (await shell.run("list")).code == 0


async def test_variables_and_files(shell: Shell, file: Path) -> None:
    """A secret may stand in a file; one that is empty or given twice is an error that names it."""
    confidential = replace(shell, client=shell.twitch.register_client())
    secret = written(shell.folder / "secret", f"{confidential.client.client_secret}\n")
    outcome = await confidential.run(
        "login",
        *shell.urls,
        TWITCHVAULT_CLIENT_SECRET=None,
        TWITCHVAULT_CLIENT_SECRET_FILE=str(secret),
        TWITCHVAULT_KEYS=f"{KEY},{SECOND}",
    )
    assert outcome.code == 0, outcome.err
    listed = await run(confidential, "list", keys=file)
    assert "alice" in listed.out, listed.err
    for variables, text in (
        ({"TWITCHVAULT_STORE": ""}, "TWITCHVAULT_STORE is empty"),
        ({"TWITCHVAULT_KEYS": " "}, "TWITCHVAULT_KEYS is empty"),
        ({"TWITCHVAULT_STORE_FILE": "x"}, "TWITCHVAULT_STORE and TWITCHVAULT_STORE_FILE are both"),
    ):
        wrong = await shell.start("list", **variables)
        said = await shell.end(wrong)
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith(f"twitchvault: {text}")
    option = await shell.run(
        "list", "--store", f"sqlite:///{shell.folder}/a.db", TWITCHVAULT_STORE=""
    )
    assert "there is no store in " in option.err


async def test_what_the_library_logs_is_a_line_of_the_command(shell: Shell) -> None:
    """A file that others could read is mended, and said once; users are no matter of the log."""
    await shell.sign_in("alice")
    shell.file.chmod(0o644)
    shell.twitch.disconnect(shell.client, "alice")
    outcome = await shell.run("refresh", "alice", *shell.urls)
    assert outcome.code == 1
    first, *others = outcome.err.splitlines()
    assert first.startswith("twitchvault: ")
    assert str(shell.file) in first
    assert others == [f"Store: {shell.file}", "Sign in again: alice"]


async def test_the_client_id_is_asked_for(shell: Shell) -> None:
    """Without one the message says where to give it."""
    outcome = await shell.run("login", *shell.urls, TWITCHVAULT_CLIENT_ID=None)
    assert outcome.code == 2
    assert outcome.err == (
        "twitchvault: name the application: --client-id, or TWITCHVAULT_CLIENT_ID\n"
    )


@pytest.mark.parametrize("command", ["login", "list", "check", "remove alice"])
async def test_a_store_that_cannot_be_is_one_line(shell: Shell, command: str) -> None:
    """What is no URL, or of an unknown kind, gives a message and exit code 2."""
    for url, text in BAD_URLS.items():
        outcome = await shell.run(*command.split(), "--store", url, COLUMNS="40")
        assert outcome.code == 2
        assert outcome.err.startswith(f"twitchvault: {text}")
        assert outcome.err.count("\n") == 1
        assert "store object" not in outcome.err


@pytest.mark.parametrize("command", ["list", "doctor"])
async def test_a_store_of_the_environment_is_named_by_its_variable(
    shell: Shell, command: str
) -> None:
    """An error says that the URL came from the variable, or from the file that one names."""
    urls = shell.urls if command == "doctor" else ()
    for url in BAD_URLS:
        if (command, url) == ("doctor", "memory://"):
            continue  # it can be looked at
        outcome = await shell.run(command, *urls, TWITCHVAULT_STORE=url)
        assert outcome.code == 2
        said = (outcome.out + outcome.err).replace("name another one with --store", "")
        assert "TWITCHVAULT_STORE" in said
        assert "--store" not in said
    file = written(shell.folder / "url", "tokens.db")
    outcome = await shell.run(
        command, *urls, TWITCHVAULT_STORE=None, TWITCHVAULT_STORE_FILE=str(file)
    )
    assert "the content of TWITCHVAULT_STORE_FILE has no scheme" in outcome.out + outcome.err


@pytest.mark.parametrize("command", ["list", "check", "remove alice"])
@pytest.mark.parametrize("where", ["wrong.db", "no folder/tokens.db", "empty.db", None])
async def test_a_store_that_is_not_there(shell: Shell, command: str, where: str | None) -> None:
    """All commands but login name the file, and make none."""
    (shell.folder / "empty.db").touch()
    before = set(shell.folder.rglob("*"))
    default = "twitchvault/tokens.db"
    url = None if where is None else f"sqlite:///{shell.folder / where}"
    outcome = await shell.run(*command.split(), TWITCHVAULT_STORE=url)
    file = str(shell.folder / (where or default))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        f"twitchvault: there is no store in {file!r}: name another one, or sign in first\n"
    )
    assert set(shell.folder.rglob("*")) == before
    assert (shell.folder / "empty.db").stat().st_size == 0


async def test_a_server_is_named_without_its_password(shell: Shell) -> None:
    """Neither the store's name nor an error shows a password in the URL."""
    server = Server()
    with running(server):
        await server.ready()
        place = f"127.0.0.1:{server.port}"
        named = await shell.run("list", "--store", f"redis://{place}/0?client_name=s3cret")
        assert named.err == f"Store: redis://{place}/0\nNobody is in the store.\n"
        refused = await shell.run("list", "--store", f"redis://u:s3cret@{place}/0")
        assert refused.code == 2
        assert "s3cret" not in refused.err


def test_the_version() -> None:
    """`--version` is the version of the package."""
    command = [sys.executable, "-c", "from twitchvault.cli import main; main()", "--version"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, f"twitchvault {version('twitchvault')}\n")


@pytest.mark.parametrize("option", ["--id-url", "--api-url", "--client-id"])
async def test_an_argument_is_called_as_the_command_calls_it(shell: Shell, option: str) -> None:
    """A message names the option or the variable, not the parameter of the library behind it."""
    variable = f"TWITCHVAULT_{option.removeprefix('--').replace('-', '_').upper()}"
    by_option = await shell.run("login", option, "not one word")
    by_variable = await shell.run("login", **{variable: "not one word"})
    for name, outcome in ((option, by_option), (variable, by_variable)):
        assert outcome.code == 2
        assert f"twitchvault: {name} must be " in outcome.err


async def test_a_store_without_a_folder_is_one_line(shell: Shell) -> None:
    """The message of the store is shown as it is."""
    outcome = await shell.run("login", "--store", f"sqlite:///{shell.folder}/none/tokens.db")
    assert outcome.code == 2
    assert "its folder does not exist, make that first" in outcome.err


@pytest.mark.parametrize("package", ["typer", "rich", "segno"])
def test_a_missing_package_is_named_with_its_extra(package: str) -> None:
    """Without the extra the command says what to install."""
    code = f"import sys; sys.modules[{package!r}] = None; import twitchvault.cli as c; c.main()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr == (
        f"The 'twitchvault' command needs the package '{package}': pip install 'twitchvault[cli]'\n"
    )


async def test_a_misspelled_command_is_one_line(shell: Shell) -> None:
    """In a pipe what is wrong stands on one line, without a box around it."""
    outcome = await shell.run("list", "--a-rather-long-option-that-there-is-not", COLUMNS="40")
    assert outcome.code == 2
    assert "Error: No such option: --a-rather-long-option-that-there-is-not" in outcome.err
