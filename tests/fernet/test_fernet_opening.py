"""Opening: the right key, the wrong key, plaintext, several processes at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from twitchvault.errors import DecryptionError, StoreError
from twitchvault.stores import FernetStore, MemoryStore, SQLiteStore
from twitchvault.stores.base import Watchable

from .makers import (
    CHECK,
    KEY,
    NEW,
    WRONG,
    all_bytes,
    content,
    over_custom,
    over_sqlite,
    swap,
    values,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from twitchvault.stores import Entry

WRONG_KEY = (
    "none of the keys opens this store, and nothing was written: give the key that it was "
    "encrypted with, alone or behind a new one, as in FernetStore(inner, [new, old])"
)


async def test_wrong_key_writes_nothing(tmp_path: Path) -> None:
    """A wrong key fails at open; the file keeps every byte, and the right key opens it."""
    path = tmp_path / "tokens.db"
    store = over_sqlite(path)
    await store.open()
    await store.put("cid:1", b"value")
    await store.close()
    before = all_bytes(tmp_path)
    for keys in (WRONG, [WRONG, NEW], lambda: WRONG):
        wrong = FernetStore(SQLiteStore(path), keys)
        for attempt in (wrong.open, wrong.encrypt_existing):
            with pytest.raises(DecryptionError) as caught:
                await attempt()
            assert str(caught.value) == WRONG_KEY
        await wrong.close()
        assert all_bytes(tmp_path) == before
    await store.open()
    assert await values(store) == {"cid:1": b"value"}
    await store.close()


async def test_wrong_key_of_an_empty_store(inner: MemoryStore, store: FernetStore) -> None:
    """A store that was opened once has its key, also while it holds no users."""
    assert await content(store) == {}
    with pytest.raises(DecryptionError, match="none of the keys"):
        await FernetStore(inner, WRONG).open()


async def test_wrong_key_leaves_others_alone(inner: MemoryStore, store: FernetStore) -> None:
    """A failed open does not close an inner store that somebody else uses."""
    with pytest.raises(DecryptionError):
        await FernetStore(inner, WRONG).open()
    assert await store.put("key", b"value")


async def test_plaintext_store_is_refused(inner: MemoryStore) -> None:
    """A store in plaintext is not opened, and nothing is written."""
    await inner.put("cid:1", b'{"schema":1}')
    before = await content(inner)
    with pytest.raises(DecryptionError) as caught:
        await FernetStore(inner, KEY).open()
    assert str(caught.value) == (
        "this store holds entries in plaintext, such as 'cid:1', and nothing was written: "
        "'await store.encrypt_existing()' encrypts them, or name another store"
    )
    assert await content(inner) == before


async def test_check_entry_is_gone(inner: MemoryStore, store: FernetStore) -> None:
    """Without its check entry an encrypted store is not opened, and can be mended."""
    await store.put("cid:1", b"value")
    await inner.delete(CHECK)
    before = await content(inner)
    again = FernetStore(inner, KEY)
    with pytest.raises(DecryptionError) as caught:
        await again.open()
    assert str(caught.value) == (
        "this store holds encrypted entries, such as 'cid:1', but its check entry "
        "'twitchvault/fernet' is gone: 'await store.encrypt_existing()' makes it anew if the keys "
        "open all of them"
    )
    assert await content(inner) == before
    await again.encrypt_existing()
    assert await values(again) == {"cid:1": b"value"}
    await FernetStore(inner, KEY).open()


@pytest.mark.parametrize("value", [b"", b"ready", b"gAAAAAdamaged"])
async def test_check_entry_is_damaged(inner: MemoryStore, store: FernetStore, value: bytes) -> None:
    """A damaged check entry is not taken for an absent one."""
    await store.put("cid:1", b"value")
    await swap(inner, CHECK, value)
    before = await content(inner)
    for attempt in (FernetStore(inner, KEY).open, FernetStore(inner, KEY).encrypt_existing):
        with pytest.raises(DecryptionError, match="none of the keys opens this store"):
            await attempt()
    assert await content(inner) == before


async def test_entry_in_place_of_the_check(inner: MemoryStore, store: FernetStore) -> None:
    """A user's entry moved to the reserved key does not open the store."""
    await store.put("cid:1", b"ready")
    entry = await inner.get("cid:1")
    assert entry
    await swap(inner, CHECK, entry.value)
    with pytest.raises(DecryptionError, match="none of the keys opens this store"):
        await FernetStore(inner, KEY).open()


async def test_many_open_an_empty_store(tmp_path: Path) -> None:
    """Stores that open an empty file at the same time agree on one check entry."""
    stores = [over_custom(tmp_path / "tokens.db") for _ in range(12)]
    await asyncio.gather(*(store.open() for store in stores))
    await asyncio.gather(*(s.put(f"cid:{n}", b"value") for n, s in enumerate(stores)))
    for store in stores:
        assert await values(store) == {f"cid:{n}": b"value" for n in range(12)}


class Slow(MemoryStore):
    """Its first scan tells, and waits until others have written."""

    def __init__(self) -> None:
        super().__init__()
        self.scanning, self.go_on = asyncio.Event(), asyncio.Event()

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """The entries; the first time as they stand once `go_on` is set."""
        if not self.scanning.is_set():
            self.scanning.set()
            await self.go_on.wait()
        async for entry in super().scan(prefix):
            yield entry


