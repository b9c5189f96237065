"""The options that commands share: the application, the store, its keys."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet

from tests.redis_store.servers import Server, running
from twitchvault import FernetStore

from .records import entries_of, fill

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


async def run(shell: Shell, *arguments: str, keys: Path, code: int = 0) -> Outcome:
    """A command that is told of the keys by the environment; it shows none of them."""
    outcome = await shell.run(*arguments, code=code, TWITCHVAULT_KEY_FILE=str(keys))
    assert KEY not in outcome.out + outcome.err
    return outcome


async def test_all_commands_on_an_encrypted_store(shell: Shell, file: Path) -> None:
    """A login is stored encrypted under the first key; the others read, renew and remove it."""
    await shell.run("login", "--key-file", str(file))
    assert [*await entries_of(FernetStore(shell.store, KEY))] == ["client:1001"]
    shell.twitch.expire_access("alice")
    check = await run(shell, "check", keys=file)
    assert shell.twitch.counts.exchanges == 1
    assert "alice" in check.out
    await run(shell, "remove", "alice", keys=file)
    assert "Nobody" in (await run(shell, "list", keys=file)).err


async def test_an_encrypted_store_without_its_keys(shell: Shell, file: Path) -> None:
    """One line says what is missing or wrong, and nothing is written over what is there."""
    await fill(FernetStore(shell.store, KEY), {})
    before, name = await shell.entries(), repr(str(shell.file))
    wants = "name the file with its keys by --key-file, or set TWITCHVAULT_KEYS"
    login = await shell.run("login", code=2)
    assert login.err == f"twitchvault: {name} is encrypted: {wants}\n"
    wrong = await run(shell, "list", keys=written(file, WRONG), code=2)
    why = f"none of the keys in the key file {str(file)!r} decrypts {name}: name other keys"
    assert wrong.err == f"twitchvault: {why}\n"
    assert await shell.entries() == before


async def test_a_bad_key_file(shell: Shell, file: Path) -> None:
    """A file that is not there, or holds no key, is one line that does not show it."""
    away = await run(shell, "list", keys=file.with_name("away"), code=2)
    assert away.err.startswith(f"twitchvault: the key file {str(file.with_name('away'))!r}")
    bad = await run(shell, "list", keys=written(file, KEY[1:]), code=2)
    where = f"twitchvault: the key file {str(file)!r}"
    assert bad.err.startswith(f"{where}: key 1 is not a Fernet key: expected 44 characters")
    assert KEY[1:] not in bad.err
    empty = await run(shell, "list", keys=written(file, "\n"), code=2)
    assert empty.err == f"{where} is empty: it holds Fernet keys, one a line\n"
    assert not shell.file.exists()


async def test_a_key_file_for_all_to_read(shell: Shell, file: Path) -> None:
    """As for a store's file there is a warning that says what to do."""
    login = await run(shell, "login", keys=written(file, KEY, 0o644))
    warning = next(line for line in login.err.splitlines() if "other users" in line)
    assert warning.startswith(f"twitchvault: {file} has mode 644 and belongs to ")
    assert warning.endswith(f": other users can read its secrets: 'chmod 600 {file}'")


@pytest.mark.parametrize("command", ["list", "check", "remove alice", "login"])
@pytest.mark.parametrize("somebody", [True, False])
async def test_keys_for_a_store_without_encryption(
    shell: Shell, file: Path, command: str, somebody: bool
) -> None:
    """They are refused, and the store stays as it is; only a login may encrypt an empty one."""
    await (shell.sign_in("alice") if somebody else shell.fill({}))
    if command != "login" or somebody:
        refused = await run(shell, *command.split(), keys=file, code=2)
        assert refused.out == ""
        assert refused.err == (
            f"twitchvault: {str(shell.file)!r} is not encrypted: run 'twitchvault encrypt' first, "
            "or leave the keys out\n"
        )
    await shell.run("list")


async def test_variables_and_files(shell: Shell, confidential: Shell, file: Path) -> None:
    """A secret may stand in a file; one that is empty or given twice is an error that names it."""
    secret = written(shell.folder / "secret", f"{confidential.client.client_secret}\n")
    await confidential.run(
        "login",
        TWITCHVAULT_CLIENT_SECRET=None,
        TWITCHVAULT_CLIENT_SECRET_FILE=str(secret),
        TWITCHVAULT_KEYS=f"{KEY},{SECOND}",
    )
    listed = await run(confidential, "list", keys=file)
    assert "alice" in listed.out, listed.err
    for variables, text in (
        ({"TWITCHVAULT_STORE": ""}, "TWITCHVAULT_STORE is empty"),
        ({"TWITCHVAULT_KEYS": " "}, "TWITCHVAULT_KEYS is empty"),
        ({"TWITCHVAULT_STORE_FILE": "x"}, "TWITCHVAULT_STORE and TWITCHVAULT_STORE_FILE are both"),
    ):
        said = await shell.end(await shell.start("list", **variables), code=2)
        assert said.out == ""
        assert said.err.startswith(f"twitchvault: {text}")
    option = await shell.run(
        "list", "--store", f"sqlite:///{shell.folder}/a.db", code=2, TWITCHVAULT_STORE=""
    )
    assert "there is no store in " in option.err


