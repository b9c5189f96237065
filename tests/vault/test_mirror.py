"""The mirror: whatever the order in which it learns, it shows what the store holds."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from twitchvault.errors import CorruptRecord
from twitchvault.stores.base import Change, Entry
from twitchvault.stores.pages import Page
from twitchvault.vault.events import Events
from twitchvault.vault.mirror import Mirror
from twitchvault.vault.record import Record, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from twitchvault.vault.events import EventStream

CLIENT = "client"
USERS = ("1", "2", "client")
few = settings(max_examples=30, deadline=None)
dice = st.integers(0, 2**32).map(random.Random)


@st.composite
def histories(draw: st.DrawFn) -> list[Change]:
    """What happened to a few users, in the order of the store's versions."""
    history = []
    version = 0
    for _ in range(draw(st.integers(1, 14))):
        version += draw(st.integers(1, 3))
        value = draw(
            st.none()
            | st.sampled_from([b"", b"garbage", b'{"schema":2}'])
            | st.builds(
                lambda at, scopes, state, version=version: encode(
                    Record(
                        f"A{version}",
                        f"R{version}",
                        last_validated=at,
                        expires_in=100.0,
                        scopes=scopes,
                        state=state,
                        reason="no" if state == "needs_login" else "",
                    )
                ),
                st.none() | st.floats(1, 1e9),
                st.none() | st.just(("chat:read",)),
                st.sampled_from(["live", "needs_login", "removed"]),
            )
        )
        history.append(Change(f"{CLIENT}:{draw(st.sampled_from(USERS))}", version, value))
    return history


def picture(mirror: Mirror) -> tuple[object, ...]:
    """All that the mirror shows."""
    return (
        dict(mirror.tokens),
        dict(mirror.validity),
        dict(mirror.scopes),
        {user_id: str(error) for user_id, error in mirror.damaged.items()},
        sorted(mirror.users()),
        [mirror.version(user_id) for user_id in USERS],
    )


def told(history: list[Change]) -> tuple[object, ...]:
    """What a mirror shows that was told everything in order."""
    mirror = Mirror(CLIENT, Events())
    mirror.apply(history)
    return picture(mirror)


def test_cleared_it_holds_no_record() -> None:
    """What was looked at last is forgotten with the rest."""
    mirror = Mirror(CLIENT, Events())
    mirror.apply([Change(f"{CLIENT}:1", 1, encode(Record("access token of 1", "R1")))])
    assert mirror.get("1") == Record("access token of 1", "R1")
    mirror.clear()
    gc.collect()
    alive = [one for one in gc.get_objects() if isinstance(one, Record)]
    assert "access token of 1" not in {one.access_token for one in alive}


@given(histories(), dice)
@few
def test_order_and_repetition(history: list[Change], dice: random.Random) -> None:
    """Any order and any repetition of the changes gives the same picture."""
    news = history + dice.choices(history, k=len(history))
    dice.shuffle(news)
    mirror = Mirror(CLIENT, Events())
    while news:
        count = dice.randint(1, 3)
        mirror.apply(news[:count])
        del news[:count]
    assert picture(mirror) == told(history)


@given(histories(), dice)
@few
def test_versions_that_are_skipped(history: list[Change], dice: random.Random) -> None:
    """A feed may leave out all but the newest version of a key."""
    newest = {change.key: change for change in history}
    kept = [change for change in history if change == newest[change.key] or dice.random() < 0.5]
    assert told(kept) == told(history)


def entries_of(history: list[Change]) -> list[Entry]:
    """What a store holds after that."""
    stands = {change.key: change for change in history}.values()
    return [Entry(key, version, value) for key, version, value in stands if value is not None]


