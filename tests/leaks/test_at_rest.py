"""With encryption nothing that is stored, logged or sent to a server holds a token in plaintext.

The same life without encryption shows that a token would be found in each of those contents.
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest

from tests.fernet.makers import names_in
from tests.redis_store.conftest import own_server  # noqa: F401
from twitchvault import FernetStore, RedisStore, SQLiteStore

from .witness import in_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from tests.environment import Environment
    from tests.redis_store.servers import Server
    from twitchvault import TokenStore

INSIDE: Final = b"inside of an encryption key, 32 "
KEY: Final = base64.urlsafe_b64encode(INSIDE).decode()
LAST: Final = b"this is all"
encrypted = pytest.mark.parametrize("encrypted", [True, False], ids=["fernet", "plain"])


async def a_life(env: Environment, store: TokenStore) -> set[str]:
    """Users come, are refreshed, and go; what was ever stored of them."""
    client, stored = env.public, {"odd\\access/token+ö", "odd\\refresh/token+ö"}
    async with env.device(client, store=store) as flow:
        flow.add_token("7", *sorted(stored))
        for number in range(3):
            pair = env.pair(client, env.twitch.add_user(f"user{number}"), expired=bool(number))
            stored.add(pair.refresh_token)
            user = await flow.add_user(pair.access_token, pair.refresh_token)
            stored |= set(flow.tokens[user.user_id]) - {None}  # type: ignore[arg-type]
            token = await user.refresh()
            stored |= {token.access_token, str(token.refresh_token)}
        flow.remove_token(user.user_id)
        await flow.flush()
    return stored


def wrapped(store: TokenStore, encrypted: bool) -> TokenStore:
    """The store, or one that encrypts over it."""
    return FernetStore(store, KEY) if encrypted else store


def expect_secrets(contents: dict[str, bytes], stored: Iterable[str], *, encrypted: bool) -> None:
    """No place holds a secret, nor the key; without encryption each one holds some."""
    for place, content in contents.items():
        assert content, place
        found = in_bytes(content, [*stored, KEY, INSIDE.decode()])
        assert not found if encrypted else found, (place, found)


@encrypted
async def test_sqlite(env: Environment, tmp_path: Path, encrypted: bool) -> None:
    """The file and the log beside it while they are open, and the file after it was closed."""
    path = tmp_path / "tokens.db"
    store = wrapped(SQLiteStore(path), encrypted)
    stored = await a_life(env, store)
    assert names_in(tmp_path) == ["tokens.db", "tokens.db-shm", "tokens.db-wal"]
    contents = {"log": path.with_name("tokens.db-wal").read_bytes()}
    index = path.with_name("tokens.db-shm").read_bytes()  # of page numbers, never of content
    assert in_bytes(path.read_bytes() + index, [*stored, KEY]) == []
    await store.close()
    contents["file"] = path.read_bytes()
    expect_secrets(contents, stored, encrypted=encrypted)


@encrypted
async def test_redis(
    env: Environment,
    own_server: Callable[..., Server],  # noqa: F811 - the fixture
    encrypted: bool,
) -> None:
    """The dump, the append-only file, and all that the server was sent."""
    server = await own_server("--appendonly", "yes", "--rdbcompression", "no").ready()
    async with monitored(server) as commands:
        store = wrapped(RedisStore(server.url), encrypted)
        stored = await a_life(env, store)
        await store.close()
        async with server.client() as client:
            await client.save()
            await client.echo(LAST)
    contents = {
        "dump": (server.folder / "dump.rdb").read_bytes(),
        "append-only file": b"".join(
            file.read_bytes() for file in server.folder.glob("appendonly*/*.aof")
        ),
        "commands": b"".join(commands),
    }
    expect_secrets(contents, stored, encrypted=encrypted)


@asynccontextmanager
async def monitored(server: Server) -> AsyncIterator[list[bytes]]:
    """Every command that the server carries out meanwhile."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    commands: list[bytes] = []

    async def listen() -> None:
        async with asyncio.timeout(10):
            while LAST not in (line := await reader.readline()):
                commands.append(line)

    try:
        writer.write(b"MONITOR\r\n")
        listening = asyncio.create_task(listen())
        yield commands
        await listening
    finally:
        writer.close()
        await writer.wait_closed()
