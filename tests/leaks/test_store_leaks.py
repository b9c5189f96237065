"""No token, key or password shows, whatever store there is and however it fails.

As in `test_leaks`: each test ends with the fixture `witness`, which must not have seen a secret.
Nor does a secret stand in what is stored or sent to a server if it is encrypted; the same life
without encryption shows that it would be found in each of those contents.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import sqlite3
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.fernet.makers import CHECK, names_in
from tests.own_stores import OwnStore
from tests.redis_store.conftest import own_server  # noqa: F401
from twitchvault import (
    CorruptRecord,
    FernetStore,
    MemoryStore,
    RedisStore,
    SQLiteStore,
    StoreError,
    StoreUnavailable,
    TwitchVaultError,
)

from .test_leaks import failing, see_app
from .witness import in_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from tests.environment import Environment
    from tests.redis_store.servers import Server
    from twitchvault import Entry, TokenStore

    from .witness import Witness

NUMBERS: Final = itertools.count()


class Backend:
    """One kind of store, and how it is made to fail and to heal."""

    def __init__(self, kind: str, path: Path) -> None:
        self.kind = kind
        self.path = path

    def store(self) -> TokenStore:
        """A store on it."""
        return SQLiteStore(self.path) if self.kind == "sqlite" else MemoryStore()

    async def lose(self, store: TokenStore) -> None:
        """The store cannot be used any more while it is open."""
        if self.kind == "sqlite":
            self.path.rename(self.path.with_suffix(".away"))
        else:
            await store.close()

    async def heal(self, store: TokenStore) -> None:
        """It can be used again."""
        if self.kind == "sqlite":
            self.path.with_suffix(".away").rename(self.path)
        else:
            await store.open()


@pytest.fixture(params=["memory", "sqlite"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """One of each kind; what a Redis store says is tested with its errors."""
    return Backend(request.param, tmp_path / "tokens.db")


@pytest.fixture
def key(witness: Witness) -> str:
    """A Fernet key, whose inside shows too if it is shown."""
    inside = witness.secret("the signing half the secret half")
    return witness.secret(base64.urlsafe_b64encode(inside.encode()).decode())


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "fernet"])
async def test_any_store(
    witness: Witness, env: Environment, backend: Backend, key: str, encrypted: bool
) -> None:
    """A life on each store: rows damaged, newer, in plaintext; then the store is gone."""
    inner = backend.store()
    store = FernetStore(inner, key) if encrypted else inner
    pair = env.pair(env.public)
    async with env.device(env.public, store=store, lease_ttl=1) as flow:
        stream = flow.events()
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        await user.refresh()
        for number, row in enumerate(rows(env)):
            await store.put(f"{env.public.client_id}:damaged{number}", row)
            await inner.put(f"{env.public.client_id}:bad{number}", row)
        await flow.sync()
        assert len(flow.damaged) == 6
        with pytest.raises(CorruptRecord) as caught:
            flow.get_token("damaged0")
        witness.catch(caught.value)
        see_app(witness, flow)
        witness.see(store, inner, await store.get(env.key(env.alice, env.public)), stream)
        witness.see(*[entry async for entry in store.scan()], await anext(stream))
        await backend.lose(inner)
        flow.add_token("9", *fresh(witness))
        await failing(witness, flow.flush(), user.refresh(), store.put("key", b"value"))
        await failing(witness, flow.close())
        await backend.heal(inner)
        await flow.authorize()
        await flow.flush()
    await store.close()


def rows(env: Environment) -> list[bytes]:
    """What may stand in a row instead of a record."""
    pair = env.pair(env.public, env.bob)
    inside = f'"access_token":"{pair.access_token}","refresh_token":"{pair.refresh_token}'
    texts = '{"schema":1,%s', '{"schema":1,%s","scopes":7}', '{"schema":99,%s"}'
    return [(text % inside).encode() for text in texts]


def fresh(witness: Witness) -> tuple[str, str]:
    """A pair that is only in memory."""
    number = next(NUMBERS)
    return witness.secret(f"{number}-th-access-token"), witness.secret(f"{number}-th-refresh-token")


async def test_wrong_keys(witness: Witness, env: Environment, key: str, tmp_path: Path) -> None:
    """Keys that are none, keys that open nothing, callables that fail, entries that were moved."""
    url = f"sqlite:///{tmp_path / 'tokens.db'}"
    async with env.device(env.public, store=url) as flow:
        flow.add_token("1", *fresh(witness))
    other = base64.urlsafe_b64encode(witness.secret("another signing half and another").encode())
    none = witness.secret("k3y of no form")
    bad: list[Any] = [key[:-1], key + key, [key, key[1:]], [key, 1], none, other]
    bad += [quoting, wrong_type, lambda: key[1:], lambda: [key, 1]]
    inner = SQLiteStore(tmp_path / "tokens.db")
    for keys in bad:
        with pytest.raises((TwitchVaultError, ValueError, TypeError)) as caught:
            await FernetStore(inner, keys).open()
        witness.catch(caught.value)
    store = FernetStore(inner, lambda: [key])
    await failing(witness, store.open())
    witness.see(await store.encrypt_existing(), store)
    await failing(witness, FernetStore(inner, other).open())
    for name in ("a", "b"):
        entry = await inner.get(f"{env.public.client_id}:1")
        assert entry is not None
        await inner.put(name, entry.value if name == "a" else entry.value[:-9])
    await failing(witness, store.get("a"), store.get("b"))
    witness.see(await store.rotate(), [entry async for entry in store.scan()])
    await inner.delete(CHECK)
    await failing(witness, store.rotate())
    await store.close()
    await failing(witness, store.rotate(), env.device(env.public, store=store).authorize())
    await store.close()


def quoting() -> str:
    """A key service whose error quotes what it has."""
    msg = "the key is the signing half the secret half"
    raise RuntimeError(msg)


def wrong_type() -> list[object]:
    """A key service that answers with something else."""
    return [{"key": "the signing half the secret half"}]


async def test_bad_files(witness: Witness, env: Environment, tmp_path: Path) -> None:
    """A file that is damaged, newer, another program's, or a text with tokens."""
    path = tmp_path / "tokens.db"
    async with env.device(env.public, store=f"sqlite:///{path}") as flow:
        flow.add_token("1", *fresh(witness))
    for change in ("PRAGMA user_version = 99", "PRAGMA application_id = 7"):
        with closing(sqlite3.connect(path)) as db:
            db.execute(change)
        await failing(witness, SQLiteStore(path).open())
    intact = path.read_bytes()
    for content in (b"0-th access token" * 1000, intact[:8192] + b"\xff" * 8192):
        path.write_bytes(content)
        with suppress(StoreError):
            async with env.device(env.public, store=f"sqlite:///{path}") as flow:
                see_app(witness, flow)


