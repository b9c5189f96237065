"""Records that were found and not read yet: whoever looks, wherever, finds them as they are."""

from __future__ import annotations

import signal
import threading
from enum import Enum
from typing import TYPE_CHECKING

import pytest

from tests.stores.custom_store import FileStore
from twitchvault import App
from twitchvault.errors import CorruptRecord, StoreUnavailable
from twitchvault.stores.base import Entry
from twitchvault.stores.pages import Page
from twitchvault.vault.events import Events
from twitchvault.vault.mirror import Mirror
from twitchvault.vault.record import Record, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from types import FrameType

CLIENT = "client"
GOOD = encode(Record("A", "R", last_validated=1.0))
SECRET = "a-token-in-a-damaged-record"
BAD = b'{"schema":1,"access_token":"%s","oops":1}' % SECRET.encode()


def found(records: dict[str, bytes]) -> Mirror:
    """A mirror that has found these users and read none."""
    mirror = Mirror(CLIENT, Events())
    scan = mirror.begin_scan(quiet=True)
    entries = [
        Entry(f"{CLIENT}:{one}", at, value) for at, (one, value) in enumerate(records.items(), 1)
    ]
    mirror.met(scan, Page.of(entries))
    mirror.end_scan(scan)
    return mirror


def in_a_thread(look: object) -> None:
    """Call it in another thread, to its end."""
    assert callable(look)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


def test_another_thread_sees_who_is_damaged() -> None:
    """In `damaged`, although only the loop's own thread tells of it: that one still does."""
    events = Events()
    stream = events.stream()
    mirror = Mirror(CLIENT, events)
    scan = mirror.begin_scan(quiet=True)
    pair = [Entry(f"{CLIENT}:1", 1, GOOD), Entry(f"{CLIENT}:2", 2, BAD)]
    mirror.met(scan, Page.of(pair))
    mirror.end_scan(scan)
    seen: list[object] = []

    def look() -> None:
        seen.extend((len(mirror.tokens), list(mirror.damaged), "2" in mirror.damaged))
        with pytest.raises(CorruptRecord) as raised:
            mirror.get("2")
        frames = raised.value.__traceback__
        while frames is not None:
            assert SECRET not in repr(frames.tb_frame.f_locals)
            frames = frames.tb_next

    in_a_thread(look)
    assert seen == [1, ["2"], True]
    assert not stream._queue
    for _ in range(2):
        assert list(mirror.damaged) == ["2"]
    assert [(event.kind, event.user_id) for event in stream._queue] == [("damaged", "2")]


def test_a_signal_handler_may_look() -> None:
    """Also while the thread that it interrupts reads: it does not wait for itself."""
    mirror = found({str(number): GOOD for number in range(20_000)})
    seen: list[int] = []

    def look(_signal: int, _frame: FrameType | None) -> None:
        seen.append(len(mirror.tokens))

    before = signal.signal(signal.SIGALRM, look)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)  # again and again: none is missed
        assert len(mirror.tokens) == 20_000
        while not seen:
            signal.pause()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert set(seen) == {20_000}


class Users(str, Enum):  # noqa: UP042 - a StrEnum would not do it
    """User ids with names: `str` of a member is not its value."""

    ANN = "1"
    BOB = "2"
    NOBODY = "3"


def test_an_enum_is_looked_up_by_its_value() -> None:
    """As in any dict, before and after the record is read."""
    mirror = found({"1": GOOD, "2": BAD})
    assert mirror.tokens[Users.ANN] == ("A", "R")
    assert Users.BOB in mirror.damaged
    assert Users.NOBODY not in mirror.tokens
    assert [type(user_id) for user_id in mirror.tokens] == [str]


def test_damage_that_is_read_late_is_no_news() -> None:
    """A new scan finds out who is gone, also of those who are read while it runs."""
    mirror = found({"1": GOOD, "2": BAD})
    scan = mirror.begin_scan(quiet=False)
    mirror.met(scan, Page.of([Entry(f"{CLIENT}:1", 1, GOOD)]))
    assert list(mirror.damaged) == ["2"]
    assert mirror.missing(scan) == ["2"]


class Careless(FileStore):
    """Gives text where bytes belong."""

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """One of them."""
        async for key, version, value in super().scan(prefix):
            yield Entry(key, version, value.decode() if key.endswith(":2") else value)  # type: ignore[arg-type]


async def test_a_store_that_gives_no_bytes(tmp_path: Path) -> None:
    """Opening says so; it does not come up later, wherever somebody happens to look."""
    store = Careless(tmp_path / "own.db")
    await store.open()
    for number in range(3):
        await store.put(f"{CLIENT}:{number}", GOOD)
    app = App(CLIENT, store=store, maintain=False)
    with pytest.raises(StoreUnavailable, match="Careless failed with TypeError"):
        await app.authorize()
    await app.close()
    await store.close()
