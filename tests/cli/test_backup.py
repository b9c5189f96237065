"""`twitchvault backup` and `twitchvault restore`."""

from __future__ import annotations

import asyncio
import shutil
import stat
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet

from tests.processes.conftest import fleet, twitch  # noqa: F401 - fixtures
from tests.processes.fleet import all_do
from twitchvault import FernetStore, SQLiteStore, open_store
from twitchvault.vault.record import encode
from twitchvault.vault.transitions import removed

from .command import Shell
from .records import entries_of, fill, login, refreshed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.processes.fleet import Fleet


async def test_a_backup_holds_everybody_for_its_owner_alone(shell: Shell) -> None:
    """It has mode 0600, is one file, and brings everybody back into a store that is not there."""
    records = {"client:1001": refreshed(login("alice"), 3), "client:1002": login("bob")}
    await fill(open_store(shell.store), records)
    file = shell.folder / "tokens.bak"
    outcome = await shell.run("backup", str(file))
    assert (outcome.code, outcome.out) == (0, f"Backed up: 2 users, in {str(file)!r}.\n")
    assert "nor is the backup" in outcome.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {one.name for one in shell.folder.iterdir()} == {"tokens.db", "tokens.bak"}
    shell.file.unlink()
    outcome = await shell.run("restore", str(file))
    assert (outcome.code, outcome.out) == (
        0,
        "alice\t1001\tadded\tclient\t-\nbob\t1002\tadded\tclient\t-\n",
    )
    assert await entries_of(open_store(shell.store)) == {k: encode(r) for k, r in records.items()}


async def test_nothing_is_overwritten(shell: Shell) -> None:
    """A name that is taken, be it by the store itself, is refused."""
    await fill(open_store(shell.store), {"client:1001": login("alice")})
    outcome = await shell.run("backup", str(shell.file))
    assert outcome.code == 2
    assert f"{str(shell.file)!r} is there already: name another file" in outcome.err
    assert [*await entries_of(open_store(shell.store))] == ["client:1001"]


async def test_an_encrypted_store_has_an_encrypted_backup(shell: Shell) -> None:
    """Making it needs no key; restoring it needs the store's, also into a new store."""
    key = Fernet.generate_key()
    (shell.folder / "keys").write_bytes(key)
    (shell.folder / "other").write_bytes(Fernet.generate_key())
    await fill(FernetStore(shell.store, key), {"client:1001": login("alice")})
    file = shell.folder / "tokens.bak"
    outcome = await shell.run("backup", str(file))
    assert outcome.code == 0, outcome.err
    assert b"alice" not in file.read_bytes()
    new = shell.folder / "new.db"
    arguments = ("restore", str(file), "--store", f"sqlite:///{new}")
    outcome = await shell.run(*arguments)
    assert outcome.code == 2
    assert "encrypted" in outcome.err
    outcome = await shell.run(*arguments, TWITCHVAULT_KEY_FILE=str(shell.folder / "other"))
    assert outcome.code == 2
    assert not new.exists()
    outcome = await shell.run(*arguments, TWITCHVAULT_KEY_FILE=str(shell.folder / "keys"))
    assert outcome.code == 0, outcome.err
    stored = await entries_of(FernetStore(SQLiteStore(new), key))
    assert stored == {"client:1001": encode(login("alice"))}
    assert b"alice" not in new.read_bytes()


async def test_an_old_backup_harms_nobody(shell: Shell) -> None:
    """Each user keeps the newer of both, nobody who was removed comes back, and each is named."""
    old = {
        f"client:{name}": refreshed(login(name)) for name in ("alice", "bob", "carol", "dora", "ed")
    }
    await fill(open_store(shell.store), old)
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
    await fill(open_store(shell.store), now)
    outcome = await shell.run("restore", str(file))
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines() == [
        "alice\talice\tnewer\tclient\tgeneration 6 stands, this is 2",
        "bob\tbob\tunchanged\tclient\t-",
        "carol\tcarol\tupdated\tclient\tgeneration 2, in the place of 1",
        "dora\tdora\tnewer\tclient\tgeneration 3 stands, this is 2",
        "ed\ted\tnewer\tclient\tthe user was removed since",
    ]
    after = await entries_of(open_store(shell.store))
    expected = {**now, "client:carol": old["client:carol"]}
    assert after == {key: encode(record) for key, record in expected.items()}


async def test_what_is_no_backup_is_refused(shell: Shell) -> None:
    """Another file is named, and left as it is; no store is made for it."""
    file = shell.folder / "notes.txt"
    for content in (b"", b"dear diary" * 100):
        file.write_bytes(content)
        outcome = await shell.run("restore", str(file))
        assert outcome.code == 2
        assert repr(str(file)) in outcome.err
        assert file.read_bytes() == content
    outcome = await shell.run("restore", str(shell.folder / "nothing"))
    assert outcome.code == 2
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
    assert (outcome.code, outcome.out) == (0, "alice\t1001\tadded\tclient\t-\n"), outcome.err


@pytest.fixture
def store_url(quick_path: Path) -> str:
    """Where the processes keep their tokens."""
    return f"sqlite:///{quick_path / 'tokens.db'}"


async def test_bots_go_on_meanwhile(
    fleet: Fleet,  # noqa: F811
    store_url: str,
    tmp_path: Path,
) -> None:
    """Four processes refresh while backups are made and restored, an old one at last: no spent
    token is sent, and everybody's good tokens stand in the store.
    """
    await fleet.register(public=True)
    workers = await fleet.start(4)
    users = [await fleet.own_pair(workers[0]) for _ in range(4)]
    shell = Shell(tmp_path, fleet.twitch, fleet.client)  # type: ignore[arg-type]
    done = asyncio.Event()

    async def refresh(number: int) -> None:
        while not done.is_set():
            await workers[number].do("refresh", user_id=users[number])

    async def command(*arguments: str) -> None:
        running = await shell.start(*arguments, TWITCHVAULT_STORE=store_url)
        outcome = await running.end("")
        assert outcome.code == 0, outcome.err

    refreshing = [asyncio.create_task(refresh(number)) for number in range(4)]
    for number in range(3):
        await command("backup", f"{tmp_path}/{number}.bak")
        await command("restore", f"{tmp_path}/{number}.bak")
    await command("restore", f"{tmp_path}/0.bak")
    done.set()
    await asyncio.gather(*refreshing)
    counts = await fleet.twitch.counts()
    assert counts.replays == 0
    assert counts.exchanges > 20
    await all_do(workers, "sync")
    for user_id in users:
        assert await fleet.is_stored(user_id)