@given(histories(), st.integers(0, 14), st.booleans(), dice)
@settings(max_examples=60, deadline=None)
def test_a_scan_in_the_middle(
    history: list[Change], at: int, quiet: bool, dice: random.Random
) -> None:
    """A scan of how the store stood at some moment, among old and new changes, changes nothing."""
    stood = entries_of(history[:at])
    mirror = Mirror(CLIENT, Events())
    mirror.apply(dice.sample(history[:at], dice.randint(0, len(history[:at]))))
    scan = mirror.begin_scan(quiet=quiet)
    news = list(history[at:])
    while stood:
        count = dice.randint(1, 3)
        mirror.met(scan, Page.of(stood[:count]))
        del stood[:count]
        if news and dice.random() < 0.5:
            mirror.apply((news.pop(0),))
    mirror.apply(news)
    for user_id in mirror.missing(scan):
        mirror.forget(user_id, "remote")
    mirror.end_scan(scan)
    shown, expected = picture(mirror), told(history)
    assert shown[:-1] == expected[:-1]


@given(histories())
@few
def test_the_first_scan(history: list[Change]) -> None:
    """It shows what a feed would have shown, and tells of no event but damage."""
    events = Events()
    stream = events.stream()
    mirror = Mirror(CLIENT, events)
    entries = entries_of(history)
    scan = mirror.begin_scan(quiet=True)
    mirror.met(scan, Page.of(entries))
    assert mirror.missing(scan) == []
    mirror.end_scan(scan)
    assert picture(mirror) == told([Change(*entry) for entry in entries])
    assert {(event.kind, event.user_id) for event in stream._queue} == {
        ("damaged", user_id) for user_id in mirror.damaged
    }


def fill(history: list[Change], *, ended: bool = True) -> tuple[Mirror, EventStream]:
    """A mirror that has just found what the store holds after that; its scan may go on."""
    events = Events()
    stream = events.stream()
    mirror = Mirror(CLIENT, events)
    scan = mirror.begin_scan(quiet=True)
    mirror.met(scan, Page.of(entries_of(history)))
    if ended:
        mirror.end_scan(scan)
    return mirror, stream


def signed_in(_held: Record | None) -> Record:
    """A login that the store has not confirmed yet."""
    return Record("mine", "too")


STEPS: dict[str, Callable[[Mirror, str], object]] = {
    "look": lambda mirror, user_id: user_id in mirror.tokens,
    "damaged": lambda mirror, user_id: user_id in mirror.damaged,
    "find": lambda mirror, user_id: (
        mirror.holder_of(access=f"A{mirror.version(user_id)}"),
        mirror.heir_of(f"R{mirror.version(user_id)}", "mark"),
    ),
    "changed": lambda mirror, user_id: news(mirror, user_id, encode(Record("new", "R"))),
    "deleted": lambda mirror, user_id: news(mirror, user_id, None),
    "garbage": lambda mirror, user_id: news(mirror, user_id, b"garbage"),
    "forget": lambda mirror, user_id: mirror.forget(user_id, "remote"),
    "damage": lambda mirror, user_id: mirror.learn_damage(user_id, CorruptRecord("it is")),
    "sign in": lambda mirror, user_id: mirror.set_pending(user_id, signed_in, asked_for=True),
    "settle": lambda mirror, user_id: mirror.drop_pending(user_id),
}


def news(mirror: Mirror, user_id: str, value: bytes | None) -> None:
    """The store tells of a change."""
    mirror.apply((Change(f"{CLIENT}:{user_id}", mirror.version(user_id) + 1, value),))


@given(
    histories(),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.sampled_from(USERS[:2])), min_size=1),
)
@settings(max_examples=150, deadline=None)
def test_records_may_be_read_late(
    history: list[Change], ended: bool, steps: list[tuple[str, str]]
) -> None:
    """What opening found and nobody has looked at is, at any later time, as if read at once."""
    late, late_events = fill(history, ended=ended)
    early, early_events = fill(history, ended=ended)
    len(early.tokens)
    for name, user_id in steps:
        assert STEPS[name](late, user_id) == STEPS[name](early, user_id), name
    assert picture(late) == picture(early)
    assert sorted(late_events._queue) == sorted(early_events._queue)


