"""What the commands for a store's upkeep show at a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet

from twitchvault import open_store

from .records import fill, login, refreshed

if TYPE_CHECKING:
    from .command import Shell

KEY = Fernet.generate_key().decode()


async def terminal_text(shell: Shell, *arguments: str, code: int = 0, **variables: str) -> str:
    """All that a run shows, which ends with this exit code."""
    async with shell.terminal(*arguments, **variables) as terminal:
        assert await terminal.end() == code, terminal.text
    return terminal.text


async def test_copying_and_restoring(shell: Shell) -> None:
    """A bar shows how far it is, and sentences say what became of whom."""
    await fill(open_store(shell.store), {"client:1001": login("alice")})
    text = await terminal_text(shell, "copy", shell.store, f"sqlite:///{shell.folder}/new.db")
    assert "Copying" in text
    assert "Verifying" in text
    assert "Copied and verified: 1 added." in text
    text = await terminal_text(shell, "backup", f"{shell.folder}/tokens.bak")
    assert "Writing" in text
    newer = {"client:1001": refreshed(login("alice"))}
    await fill(open_store(shell.store), newer)
    text = await terminal_text(shell, "restore", f"{shell.folder}/tokens.bak")
    assert "alice (1001): left as it is: generation 2 is there, and this one is 1" in text


async def test_importing(shell: Shell) -> None:
    """Each user has a sentence."""
    pair = shell.twitch.issue(shell.client, "alice")
    file = shell.folder / "user_token.json"
    file.write_text(json.dumps({"token": pair.access_token, "refresh": pair.refresh_token}))
    text = await terminal_text(shell, "import", str(file), *shell.urls)
    assert "alice (1001): imported\n" in text


async def test_encrypting_and_rotating(shell: Shell) -> None:
    """A bar, and in the end the counts; a key alone where one is made."""
    await fill(open_store(shell.store), {"client:1001": login("alice")})
    new = await terminal_text(shell, "keys", "new")
    Fernet(new.strip())
    text = await terminal_text(shell, "encrypt", TWITCHVAULT_KEYS=KEY)
    assert "Encrypting" in text
    assert ": 2." in text
    text = await terminal_text(shell, "keys", "rotate", TWITCHVAULT_KEYS=f"{new.strip()},{KEY}")
    assert "Rotating" in text
    assert "Entries rewritten: 2" in text


async def test_the_doctor(shell: Shell) -> None:
    """The advice stands below what it is about."""
    text = await terminal_text(shell, "doctor", *shell.urls, code=2)
    lines = text.splitlines()
    problem = next(n for n, line in enumerate(lines) if "problem" in line)
    assert "there is none in" in lines[problem]
    assert lines[problem + 1].strip().endswith("sign in, or name another\x1b[0m")