@pytest.mark.parametrize("key", [KEY, WRONG])
async def test_overtaken_while_it_looks(key: str) -> None:
    """A store that another fills between two looks of an opening is not taken for plaintext."""
    inner = Slow()
    late, fast = FernetStore(inner, KEY), FernetStore(inner, key)
    opening = asyncio.create_task(late.open())
    await inner.scanning.wait()
    await fast.open()
    await fast.put("cid:1", b"value")
    inner.go_on.set()
    if key == KEY:
        await opening
        assert await values(late) == {"cid:1": b"value"}
    else:
        with pytest.raises(DecryptionError, match="none of the keys"):
            await opening


OPENER = """
import asyncio, sys
from twitchvault.stores import FernetStore, SQLiteStore

async def main(path, key, name):
    store = FernetStore(SQLiteStore(path), key)
    print("ready", flush=True)
    sys.stdin.readline()
    await store.open()
    await store.put(name, name.encode())
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


def race(path: Path, keys: list[str]) -> list[int]:
    """Let processes open a file that is not there yet at the same moment; their exit codes."""
    crew = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, str(path), key, f"cid:{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for number, key in enumerate(keys)
    ]
    for process in crew:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in crew:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    return [process.communicate(timeout=30)[0] == "" and process.returncode for process in crew]


async def test_processes_open_an_empty_store(tmp_path: Path) -> None:
    """Four processes that make the same store at once all write what all can read."""
    assert await asyncio.to_thread(race, tmp_path / "tokens.db", [KEY] * 4) == [0] * 4
    store = over_sqlite(tmp_path / "tokens.db")
    await store.open()
    assert await values(store) == {f"cid:{n}": b"cid:%d" % n for n in range(4)}
    await store.close()


async def test_processes_with_different_keys(tmp_path: Path) -> None:
    """Of processes with two keys those with one of them win, the others write nothing."""
    keys = [KEY, WRONG, KEY, WRONG]
    codes = await asyncio.to_thread(race, tmp_path / "tokens.db", keys)
    winner = keys[codes.index(0)]
    assert [code == 0 for code in codes] == [key == winner for key in keys]
    store = FernetStore(SQLiteStore(tmp_path / "tokens.db"), winner)
    await store.open()
    assert set(await values(store)) == {f"cid:{n}" for n, key in enumerate(keys) if key == winner}
    await store.close()


async def test_not_open_and_closed(inner: MemoryStore) -> None:
    """Before open and after close every call says so."""
    store = FernetStore(inner, KEY)
    with pytest.raises(StoreError) as caught:
        await store.get("key")
    assert str(caught.value) == (
        "this FernetStore is not open yet: call 'await store.open()' first"
    )
    await store.open()
    await store.close()
    for call in (store.get("k"), store.put("k", b""), store.delete("k"), store.rotate()):
        with pytest.raises(StoreError) as caught:
            await call
        assert str(caught.value) == "this FernetStore is closed: call 'await store.open()' first"


async def test_open_and_close_go_to_the_inner_store(inner: MemoryStore) -> None:
    """What is opened is the inner store, and what is closed."""
    await inner.close()
    store = FernetStore(inner, KEY)
    await store.open()
    await store.open()
    assert await inner.get(CHECK)
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await inner.get(CHECK)


async def test_url(tmp_path: Path) -> None:
    """An inner store may be named by a URL; when opening fails it is closed again."""
    url = f"sqlite:///{tmp_path / 'tokens.db'}"
    store = FernetStore(url, KEY)
    assert isinstance(store, Watchable)
    await store.open()
    await store.put("key", b"value")
    await store.close()
    wrong = FernetStore(url, WRONG)
    with pytest.raises(DecryptionError):
        await wrong.open()
    with pytest.raises(StoreError, match="is closed"):
        await wrong._inner.get("key")


async def test_closed_while_being_opened() -> None:
    """A close that comes while the store is being opened is not forgotten."""
    inner = Slow()
    store = FernetStore(inner, KEY)
    opening = asyncio.create_task(store.open())
    await inner.scanning.wait()
    await store.close()
    inner.go_on.set()
    with pytest.raises(StoreError, match="closed"):
        await opening
    with pytest.raises(StoreError, match="is closed"):
        await store.get("key")


async def test_cancelled_open_can_be_repeated(tmp_path: Path) -> None:
    """Opening can be cancelled at any point, and tried again."""
    for point in range(30):
        store = FernetStore(f"sqlite:///{tmp_path / f'{point}.db'}", KEY)
        opening = asyncio.create_task(store.open())
        for _ in range(point):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait({opening})
        await store.open()
        assert await store.put("key", b"value")
        await store.close()


@asynccontextmanager
async def opened(store: FernetStore) -> AsyncIterator[FernetStore]:
    """Open for the length of the block."""
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def test_over_any_loop(inner: MemoryStore) -> None:
    """A store that was closed can be opened again and finds what it had."""
    store = FernetStore(inner, KEY)
    for number in range(3):
        async with opened(store):
            await store.put(f"k{number}", b"value")
    async with opened(store):
        assert set(await values(store)) == {"k0", "k1", "k2"}