def test_looking_at_one_reads_one() -> None:
    """Opening decodes nobody; who asks for one user does not wait for the others."""
    users = [str(number) for number in range(1_000)]
    value = encode(Record("A", "R", last_validated=1.0, expires_in=2.0))
    mirror, _ = fill([Change(f"{CLIENT}:{one}", at, value) for at, one in enumerate(users, 1)])
    assert mirror.tokens["7"] == ("A", "R")
    assert mirror.validity["8"] == (1.0, 2.0)
    assert "9" in mirror.scopes
    assert mirror.get("10") is not None
    assert sorted(mirror._backlog) == sorted(set(users) - {"7", "8", "9", "10"})
    assert list(mirror.tokens) == sorted(users, key=list(mirror.tokens).index)
    assert not list(mirror._backlog)


def test_threads_may_look_first() -> None:
    """Every thread sees everybody, whoever reads a record first, and no old one in the end."""
    users = [str(number) for number in range(3_000)]
    old, new = (encode(Record(name, "R", last_validated=1.0)) for name in ("old", "new"))
    history = [Change(f"{CLIENT}:{one}", at, old) for at, one in enumerate(users, 1)]
    history[5] = history[5]._replace(value=b"garbage")
    mirror, stream = fill(history)
    start = threading.Barrier(3)
    missed: list[str] = []

    def look(order: list[str]) -> None:
        start.wait()
        missed.extend(one for one in order if one not in mirror.tokens and one != "5")
        missed.extend({*order} - {*mirror.validity, "5"})

    threads = [threading.Thread(target=look, args=(users[::step],)) for step in (1, -1)]
    for thread in threads:
        thread.start()
    start.wait()
    for at, user_id in enumerate(users, 10_000):
        mirror.apply((Change(f"{CLIENT}:{user_id}", at, new),))
    for thread in threads:
        thread.join()
    assert not missed
    assert set(mirror.tokens.values()) == {("new", "R")}
    assert [event.user_id for event in stream._queue if event.kind == "damaged"] == ["5"]


async def test_the_first_scan_finds_who_is_waited_for() -> None:
    """It wakes who waits for news of a user, and leaves alone what this process has changed."""
    mirror = Mirror(CLIENT, Events())
    mirror.set_pending("2", lambda _held: Record("mine", "too"), asked_for=True)
    waiting = asyncio.create_task(mirror.changed("1", 0, 60.0))
    await asyncio.sleep(0)
    scan = mirror.begin_scan(quiet=True)
    value = encode(Record("A", "R"))
    mirror.met(scan, Page.of([Entry(f"{CLIENT}:{user_id}", 7, value) for user_id in ("1", "2")]))
    await waiting
    assert dict(mirror.tokens) == {"1": ("A", "R"), "2": ("mine", "too")}
    mirror.drop_pending("2")
    assert mirror.tokens["2"] == ("A", "R")


@given(histories())
@few
def test_pending_changes_stand_above(history: list[Change]) -> None:
    """What this process has changed is shown over whatever the store tells, until it is dropped."""
    mirror = Mirror(CLIENT, Events())

    def sign_in(_held: Record | None) -> Record:
        return Record("mine", "too")

    fold: Callable[[Record | None], Record | None] = sign_in
    mirror.set_pending("1", fold, asked_for=True)
    for change in history:
        mirror.apply((change,))
        assert mirror.tokens["1"] == ("mine", "too")
        record = mirror.get("1")
        assert record is not None
        assert record.access_token == "mine"
    mirror.drop_pending("1")
    assert picture(mirror) == told(history)


@given(histories())
@few
def test_events_tell_the_picture(history: list[Change]) -> None:
    """Who follows the events knows who is there, and who needs a login."""
    events = Events()
    stream = events.stream()
    mirror = Mirror(CLIENT, events)
    mirror.apply(history)
    there: set[str] = set()
    queue = list(stream._queue)
    for event in queue:
        if event.kind in {"removed", "damaged"}:
            there.discard(event.user_id)
        else:
            there.add(event.user_id)
    assert there == set(mirror.tokens)
