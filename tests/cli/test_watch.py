"""`twitchvault watch`: users and events of all processes, as they happen."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.own_stores import OwnStore
from tests.redis_store.conftest import own_server  # noqa: F401 - a fixture
from twitchvault import App, AuthFailure, MemoryStore, open_store
from twitchvault.cli.commands import watch
from twitchvault.vault.record import encode

from .records import fill, login, refreshed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.redis_store.servers import Server

    from .command import Command, Shell


async def next_line(command: Command) -> list[str]:
    """The fields of the next line that it prints."""
    return (await line_of(command)).rstrip("\n").split("\t")


async def line_of(command: Command) -> str:
    """The next line that it prints."""
    async with asyncio.timeout(30):
        return await command.readline()


def app(shell: Shell, store: str) -> App:
    """A program that shares the store."""
    return App(
        shell.client.client_id,
        store=store,
        maintain=False,
        id_url=shell.twitch.id_url,
        api_url=shell.twitch.api_url,
    )


async def test_what_the_store_has_lost(
    shell: Shell,
    own_server: Callable[[], Server],  # noqa: F811
) -> None:
    """A server that comes back without its data: who is gone is said to be, and who comes after."""
    server, client_id = await own_server().ready(), shell.client.client_id
    alice, bob = f"{client_id}:1001", f"{client_id}:1002"
    await fill(open_store(server.url), {alice: login("alice"), bob: login("bob")})
    command = await shell.start("watch", TWITCHVAULT_STORE=server.url)
    assert {(await next_line(command))[2] for _ in range(2)} == {"alice", "bob"}
    async with server.client() as client:
        await client.flushall()
    gone = [await next_line(command) for _ in range(2)]
    assert {fields[2] for fields in gone} == {"alice", "bob"}
    for fields in gone:
        assert (fields[1], fields[5]) == ("removed", "the store has lost it")
    await fill(open_store(server.url), {alice: login("alice")})
    assert (await next_line(command))[1:3] == ["added", "alice"]
    command.interrupt()
    assert (await shell.end(command)).code == 130


@pytest.mark.parametrize("backend", ["sqlite", "redis"])
async def test_a_pipe_gets_a_line_for_each_event(
    shell: Shell,
    own_server: Callable[[], Server],  # noqa: F811
    backend: str,
) -> None:
    """First everybody as they are, then what another process does, and in the end Ctrl-C."""
    store = shell.store if backend == "sqlite" else (await own_server().ready()).url
    client_id = shell.client.client_id
    async with app(shell, store) as other:
        pair = shell.twitch.issue(shell.client, "alice", ["chat:read"])
        alice = await other.add_user(pair.access_token, pair.refresh_token)
        command = await shell.start("watch", TWITCHVAULT_STORE=store)
        assert await next_line(command) == ["-", "live", "alice", "1001", client_id, "-"]
        await alice.refresh()
        time, *fields = await next_line(command)
        assert fields == ["refreshed", "alice", "1001", client_id, "-"]
        assert time.endswith("Z")
        shell.twitch.disconnect(shell.client, "alice")
        with suppress(AuthFailure):
            await alice.refresh()
        fields = await next_line(command)
        assert fields[1:3] == ["needs_login", "alice"]
        assert "Twitch refused" in fields[5]
        other.remove_token("1001")
        assert (await next_line(command))[1:3] == ["removed", "alice"]
    command.interrupt()
    assert (await shell.end(command)).code == 130


async def test_json_is_an_object_on_each_line(shell: Shell) -> None:
    """The users as they are, and then each event with the user as it is after that."""
    key = f"{shell.client.client_id}:1001"
    await fill(open_store(shell.store), {key: login("alice")})
    command = await shell.start("watch", "--json")
    first = json.loads(await line_of(command))
    assert (first["at"], first["kind"], first["reason"]) == (None, None, None)
    listed = json.loads((await shell.run("list", "--json")).out)
    assert [first["user"]] == listed["users"]
    await fill(open_store(shell.store), {key: refreshed(login("alice"))})
    event = json.loads(await line_of(command))
    assert (event["kind"], event["user"]["state"]) == ("refreshed", "live")
    async with app(shell, shell.store) as other:
        other.remove_token("1001")
    event = json.loads(await line_of(command))
    assert (event["kind"], event["user"]["state"]) == ("removed", "removed")
    command.interrupt()
    assert (await shell.end(command)).code == 130


@pytest.mark.skipif(sys.platform == "win32", reason="the event loop there cannot wait for a pipe")
async def test_it_ends_when_its_reader_has_gone(shell: Shell) -> None:
    """At once, with 141, and not at the next event."""
    await shell.leave_empty()
    command = await shell.start("watch")
    command.stop_reading()
    assert (await shell.end(command)).code == 141


async def test_a_terminal_gets_a_table(shell: Shell) -> None:
    """It is drawn anew when something happens, and Ctrl-C ends it with 130."""
    await fill(open_store(shell.store), {f"{shell.client.client_id}:1001": login("alice")})
    async with shell.terminal("watch") as terminal:
        await terminal.see("STATE")
        await terminal.see("alice")
        await fill(open_store(shell.store), {f"{shell.client.client_id}:1002": login("bob")})
        await terminal.see("added")
        await terminal.see("bob")
        terminal.type("\x03")
        assert await terminal.end() == 130


async def test_a_store_without_a_feed_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
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