class QuotingStore(OwnStore):
    """Reads fail as writes do."""

    async def get(self, key: str) -> Entry | None:
        """The entry of `key`, or None."""
        if self.broken is not None:
            raise self.broken
        return await super().get(key)

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """All entries."""
        if self.broken is not None:
            raise self.broken
        async for entry in super().scan(prefix):
            yield entry


async def test_a_driver_that_quotes(witness: Witness, env: Environment) -> None:
    """A store of somebody's own whose errors and their causes quote what it was given."""
    store = QuotingStore()
    async with env.device(env.public, store=store, lease_ttl=1) as flow:
        access, refresh = fresh(witness)
        user = flow.add_token("1", access, refresh)
        await flow.flush()
        quoted = f"cannot write {access} {refresh}"
        away = StoreUnavailable("the database is away")
        away.__cause__ = ValueError(quoted)
        undecodable = UnicodeDecodeError("utf-8", access.encode(), 0, 1, quoted)
        for broken in (ValueError(quoted), away, undecodable):
            store.broken = broken
            flow.add_token("2", access, refresh)
            await failing(witness, flow.flush(), flow.sync(), user.refresh())
            see_app(witness, flow)
            await failing(witness, flow.close(), flow.authorize())
            store.broken = None
            await flow.authorize()
            await flow.flush()


async def test_a_key_service(witness: Witness, env: Environment, key: str) -> None:
    """Keys that come by a thread show in no callback that asyncio logs."""
    async with env.device(store=FernetStore(MemoryStore(), lambda: [key])) as flow:
        witness.tasks()
        see_app(witness, flow)


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
