"""`twitchvault encrypt`: tokens in plaintext become encrypted ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.fernet import Fernet

from tests.environment import until
from twitchvault import FernetStore, SQLiteStore

from .records import MANY, VALUES, entries_of, fill

if TYPE_CHECKING:
    from .command import Shell

KEY = Fernet.generate_key().decode()


async def test_a_store_is_encrypted(shell: Shell) -> None:
    """No token stands in plaintext any more, also after a run that was killed half-way."""
    await shell.fill(MANY)
    command = await shell.start("encrypt", TWITCHVAULT_KEYS=KEY)
    inner = SQLiteStore(shell.file)

    async def has_begun() -> bool:
        return any(value.startswith(b"gAAAA") for value in (await entries_of(inner)).values())

    await until(has_begun)
    await command.kill()
    outcome = await shell.run("encrypt", TWITCHVAULT_KEYS=KEY)
    assert ": 301." in outcome.out
    assert all(value.startswith(b"gAAAA") for value in (await entries_of(inner)).values())
    assert await entries_of(FernetStore(inner, KEY)) == VALUES


async def test_an_encrypted_store_has_nothing_in_plaintext(shell: Shell) -> None:
    """Whoever encrypts it again is told that, and not what to do about plaintext."""
    await fill(FernetStore(shell.store, KEY), MANY)
    outcome = await shell.run("encrypt", TWITCHVAULT_KEYS=KEY)
    assert outcome.out.startswith("Entries rewritten: 0; under key ")
    assert outcome.err == shell.named("Nothing in the store is in plaintext.\n")


async def test_encryption_needs_keys(shell: Shell) -> None:
    """Without them nothing is done, and what to set is said."""
    await shell.fill(MANY)
    for arguments in (("encrypt",), ("keys", "rotate")):
        outcome = await shell.run(*arguments, code=2)
        assert "TWITCHVAULT_KEYS" in outcome.err
    assert await shell.entries() == VALUES


async def test_encrypting_and_rotating_at_a_terminal(shell: Shell) -> None:
    """A bar, and in the end the counts; a key alone where one is made."""
    await shell.fill({})
    new = await shell.screen("keys", "new")
    Fernet(new.strip())
    text = await shell.screen("encrypt", TWITCHVAULT_KEYS=KEY)
    assert "Encrypting" in text
    assert ": 1." in text
    text = await shell.screen("keys", "rotate", TWITCHVAULT_KEYS=f"{new.strip()},{KEY}")
    assert "Rotating" in text
    assert "Entries rewritten: 1" in text