async def test_what_the_library_logs_is_a_line_of_the_command(shell: Shell) -> None:
    """A file that others could read is mended, and said once; users are no matter of the log."""
    await shell.sign_in("alice")
    shell.file.chmod(0o644)
    shell.twitch.disconnect(shell.client, "alice")
    outcome = await shell.run("refresh", "alice", code=1)
    first, *others = outcome.err.splitlines()
    assert first.startswith("twitchvault: ")
    assert str(shell.file) in first
    assert others == [f"Store: {shell.file}", "Sign in again: alice"]


async def test_the_client_id_is_asked_for(shell: Shell) -> None:
    """Without one the message says where to give it."""
    outcome = await shell.run("login", code=2, TWITCHVAULT_CLIENT_ID=None)
    assert outcome.err == (
        "twitchvault: name the application: --client-id, or TWITCHVAULT_CLIENT_ID\n"
    )


@pytest.mark.parametrize("command", ["login", "list", "check", "remove alice"])
async def test_a_store_that_cannot_be_is_one_line(shell: Shell, command: str) -> None:
    """What is no URL, or of an unknown kind, gives a message and exit code 2."""
    for url, text in BAD_URLS.items():
        outcome = await shell.run(*command.split(), "--store", url, code=2, COLUMNS="40")
        assert outcome.err.startswith(f"twitchvault: {text}")
        assert outcome.err.count("\n") == 1
        assert "store object" not in outcome.err


@pytest.mark.parametrize("command", ["list", "doctor"])
async def test_a_store_of_the_environment_is_named_by_its_variable(
    shell: Shell, command: str
) -> None:
    """An error says that the URL came from the variable, or from the file that one names."""
    for url in BAD_URLS:
        if (command, url) == ("doctor", "memory://"):
            continue  # it can be looked at
        outcome = await shell.run(command, code=2, TWITCHVAULT_STORE=url)
        said = (outcome.out + outcome.err).replace("name another one with --store", "")
        assert "TWITCHVAULT_STORE" in said
        assert "--store" not in said
    file = written(shell.folder / "url", "tokens.db")
    outcome = await shell.run(
        command, code=2, TWITCHVAULT_STORE=None, TWITCHVAULT_STORE_FILE=str(file)
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
    outcome = await shell.run(*command.split(), code=2, TWITCHVAULT_STORE=url)
    file = str(shell.folder / (where or default))
    assert outcome.out == ""
    assert outcome.err == (
        f"twitchvault: there is no store in {file!r}: name another one, or sign in first\n"
    )
    assert set(shell.folder.rglob("*")) == before
    assert (shell.folder / "empty.db").stat().st_size == 0


async def test_a_server_is_named_without_its_password(shell: Shell) -> None:
    """Neither the store's name nor an error shows a password in the URL."""
    with running(server := Server()):
        await server.ready()
        place = f"127.0.0.1:{server.port}"
        named = await shell.run("list", "--store", f"redis://{place}/0?client_name=s3cret")
        assert named.err == f"Store: redis://{place}/0\nNobody is in the store.\n"
        refused = await shell.run("list", "--store", f"redis://u:s3cret@{place}/0", code=2)
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
    by_option = await shell.run("login", option, "not one word", code=2)
    wrong: dict[str, Any] = {variable: "not one word"}
    by_variable = await shell.run("login", code=2, **wrong)
    for name, outcome in ((option, by_option), (variable, by_variable)):
        assert f"twitchvault: {name} must be " in outcome.err


@pytest.mark.parametrize("option", ["--store", "--id-url", "--api-url", "--client-id"])
async def test_an_empty_option_is_not_one_left_out(shell: Shell, option: str) -> None:
    """What a shell makes of a variable that is not set is refused: another store would be used."""
    outcome = await shell.run("check", option, "", code=2)
    why = f"{option} is empty: give it a value, or leave it out"
    assert outcome.err == f"twitchvault: {why}\n"


async def test_a_store_without_a_folder_is_one_line(shell: Shell) -> None:
    """The message of the store is shown as it is."""
    outcome = await shell.run(
        "login", "--store", f"sqlite:///{shell.folder}/none/tokens.db", code=2
    )
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


async def document(shell: Shell, *arguments: str) -> dict[str, Any]:
    """The JSON document that a command prints; it names the store."""
    outcome = await shell.run(*arguments, "--json")
    found: dict[str, Any] = outcome.json
    assert found.pop("store") == str(shell.file)
    return found


async def test_login_backup_encrypt_rotate_and_remove(shell: Shell, file: Path) -> None:
    """--json: each says what it did; what a login shows to a person goes to standard error."""
    (user,) = (await document(shell, "login"))["users"]
    assert (user["user_id"], user["login"], user["state"]) == ("1001", "alice", "live")
    backup = str(shell.folder / "tokens.bak")
    assert await document(shell, "backup", backup) == {"file": backup, "records": 1}
    encrypted = await document(shell, "encrypt", "--key-file", str(file))
    rotated = await document(shell, "keys", "rotate", "--key-file", str(file))
    assert (encrypted["rewritten"], rotated["rewritten"]) == (1, 0)
    assert encrypted["by_key"] == rotated["by_key"]
    assert encrypted["left"] == rotated["left"] == []
    removed = await document(shell, "remove", "alice", "--key-file", str(file))
    assert [(one["login"], one["outcome"]) for one in removed["users"]] == [("alice", "removed")]
