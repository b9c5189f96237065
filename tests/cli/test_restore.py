"""`twitchvault restore`: what a backup brings back, and what it leaves alone."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from twitchvault import SQLiteStore
from twitchvault.vault.record import encode
from twitchvault.vault.transitions import removed

from .records import login, refreshed

if TYPE_CHECKING:
    from .command import Shell


async def test_an_old_backup_harms_nobody(shell: Shell) -> None:
    """Each user keeps the newer of both, nobody who was removed comes back, and each is named."""
    old = {
        f"client:{name}": refreshed(login(name)) for name in ("alice", "bob", "carol", "dora", "ed")
    }
    await shell.fill(old)
    file = shell.folder / "tokens.bak"
    await shell.run("backup", str(file))
    anew, gone = login("dora-anew", old["client:dora"]), removed(old["client:ed"])
    assert gone is not None
    now = {
        "client:alice": refreshed(old["client:alice"], 4),
        "client:bob": old["client:bob"],
        "client:carol": login("carol"),
        "client:dora": anew,
        "client:ed": gone,
    }
    await shell.fill(now)
    outcome = await shell.run("restore", str(file))
    assert outcome.out.splitlines() == [
        "alice\talice\tnewer\tclient\tgeneration 6 is there, and this one is 2",
        "bob\tbob\tunchanged\tclient\t-",
        "carol\tcarol\tupdated\tclient\tgeneration 2, in the place of 1",
        "dora\tdora\tnewer\tclient\tgeneration 3 is there, and this one is 2",
        "ed\ted\tnewer\tclient\tthe user was removed since",
    ]
    after = await shell.entries()
    expected = {**now, "client:carol": old["client:carol"]}
    assert after == {key: encode(record) for key, record in expected.items()}


async def test_what_is_no_backup_is_refused(shell: Shell) -> None:
    """Another file is named, and left as it is; no store is made for it."""
    file = shell.folder / "notes.txt"
    for content in (b"", b"dear diary" * 100):
        file.write_bytes(content)
        outcome = await shell.run("restore", str(file), code=2)
        assert repr(str(file)) in outcome.err
        assert file.read_bytes() == content
    outcome = await shell.run("restore", str(shell.folder / "nothing"), code=2)
    assert "nothing" in outcome.err
    assert not shell.file.exists()


async def test_the_files_of_a_store_are_a_backup_too(shell: Shell) -> None:
    """Who has copied the file and its log by hand can restore from them, the newest writes too."""
    store = SQLiteStore(shell.file)
    await store.open()
    await store.put("client:1001", encode(login("alice")))
    copy = shell.folder / "copy.db"
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{shell.file}{suffix}", f"{copy}{suffix}")
    await store.close()
    outcome = await shell.run("restore", str(copy), "--store", f"sqlite:///{shell.folder}/new.db")
    assert outcome.out == "alice\t1001\tadded\tclient\t-\n"


async def test_one_document_for_programs(shell: Shell) -> None:
    """--json names the stores, and each user with what became of the record."""
    await shell.fill({"client:1001": login("alice")})
    user = {"client_id": "client", "user_id": "1001", "login": "alice", "reason": None}
    new = shell.folder / "new.db"
    outcome = await shell.run("copy", "--json", shell.store, f"sqlite:///{new}")
    assert outcome.json == {
        "source": str(shell.file),
        "target": str(new),
        "users": [{**user, "outcome": "added"}],
    }
    await shell.run("backup", f"{shell.folder}/tokens.bak")
    outcome = await shell.run("restore", "--json", f"{shell.folder}/tokens.bak")
    document = {"store": str(shell.file), "users": [{**user, "outcome": "unchanged"}]}
    assert outcome.json == document


async def test_copying_and_restoring_at_a_terminal(shell: Shell) -> None:
    """A bar shows how far it is, and sentences say what became of whom."""
    await shell.fill({"client:1001": login("alice")})
    text = await shell.screen("copy", shell.store, f"sqlite:///{shell.folder}/new.db")
    assert "Copying" in text
    assert "Verifying" in text
    assert "Copied and verified: 1 added." in text
    text = await shell.screen("backup", f"{shell.folder}/tokens.bak")
    assert "Writing" in text
    newer = {"client:1001": refreshed(login("alice"))}
    await shell.fill(newer)
    text = await shell.screen("restore", f"{shell.folder}/tokens.bak")
    assert "alice (1001): left as it is: generation 2 is there, and this one is 1" in text
