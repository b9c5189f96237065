"""`twitchvault backup`, and what it is restored to."""

from __future__ import annotations

import asyncio
import os
import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet
from redis.asyncio import Redis

from tests.processes.fleet import all_do
from twitchvault import FernetStore, SQLiteStore
from twitchvault.vault.record import encode

from .command import Shell
from .records import entries_of, fill, login, refreshed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.processes.fleet import Fleet
    from tests.redis_store.servers import Server


async def test_a_backup_holds_everybody_for_its_owner_alone(shell: Shell) -> None:
    """It has mode 0600, is one file, and brings everybody back into a store that is not there."""
    records = {"client:1001": refreshed(login("alice"), 3), "client:1002": login("bob")}
    await shell.fill(records)
    file = shell.folder / "tokens.bak"
    outcome = await shell.run("backup", str(file))
    assert outcome.out == f"Backed up: 2 records, in {str(file)!r}.\n"
    assert "nor is the backup" in outcome.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {one.name for one in shell.folder.iterdir()} == {"tokens.db", "tokens.bak"}
    shell.file.unlink()
    outcome = await shell.run("restore", str(file))
    assert outcome.out == "alice\t1001\tadded\tclient\t-\nbob\t1002\tadded\tclient\t-\n"
    assert await shell.entries() == {k: encode(r) for k, r in records.items()}


@pytest.mark.parametrize("name", ["tokens.db", "folder", "fifo", "link"])
async def test_nothing_is_overwritten(shell: Shell, name: str) -> None:
    """A name that is taken, be it by the store itself, is refused, and what is no file, like a
    device, is not replaced by one with everybody's tokens.
    """
    await shell.fill({"client:1001": login("alice")})
    os.mkfifo(shell.folder / "fifo")
    (shell.folder / "folder").mkdir()
    (shell.folder / "link").symlink_to(shell.folder / "elsewhere")
    file = shell.folder / name
    before = file.lstat()
    outcome = await shell.run("backup", str(file), code=2)
    is_file = "is there already: name another file"
    why = is_file if file == shell.file else "is no plain file: name a new one"
    assert f"{str(file)!r} {why}" in outcome.err
    assert (file.lstat().st_ino, file.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert [*await shell.entries()] == ["client:1001"]


async def test_an_encrypted_store_has_an_encrypted_backup(shell: Shell) -> None:
    """Making it needs no key; restoring it needs the store's, also into a new store."""
    key = Fernet.generate_key()
    (shell.folder / "keys").write_bytes(key)
    (shell.folder / "other").write_bytes(Fernet.generate_key())
    await fill(FernetStore(shell.store, key), {"client:1001": login("alice")})
    file = shell.folder / "tokens.bak"
    outcome = await shell.run("backup", str(file))
    assert b"alice" not in file.read_bytes()
    new = shell.folder / "new.db"
    arguments = ("restore", str(file), "--store", f"sqlite:///{new}")
    outcome = await shell.run(*arguments, code=2)
    assert "encrypted" in outcome.err
    outcome = await shell.run(*arguments, code=2, TWITCHVAULT_KEY_FILE=str(shell.folder / "other"))
    assert not new.exists()
    outcome = await shell.run(*arguments, TWITCHVAULT_KEY_FILE=str(shell.folder / "keys"))
    stored = await entries_of(FernetStore(SQLiteStore(new), key))
    assert stored == {"client:1001": encode(login("alice"))}
    assert b"alice" not in new.read_bytes()


@asynccontextmanager
async def busy(fleet: Fleet, folder: Path) -> AsyncIterator[Callable[..., Awaitable[None]]]:
    """Four processes that refresh a user each all the time; what it yields runs a command.

    In the end no spent token was sent, and everybody's good tokens stand in the store.
    """
    await fleet.register(public=True)
    workers = await fleet.start(4)
    users = [await fleet.own_pair(workers[0]) for _ in range(4)]
    shell = Shell(folder, fleet.twitch, fleet.client)  # type: ignore[arg-type]
    done = asyncio.Event()

    async def refresh(number: int) -> None:
        while not done.is_set():
            await workers[number].do("refresh", user_id=users[number])

    async def run(*arguments: str) -> None:
        command = await shell.start(*arguments, TWITCHVAULT_STORE=fleet.store_url)
        outcome = await command.end("")
        assert outcome.code == 0, outcome.err

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(refresh(number))
        yield run
        done.set()
    counts = await fleet.twitch.counts()
    assert counts.replays == 0
    assert counts.exchanges > 20
    await all_do(workers, "sync")
    for user_id in users:
        assert await fleet.is_stored(user_id)


@pytest.fixture
async def store_url(quick_path: Path, request: pytest.FixtureRequest) -> str:
    """Where the processes keep their tokens."""
    if getattr(request, "param", "sqlite") == "redis":
        server: Server = await request.getfixturevalue("own_server")().ready()
        return server.url
    return f"sqlite:///{quick_path / 'tokens.db'}"


async def test_bots_go_on_meanwhile(fleet: Fleet, tmp_path: Path) -> None:
    """Four processes refresh while backups are made and restored, an old one at last: no spent
    token is sent, and everybody's good tokens stand in the store.
    """
    async with busy(fleet, tmp_path) as run:
        for number in range(3):
            await run("backup", f"{tmp_path}/{number}.bak")
            await run("restore", f"{tmp_path}/{number}.bak")
        await run("restore", f"{tmp_path}/0.bak")


@pytest.mark.parametrize("store_url", ["redis"], indirect=True)
async def test_a_server_that_lost_everything(fleet: Fleet, store_url: str, tmp_path: Path) -> None:
    """An old backup is restored into a server that was emptied under running processes: what they
    hold is newer, and wins.
    """
    async with busy(fleet, tmp_path) as run, Redis.from_url(store_url) as client:
        for number in range(3):
            await run("backup", f"{tmp_path}/{number}.bak")
            await client.flushall()
            await run("restore", f"{tmp_path}/0.bak")
