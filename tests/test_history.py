"""The checker of histories finds what it is there to find, and nothing else."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from tests.history import NEVER, Op, check, record
from twitchvault import Entry, SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path


def put(start: float, end: float, version: int, value: bytes, expect: int | None = None) -> Op:
    """A put that was done."""
    return Op("put", "k", start, end, "done", version, value, expect)


def get(start: float, end: float, version: int = 0, value: bytes | None = None) -> Op:
    """A get."""
    return Op("get", "k", start, end, "done", version, value)


FIRST, SECOND = put(0, 1, 5, b"a"), put(2, 3, 7, b"b")
LOST = Op("put", "k", 2, NEVER, "unknown", value=b"b")
GONE = Op("delete", "k", 2, 3, deleted=True)
REFUSED = Op("put", "k", 4, 5, "conflict", 5, b"c", 5)
GOOD = {
    "a read between": ([FIRST, SECOND, get(1.5, 2.5, 5, b"a")], 7, b"b"),
    "side by side": ([put(0, 3, 7, b"b"), put(1, 2, 5, b"a")], 7, b"b"),
    "unknown, and done late": ([FIRST, LOST, get(9, 10, 5, b"a"), get(11, 12, 8, b"b")], 8, b"b"),
    "deleted and created": ([FIRST, GONE, put(4, 5, 9, b"c", 0)], 9, b"c"),
    "known from a conflict": (
        [FIRST, LOST, REFUSED._replace(version=7), put(6, 7, 9, b"d", 7)],
        9,
        b"d",
    ),
}
BAD = {
    "versions go back": ([FIRST, put(2, 3, 4, b"b")], 5, b"a"),
    "a stale read": ([FIRST, SECOND, get(4, 5, 5, b"a")], 7, b"b"),
    "read before it was written": ([FIRST, SECOND, get(0, 1.5, 7, b"b")], 7, b"b"),
    "never written": ([FIRST, get(2, 3, 6, b"x")], 5, b"a"),
    "lost": ([FIRST, SECOND], 5, b"a"),
    "vanished in the end": ([FIRST], 0, None),
    "came back": ([FIRST, GONE, get(4, 5)], 5, b"a"),
    "set what was not expected": ([FIRST, SECOND, put(4, 5, 9, b"c", 5)], 9, b"c"),
    "a false conflict": ([FIRST, REFUSED], 5, b"a"),
    "refused, yet done": ([FIRST, REFUSED._replace(expect=4)], 9, b"c"),
}


def _content(version: int, value: bytes | None) -> dict[str, Entry]:
    return {"k": Entry("k", version, value)} if value is not None else {}


@pytest.mark.parametrize(("ops", "version", "value"), GOOD.values(), ids=GOOD)
def test_good_histories_pass(ops: list[Op], version: int, value: bytes | None) -> None:
    """A history that some order explains is none of the checker's business."""
    check(ops, _content(version, value))


@pytest.mark.parametrize(("ops", "version", "value"), BAD.values(), ids=BAD)
def test_bad_histories_are_found(ops: list[Op], version: int, value: bytes | None) -> None:
    """A history that no order explains is a failure."""
    with pytest.raises(AssertionError):
        check(ops, _content(version, value))


async def test_history_of_a_file(tmp_path: Path) -> None:
    """What several processes do to one SQLite file is explained by some order."""
    make_store = functools.partial(SQLiteStore, tmp_path / "tokens.db")
    async with make_store() as store:
        ops = await record(make_store, seconds=2)
        check(ops, {entry.key: entry async for entry in store.scan()})
    assert len(ops) > 100, "the processes did hardly anything"
