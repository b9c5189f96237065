"""`twitchvault encrypt`: tokens in plaintext become encrypted ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.fernet import Fernet

from tests.environment import until
from twitchvault import FernetStore, SQLiteStore, open_store
from twitchvault.vault.record import encode

from .records import entries_of, fill, login

if TYPE_CHECKING:
    from .command import Shell

KEY = Fernet.generate_key()
RECORDS = {f"client:{number}": login(f"user{number}") for number in range(300)}
VALUES = {key: encode(record) for key, record in RECORDS.items()}


async def test_a_store_is_encrypted(shell: Shell) -> None:
    """No token stands in plaintext any more, also after a run that was killed half-way."""
    await fill(open_store(shell.store), RECORDS)
    command = await shell.start("encrypt", TWITCHVAULT_KEYS=KEY.decode())
    inner = SQLiteStore(shell.file)

    async def has_begun() -> bool:
        return any(value.startswith(b"gAAAA") for value in (await entries_of(inner)).values())

    await until(has_begun)
    await command.kill()
    outcome = await shell.run("encrypt", TWITCHVAULT_KEYS=KEY.decode())
    assert outcome.code == 0, outcome.err
    assert ": 301." in outcome.out
    assert all(value.startswith(b"gAAAA") for value in (await entries_of(inner)).values())
    assert await entries_of(FernetStore(inner, KEY)) == VALUES


async def test_an_encrypted_store_has_nothing_in_plaintext(shell: Shell) -> None:
    """Whoever encrypts it again is told that, and not what to do about plaintext."""
    await fill(FernetStore(shell.store, KEY), RECORDS)
    outcome = await shell.run("encrypt", TWITCHVAULT_KEYS=KEY.decode())
    assert outcome.code == 0
    assert outcome.out.startswith("Entries rewritten: 0; under key ")
    assert outcome.err == shell.named("Nothing in the store is in plaintext.\n")


async def test_encryption_needs_keys(shell: Shell) -> None:
    """Without them nothing is done, and what to set is said."""
    await fill(open_store(shell.store), RECORDS)
    for arguments in (("encrypt",), ("keys", "rotate")):
        outcome = await shell.run(*arguments)
        assert outcome.code == 2
        assert "TWITCHVAULT_KEYS" in outcome.err
    assert await entries_of(open_store(shell.store)) == VALUES
