"""`twitchvault copy`: everybody from one store to another."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet

from tests.environment import until
from twitchvault import FernetStore, open_store
from twitchvault.vault.record import Record, encode
from twitchvault.vault.transitions import leased, removed

from .records import entries_of, fill, login, refreshed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.redis_store.servers import Driver, Server

    from .command import Outcome, Shell

MANY, KILLS = 2_000, 4
"""10,000 users and 10 kills give the same."""


@pytest.fixture
def target(shell: Shell) -> Shell:
    """Another folder, and a store there."""
    (shell.folder / "target").mkdir()
    return replace(shell, folder=shell.folder / "target")


async def copy(shell: Shell, target: Shell, *options: str, code: int = 0) -> Outcome:
    """Copy one store to the other."""
    return await shell.run("copy", *options, shell.store, target.store, code=code)


async def test_everybody_is_copied(shell: Shell, target: Shell) -> None:
    """Users, the application's token and tokens whose user is not known come as they are; the
    second run has nothing to do.
    """
    records = {
        "client:1001": refreshed(login("alice"), 3),
        "client:client": Record("app", seeded=False),
        "client/seed/abcdefabcdef": Record("parked", "parked", generation=2, seeded=False),
        "other:1001": login("other"),
    }
    await shell.fill(records)
    outcome = await copy(shell, target)
    assert outcome.out == "Copied and verified: 4 added.\n"
    assert f"Source: {shell.file}\nTarget: {target.file}\n" in outcome.err
    assert "Stop every program that uses the source" in outcome.err
    assert await target.entries() == {k: encode(r) for k, r in records.items()}
    outcome = await copy(shell, target)
    assert outcome.out == "Copied and verified: nothing new (4 unchanged).\n"


async def test_a_newer_generation_stays(shell: Shell, target: Shell) -> None:
    """Who was refreshed on the target already is left alone and named."""
    old = refreshed(login("alice"))
    newer = refreshed(old)
    await shell.fill({"client:1001": old, "client:1002": login("bob")})
    await target.fill({"client:1001": newer})
    outcome = await copy(shell, target)
    assert outcome.out == (
        "alice\t1001\tnewer\tclient\tgeneration 3 is there, and this one is 2\n"
        "Copied and verified: 1 added (1 newer).\n"
    )
    assert (await target.entries())["client:1001"] == encode(newer)


async def test_a_dry_run_makes_nothing(shell: Shell, target: Shell) -> None:
    """It says what would be done, and leaves no file behind."""
    await shell.fill({"client:1001": login("alice")})
    outcome = await copy(shell, target, "--dry-run")
    assert outcome.out == "Would be copied: 1 added.\n"
    assert outcome.err == f"Source: {shell.file}\nTarget: {target.file}, which is not there yet\n"
    assert not target.file.exists()


async def test_a_store_is_not_copied_to_itself(shell: Shell) -> None:
    """Whatever names are used for it: else its owner would delete the old one, which is the new
    one. The code is 2, and the store is as it was.
    """
    await shell.fill({"client:1001": login("alice")})
    before = await shell.entries()
    (shell.folder / "folder").mkdir()
    for name in (shell.file, shell.folder / "folder" / ".." / shell.file.name):
        outcome = await shell.run("copy", shell.store, f"sqlite:///{name}", code=2)
        assert outcome.err.endswith(
            "twitchvault: SOURCE and TARGET are the same store: name another one as TARGET\n"
        )
    assert await shell.entries() == before


async def test_a_removed_user_counts_as_removed(shell: Shell, target: Shell) -> None:
    """Nobody is said to be added for whom only the removal is copied, in whatever form."""
    gone = removed(refreshed(login("alice")))
    assert gone is not None
    await shell.fill({"client:1001": gone})
    outcome = await copy(shell, target)
    assert outcome.out == "Copied and verified: 1 removal.\n"
    outcome = await copy(shell, target, "--json")
    assert [one["outcome"] for one in outcome.json["users"]] == ["removed"]


async def test_a_refresh_under_way_is_waited_for_by_a_person(shell: Shell, target: Shell) -> None:
    """While a process has a lease nothing is copied: its users are named, and the code is 2. What
    a process that died has left is copied if one says so.
    """
    record = leased(login("alice"), "somebody", 60.0)
    await shell.fill({"client:1001": record, "client:1002": login("bob")})
    outcome = await copy(shell, target, code=2)
    assert "refreshing tokens in the source: alice (1001); stop it" in outcome.err
    assert await target.entries() == {}
    outcome = await copy(shell, target, "--stopped")
    assert (await target.entries())["client:1001"] == encode(record)


async def test_what_cannot_be_read_is_named(shell: Shell, target: Shell) -> None:
    """A damaged record stops nobody else, and the code is 2."""
    await shell.fill({"client:1002": login("bob")})
    await shell.damage("client:1001")
    outcome = await copy(shell, target, code=2)
    assert "left as they are: 1001" in outcome.err
    assert outcome.out.endswith("Copied and verified: 1 added (1 unreadable).\n")
    assert [*await target.entries()] == ["client:1002"]


@pytest.mark.parametrize("encrypted", [True, False])
async def test_the_keys_open_both(shell: Shell, target: Shell, encrypted: bool) -> None:
    """A new target is encrypted under the keys, be the source encrypted under them or plaintext."""
    key = Fernet.generate_key()
    (shell.folder / "keys").write_bytes(key)
    inner = open_store(shell.store)
    await fill(FernetStore(inner, key) if encrypted else inner, {"client:1001": login("alice")})
    await copy(shell, target, "--key-file", str(shell.folder / "keys"))
    assert all(b"alice" not in value for value in (await target.entries()).values())
    stored = await entries_of(FernetStore(target.store, key))
    assert stored == {"client:1001": encode(login("alice"))}


async def test_a_missing_source_is_not_made(shell: Shell, target: Shell) -> None:
    """A wrong name is an error, and neither file is there afterwards."""
    outcome = await copy(shell, target, code=2)
    assert f"there is no store in {str(shell.file)!r}" in outcome.err
    assert not shell.file.exists()
    assert not target.file.exists()


async def test_what_is_no_store_is_named(shell: Shell) -> None:
    """A URL that is wrong is called by the name of its argument, before anything is made."""
    await shell.fill({"client:1001": login("alice")})
    outcome = await shell.run("copy", shell.store, "target.db", code=2)
    assert "TARGET has no scheme: expected one of" in outcome.err
    outcome = await shell.run("copy", "nothing://x", shell.store, code=2)
    assert "names no store known here" in outcome.err


async def _has_more(client: Driver, than: int) -> bool:
    return bool(await client.hlen("{twitchvault}:entries") > than)


async def test_killed_anywhere_it_goes_on(
    shell: Shell, quick_path: Path, own_server: Callable[[], Server]
) -> None:
    """From SQLite to Redis, killed half-way again and again: in the end nobody is lost and nobody
    is there twice.
    """
    records = {f"client:{number}": refreshed(login(f"user{number}")) for number in range(MANY)}
    source = f"sqlite:///{quick_path / 'source.db'}"
    await fill(open_store(source), records)
    server, chance = await own_server().ready(), random.Random(16)
    async with server.client() as client:
        for _ in range(KILLS):
            enough = await client.hlen("{twitchvault}:entries") + chance.randrange(MANY // KILLS)
            command = await shell.start("copy", source, server.url)
            await until(partial(_has_more, client, min(enough, MANY - 1)))
            await command.kill()
    await shell.run("copy", source, server.url)
    stored = await entries_of(open_store(server.url))
    assert stored == {key: encode(record) for key, record in records.items()}
