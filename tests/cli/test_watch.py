"""`twitchvault watch`: users and events of all processes, as they happen."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.own_stores import OwnStore
from twitchvault import AuthFailure, MemoryStore, open_store
from twitchvault.cli.commands import watch
from twitchvault.vault.record import encode

from .records import fill, login, refreshed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.redis_store.servers import Server

    from .command import Shell


async def test_what_the_store_has_lost(shell: Shell, own_server: Callable[[], Server]) -> None:
    """A server that comes back without its data: who is gone is said to be, and who comes after."""
    server = await own_server().ready()
    records = {"client:1001": login("alice"), "client:1002": login("bob")}
    await fill(open_store(server.url), records)
    command = await shell.start("watch", TWITCHVAULT_STORE=server.url)
    assert {(await command.fields())[2] for _ in range(2)} == {"alice", "bob"}
    async with server.client() as client:
        await client.flushall()
    gone = [await command.fields() for _ in range(2)]
    assert {fields[2] for fields in gone} == {"alice", "bob"}
    for fields in gone:
        assert (fields[1], fields[5]) == ("removed", "the store has lost it")
    await fill(open_store(server.url), {"client:1001": login("alice")})
    assert (await command.fields())[1:3] == ["added", "alice"]
    await shell.interrupt(command)


@pytest.mark.parametrize("backend", ["sqlite", "redis"])
async def test_a_pipe_gets_a_line_for_each_event(
    shell: Shell, own_server: Callable[[], Server], backend: str
) -> None:
    """First everybody as they are, then what another process does, and in the end Ctrl-C."""
    store = shell.store if backend == "sqlite" else (await own_server().ready()).url
    async with shell.app(store) as other:
        pair = shell.twitch.issue(shell.client, "alice", ["chat:read"])
        alice = await other.add_user(pair.access_token, pair.refresh_token)
        command = await shell.start("watch", TWITCHVAULT_STORE=store)
        assert await command.fields() == ["-", "live", "alice", "1001", "client", "-"]
        await alice.refresh()
        time, *fields = await command.fields()
        assert fields == ["refreshed", "alice", "1001", "client", "-"]
        assert time.endswith("Z")
        shell.twitch.disconnect(shell.client, "alice")
        with suppress(AuthFailure):
            await alice.refresh()
        fields = await command.fields()
        assert fields[1:3] == ["needs_login", "alice"]
        assert "Twitch refused" in fields[5]
        other.remove_token("1001")
        assert (await command.fields())[1:3] == ["removed", "alice"]
    await shell.interrupt(command)


async def test_json_is_an_object_on_each_line(shell: Shell) -> None:
    """The users as they are, and then each event with the user as it is after that."""
    await shell.fill({"client:1001": login("alice")})
    command = await shell.start("watch", "--json")
    first = json.loads(await command.readline())
    assert (first["at"], first["kind"], first["reason"]) == (None, None, None)
    listed = (await shell.run("list", "--json")).json
    assert [first["user"]] == listed["users"]
    await shell.fill({"client:1001": refreshed(login("alice"))})
    event = json.loads(await command.readline())
    assert (event["kind"], event["user"]["state"]) == ("refreshed", "live")
    async with shell.app() as other:
        other.remove_token("1001")
    event = json.loads(await command.readline())
    assert (event["kind"], event["user"]["state"]) == ("removed", "removed")
    await shell.interrupt(command)


@pytest.mark.skipif(sys.platform == "win32", reason="the event loop there cannot wait for a pipe")
async def test_it_ends_when_its_reader_has_gone(shell: Shell) -> None:
    """At once, with 141, and not at the next event."""
    await shell.fill({})
    command = await shell.start("watch")
    command.stop_reading()
    await shell.end(command, code=141)


async def test_a_terminal_gets_a_table(shell: Shell) -> None:
    """It is drawn anew when something happens, and Ctrl-C ends it with 130."""
    await shell.fill({"client:1001": login("alice")})
    async with shell.terminal("watch") as terminal:
        await terminal.see("STATE")
        await terminal.see("alice")
        await shell.fill({"client:1002": login("bob")})
        await terminal.see("added")
        await terminal.see("bob")
        assert await terminal.interrupted() == 130


async def test_a_store_without_a_feed_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes, is refreshed, is damaged and goes is seen, by comparing."""
    monkeypatch.setattr(watch, "SCAN_EVERY", 0.0)
    store = OwnStore(MemoryStore())
    await store.open()
    await store.put("client:1001", encode(login("alice")))
    picture = watch.Picture()
    async with watch.following(store, "client:", picture) as wait:
        assert await wait() == []
        await store.put("client:1001", encode(refreshed(login("alice"))))
        await store.put("client:1002", b"garbage")
        assert [(event.kind, event.user.name) for event in await wait()] == [
            ("refreshed", "alice"),
            ("damaged", "1002"),
        ]
        await store.delete("client:1001")
        assert [event.kind for event in await wait()] == ["removed"]
        assert [user.name for user in picture.users.values()] == ["1002"]
