"""`--json` where a command prints no list of users: one document, and nothing else with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet

if TYPE_CHECKING:
    from .command import Shell


async def document(shell: Shell, *arguments: str) -> dict[str, Any]:
    """The JSON document that a command prints; it names the store."""
    outcome = await shell.run(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    found: dict[str, Any] = json.loads(outcome.out)
    assert found.pop("store") == str(shell.file)
    return found


async def test_login_backup_encrypt_rotate_and_remove(shell: Shell) -> None:
    """Each says what it did; what a login shows to a person goes to standard error."""
    (user,) = (await document(shell, "login", *shell.urls))["users"]
    assert (user["user_id"], user["login"], user["state"]) == ("1001", "alice", "live")
    file = str(shell.folder / "tokens.bak")
    assert await document(shell, "backup", file) == {"file": file, "records": 1}
    keys = shell.folder / "keys"
    keys.write_bytes(Fernet.generate_key())
    keys.chmod(0o600)
    encrypted = await document(shell, "encrypt", "--key-file", str(keys))
    rotated = await document(shell, "keys", "rotate", "--key-file", str(keys))
    assert (encrypted["rewritten"], rotated["rewritten"]) == (1, 0)
    assert encrypted["by_key"] == rotated["by_key"]
    assert encrypted["left"] == rotated["left"] == []
    removed = await document(shell, "remove", "alice", "--key-file", str(keys))
    assert [(one["login"], one["outcome"]) for one in removed["users"]] == [("alice", "removed")]


async def test_revoke_names_each_user_with_the_outcome(shell: Shell) -> None:
    """Also who could not be revoked, and why; then the exit code is 2."""
    await shell.sign_in("alice")
    shell.twitch.fail("revoke", status=503, times=1)
    failed = await shell.run("revoke", "--all", "--json", *shell.urls)
    assert failed.code == 2
    (user,) = json.loads(failed.out)["users"]
    assert (user["login"], user["outcome"]) == ("alice", "failed")
    assert "503" in user["reason"]
