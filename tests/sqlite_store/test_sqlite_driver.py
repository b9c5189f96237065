"""What is used of aiosqlite: its inner parts, its log, and what if it is not there."""

from __future__ import annotations

import asyncio
import gc
import logging
import sqlite3
from typing import TYPE_CHECKING

import aiosqlite
import pytest

from twitchvault.errors import MissingDriver, StoreError
from twitchvault.stores.sqlite import SQLiteStore
from twitchvault.stores.sqlite.trouble import explain
from twitchvault.stores.sqlite.writing import Writing

from .tools import held, run_script, writer

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-4f9c2e"


async def test_no_value_in_any_log_or_error(
    path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """At DEBUG level, in asyncio's debug mode, through successes and failures of every kind."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    asyncio.get_running_loop().slow_callback_duration = 0
    value = CANARY.encode()
    store = SQLiteStore(path, busy_timeout=0.1)
    shown: list[str] = [repr(store)]
    await store.open()
    written = store.put("k0", value)
    shown.append(repr(written))
    await written
    shown.append(repr(written))
    async with store.watch() as feed:
        await asyncio.gather(*(store.put(f"k{n}", value) for n in range(20)))
        shown += [repr(await store.get("k1")), repr(feed), repr(feed.drain())]
        shown += [repr(entry) async for entry in store.scan()]
        writer(store).setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2_000)
        failures = await asyncio.gather(
            store.put("k1", value, expect=1_000),
            store.put("k1", value * 1_000),
            store.delete("k1", expect=1_000),
            return_exceptions=True,
        )
        with held(store):
            task = asyncio.create_task(store.put("k2", value))
            await asyncio.sleep(0)
            shown.append(repr(task))
        await task
    await store.close()
    with pytest.raises(StoreError) as closed:
        await store.put("k1", value)
    for failure in (*failures, closed.value):
        assert isinstance(failure, StoreError)
        shown += [repr(failure), str(failure), repr(failure.__cause__)]
    shown += [caplog.text, *capsys.readouterr()]
    assert "executing" in caplog.text, "the driver did not log: the test shows nothing"
    assert CANARY not in "\n".join(shown)


async def test_an_idle_store_holds_no_value(store: SQLiteStore) -> None:
    """Once a put has returned, neither the store nor the driver's thread keeps what it wrote."""
    for number in range(3):
        await asyncio.gather(*(store.put(f"k{n}", b"%d" % number) for n in range(10)))
    await asyncio.sleep(0)
    gc.collect()
    assert [o for o in gc.get_objects() if type(o) is Writing] == []


@pytest.mark.parametrize("part", ["_execute", "close"])
async def test_a_driver_that_has_changed(
    path: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If an inner part that is needed is gone, `open` says which versions have it."""
    with monkeypatch.context() as patch:
        patch.delattr(aiosqlite.Connection, part)
        store = SQLiteStore(path)
        with pytest.raises(StoreError) as refused:
            await store.open()
    assert str(refused.value) == (
        f"SQLiteStore cannot work with aiosqlite {aiosqlite.__version__}: its inner parts have "
        "changed; pip install 'aiosqlite>=0.20,<0.23'"
    )
    await store.open()
    await store.close()


async def test_a_driver_without_its_end_sign(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for what ends its thread."""
    monkeypatch.delattr("aiosqlite.core._STOP_RUNNING_SENTINEL")
    with pytest.raises(StoreError, match="its inner parts have changed"):
        await SQLiteStore(path).open()


NO_DRIVER = """
import sys
sys.modules["aiosqlite"] = None
from twitchvault.errors import MissingDriver
from twitchvault.stores import SQLiteStore, open_store
for make in (SQLiteStore, lambda path: open_store(f"sqlite:///{path}")):
    try:
        make("tokens.db")
    except MissingDriver as error:
        print(error)
"""


def test_without_the_driver() -> None:
    """Making a store says what to install; importing its name does not need it."""
    line = "SQLiteStore needs the package 'aiosqlite': pip install 'twitchvault[sqlite]'"
    assert run_script(NO_DRIVER).splitlines() == [line, line]
    assert issubclass(MissingDriver, ImportError)


def test_errors_without_a_number() -> None:
    """Python's module raises some by itself; their texts may quote a column and are not shown."""
    error = sqlite3.OperationalError(f"Could not decode to UTF-8 column 'value' with '{CANARY}'")
    told = explain(error, "/tokens.db")
    assert str(told) == "'/tokens.db' cannot be used (OperationalError)"
