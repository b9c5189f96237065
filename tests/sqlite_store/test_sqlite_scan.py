"""Scanning piece by piece."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from twitchvault.errors import StoreError
from twitchvault.stores.base import Unreadable
from twitchvault.stores.sqlite import SQLiteStore, table

from .tools import writer

if TYPE_CHECKING:
    from pathlib import Path


async def test_scan_in_pieces(store: SQLiteStore) -> None:
    """Every entry comes exactly once, as they first came, also while others are written."""
    keys = [f"k{n:05}" for n in range(6_000)]
    await asyncio.gather(*(store.put(key, b"1") for key in keys))
    found: list[str] = []
    async for entry in store.scan("k"):
        if len(found) % 500 == 0:
            await store.put("k-between", b"1")
            await store.put("other", b"1")
        found.append(entry.key)
    assert [key for key in found if key != "k-between"] == keys


async def test_a_piece_is_bounded_in_bytes(store: SQLiteStore) -> None:
    """Large values come in smaller pieces, so that memory stays small."""
    await asyncio.gather(*(store.put(f"k{n:03}", bytes(200_000)) for n in range(120)))
    first, after = table.chunk(writer(store), b"", 0)
    assert len(first) == 50
    assert after == 50
    assert len([entry async for entry in store.scan()]) == 120


async def test_an_abandoned_scan_holds_nothing(store: SQLiteStore) -> None:
    """Neither a snapshot that keeps the log growing nor the worker."""
    await asyncio.gather(*(store.put(f"k{n:03}", bytes(200_000)) for n in range(60)))
    scan = store.scan()
    assert (await anext(scan)).key == "k000"
    await store.put("a", b"1")
    busy, log, moved = writer(store).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert (busy, log, moved) == (0, 0, 0)


async def test_scan_of_a_store_closed_meanwhile(store: SQLiteStore) -> None:
    """The next piece is an error, not an end."""
    await asyncio.gather(*(store.put(f"k{n:05}", b"1") for n in range(9_000)))
    scan = store.scan()
    await anext(scan)
    await store.close()
    with pytest.raises(StoreError, match="is closed"):
        _ = [entry async for entry in scan]


async def test_a_damaged_key_hides_no_other(path: Path, store: SQLiteStore) -> None:
    """It comes with what is wrong in the place of its value."""
    await store.put("a", b"1")
    await store.put("z", b"1")
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("INSERT INTO entries VALUES (9, ?, 3, ?)", (b"k\xff", b"x"))
    entries = [entry async for entry in store.scan()]
    assert [entry.key for entry in entries] == ["a", "z", "k\\xff"]
    value = entries[2].value
    assert isinstance(value, Unreadable)
    assert str(value.error) == (
        "the key 'k\\\\xff' is not UTF-8: it is damaged, restore the file from a backup"
    )
