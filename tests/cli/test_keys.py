"""`twitchvault keys new` and `keys rotate`."""

from __future__ import annotations

import stat
from base64 import urlsafe_b64decode
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet

from twitchvault import FernetStore

from .records import MANY, VALUES, entries_of, fill

if TYPE_CHECKING:
    from .command import Shell

OLD, NEW = Fernet.generate_key(), Fernet.generate_key()


async def test_a_new_key_is_printed_alone(shell: Shell) -> None:
    """Standard output is a key and nothing else, another one each time."""
    first, second = await shell.run("keys", "new"), await shell.run("keys", "new")
    assert (first.code, first.err) == (0, "")
    Fernet(first.out.strip())
    assert first.out.count("\n") == 1
    assert first.out != second.out


async def test_a_new_key_is_written_for_its_owner(shell: Shell) -> None:
    """The file has mode 0600, opens a store, and is never overwritten."""
    file = shell.folder / "keys"
    outcome = await shell.run("keys", "new", "--out", str(file))
    assert outcome.out == ""
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = file.read_text()
    Fernet(key.strip())
    assert key.strip() not in outcome.err
    outcome = await shell.run("keys", "new", "--out", str(file), code=2)
    assert "is there already" in outcome.err
    assert file.read_text() == key


async def test_a_rotation_brings_all_under_the_first_key(shell: Shell) -> None:
    """Everything is readable with the new key alone; the second run has nothing to do.

    The name of a key comes with its position, which a key file shows.
    """
    await fill(FernetStore(shell.store, OLD), MANY)
    keys = f"{NEW.decode()},{OLD.decode()}"
    outcome = await shell.run("keys", "rotate", TWITCHVAULT_KEYS=keys)
    assert outcome.out.startswith("Entries rewritten: 301; under key ")
    new, old = (sha256(urlsafe_b64decode(key)).hexdigest()[:8] for key in (NEW, OLD))
    assert outcome.out.endswith(f"drop {old}.\n")
    assert outcome.err == shell.named(f"By position: key 1 is {new}, key 2 is {old}.\n")
    assert await entries_of(FernetStore(shell.store, NEW)) == VALUES
    outcome = await shell.run("keys", "rotate", TWITCHVAULT_KEYS=keys)
    assert outcome.out.startswith("Entries rewritten: 0; under key ")
    for secret in (OLD.decode(), NEW.decode()):
        assert secret not in outcome.out + outcome.err


async def test_a_rotation_without_the_old_key_does_nothing(shell: Shell) -> None:
    """It says that the keys are not those of the store; no store in plaintext is touched either."""
    await fill(FernetStore(shell.store, OLD), MANY)
    outcome = await shell.run("keys", "rotate", code=2, TWITCHVAULT_KEYS=NEW.decode())
    assert "none of the keys decrypts this store" in outcome.err
    assert await entries_of(FernetStore(shell.store, OLD)) == VALUES
    shell.file.unlink()
    await shell.fill(MANY)
    outcome = await shell.run("keys", "rotate", code=2, TWITCHVAULT_KEYS=NEW.decode())
    assert "'twitchvault encrypt'" in outcome.err
    assert await shell.entries() == VALUES


async def test_what_no_key_decrypts_is_named(shell: Shell) -> None:
    """The others are rotated, and the code is 2."""
    await fill(FernetStore(shell.store, OLD), MANY)
    await shell.damage("client:300")
    outcome = await shell.run(
        "keys", "rotate", code=2, TWITCHVAULT_KEYS=f"{NEW.decode()} {OLD.decode()}"
    )
    assert "no key decrypts them: client:300." in outcome.err
    stored = await entries_of(FernetStore(shell.store, NEW))
    assert {key: value for key, value in stored.items() if key != "client:300"} == VALUES
