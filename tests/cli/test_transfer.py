"""Which of two records stands when records come from another store or a backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.own_stores import OwnStore, WatchedStore
from twitchvault import MemoryStore
from twitchvault.cli.transfer import Holder, bring, decide, holder_of, snapshot
from twitchvault.stores.base import Entry
from twitchvault.vault import transitions
from twitchvault.vault.record import Record, encode, fingerprint
from twitchvault.vault.transitions import refused, removed

from .records import login, refreshed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ALICE = Holder("client", "1001")
KEY = "client:1001"
SEED = "client/seed/abcdefabcdef"


def needs_login(record: Record) -> Record:
    """The record after Twitch has refused its refresh token."""
    return refused(record, record, "Twitch refused the refresh token") or record


OLD = refreshed(login("first"), 2)
NEW = refreshed(OLD, 3)
LATER = replace(OLD, generation=9)
CASES = {
    "nobody stands there": (None, OLD, OLD, "added"),
    "the same stands": (OLD, OLD, OLD, "unchanged"),
    "the same pair stands at a later generation": (LATER, OLD, LATER, "unchanged"),
    "the same pair is brought at a later generation": (OLD, LATER, LATER, "unchanged"),
    "an older one stands": (OLD, NEW, NEW, "updated"),
    "a newer one stands": (NEW, OLD, NEW, "newer"),
    "a refused one stands": (needs_login(NEW), NEW, needs_login(NEW), "newer"),
    "a newer refused one stands": (needs_login(NEW), OLD, needs_login(NEW), "newer"),
    "an older refused one stands": (needs_login(OLD), NEW, NEW, "updated"),
    "a refused one is brought": (NEW, needs_login(NEW), needs_login(NEW), "updated"),
    "the user was removed since": (removed(NEW), NEW, removed(NEW), "newer"),
    "a login that knows of it": (login("second", NEW), NEW, login("second", NEW), "newer"),
    "a login that is brought": (NEW, login("second", NEW), login("second", NEW), "updated"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_newer_record_stands(case: str) -> None:
    """The one that descends from the other stands, whichever of them is brought."""
    standing, brought, expected, outcome = CASES[case]
    assert decide(standing, brought, ALICE)[:2] == (expected, outcome)


def life(events: list[str]) -> list[Record]:
    """The records of a user to whom this happens, one after the other, after a first login."""
    records = [login("login0")]
    for number, event in enumerate(events, 1):
        record: Record | None = records[-1]
        assert record is not None
        if event == "login":
            record = login(f"login{number}", record)
        elif event == "remove":
            record = removed(record)
        elif record.state == "live":
            record = refreshed(record) if event == "refresh" else needs_login(record)
        if record is None:
            break  # nothing of this user is left
        records.append(record)
    return records


EVENTS = st.lists(st.sampled_from(["refresh", "refresh", "login", "refuse", "remove"]))


@given(EVENTS, st.integers(0, 50), st.integers(0, 50))
@example(["login", "remove", "login"], 1, 3)
def test_the_later_of_two_moments_stands(events: list[str], one: int, other: int) -> None:
    """Whatever happens to a user between a backup and its restoring, and whichever of both is
    brought: what happened later stands.
    """
    records = life(events)
    first, last = sorted(min(moment, len(records) - 1) for moment in (one, other))
    earlier, later = records[first], records[last]
    for standing, brought in ((later, earlier), (earlier, later)):
        record, _, _ = decide(standing, brought, ALICE)
        assert (record.pair, record.state) == (later.pair, later.state)
        assert record.generation >= later.generation


def test_a_login_without_knowledge_of_the_other_stays() -> None:
    """Who signed in anew after a loss stays, though the backup counts further; it learns from it
    which tokens are spent.
    """
    standing = login("second")
    record, outcome, _ = decide(standing, NEW, ALICE)
    assert outcome == "newer"
    assert record.pair == standing.pair
    assert record.remembers(fingerprint("first-r1"))
    assert record.generation > NEW.generation


@pytest.mark.parametrize("brought", [removed(NEW), login("third", removed(NEW))])
def test_a_login_stays_against_a_removal_it_does_not_know(brought: Record) -> None:
    """Who signed in anew after a loss stays, though in the backup the user was removed, and perhaps
    came back: neither was made by who knew of this login.
    """
    standing = login("second", OLD)
    record, outcome, _ = decide(standing, brought, ALICE)
    assert (record.pair, record.state, outcome) == (standing.pair, "live", "newer")


def test_a_lease_of_a_backup_does_not_come_back() -> None:
    """A backup that was made during a refresh leases no pair that stands unleased by now."""
    brought = transitions.leased(NEW, "of then", 60.0)
    record, outcome, _ = decide(replace(NEW, restored=1), brought, ALICE)
    assert (record.lease, outcome) == (None, "unchanged")


def test_a_spent_token_does_not_come_back() -> None:
    """A pair whose refresh token the standing record has exchanged stays away, whatever its
    generation says.
    """
    brought = Record("first-a1", "first-r1", generation=99)
    record, outcome, _ = decide(NEW, brought, ALICE)
    assert (record, outcome) == (NEW, "newer")


def test_an_app_token_stays() -> None:
    """The application's token is only brought where there is none."""
    app = Holder("client", "client")
    newer = Record("app-2", generation=7, seeded=False)
    standing = Record("app-1", generation=1, seeded=False)
    assert decide(standing, newer, app)[:2] == (standing, "newer")
    assert decide(None, newer, app)[:2] == (newer, "added")


def test_whose_record_it_is() -> None:
    """Users, the application, and refresh tokens whose user is not known; all else is no record."""
    assert holder_of(KEY) == ALICE
    assert not ALICE.is_app
    app = holder_of("client:client")
    assert app is not None
    assert app.is_app
    assert holder_of(SEED) == Holder("client", None)
    assert holder_of("twitchvault/fernet") is None
    assert holder_of("client/login/1:2") is None


async def opened(**records: Record) -> MemoryStore:
    """A store with these users of one application."""
    store = MemoryStore()
    await store.open()
    for user_id, record in records.items():
        await store.put(f"client:{user_id}", encode(record))
    return store


async def test_records_are_brought_as_they_are() -> None:
    """A store gets the very bytes of what it lacks, fields of a newer version too."""
    target = await opened(alice=NEW)
    value = encode(OLD)[:-1] + b',"of_a_newer_version":1}'
    entries = [Entry("client:alice", 1, encode(OLD)), Entry("client:bob", 2, value)]
    outcomes = [(one.user_id, one.outcome) for one in await bring("", entries, target)]
    assert outcomes == [("alice", "newer"), ("bob", "added")]
    stored = {entry.key: entry.value async for entry in target.scan()}
    assert stored == {"client:alice": encode(NEW), "client:bob": value}


async def test_a_dry_run_writes_nothing() -> None:
    """It says the same and leaves the store as it was."""
    target = await opened(alice=OLD)
    entries = [Entry("client:alice", 1, encode(NEW)), Entry("client:bob", 2, encode(NEW))]
    outcomes = [one.outcome for one in await bring("", entries, target, dry_run=True)]
    assert outcomes == ["updated", "added"]
    stored = {entry.key: entry.value async for entry in target.scan()}
    assert stored == {"client:alice": encode(OLD)}


async def test_what_cannot_be_read_is_left() -> None:
    """A damaged record is brought to nobody, and a damaged one that stands is not replaced: it may
    be of a newer version.
    """
    target = await opened()
    await target.put("client:alice", b"garbage")
    entries = [Entry("client:alice", 1, encode(NEW)), Entry("client:bob", 2, b"garbage")]
    results = await bring("", entries, target)
    assert [one.outcome for one in results] == ["unreadable", "unreadable"]
    assert "in the store: the record of user 'alice' is damaged" in results[0].reason
    assert "as it was brought: the record of user 'bob' is damaged" in results[1].reason
    stored = {entry.key: entry.value async for entry in target.scan()}
    assert stored == {"client:alice": b"garbage"}


async def test_who_is_faster_stays() -> None:
    """What others write between the look and the write is decided on, not overwritten."""
    store = OwnStore(await opened())

    async def overtake(operation: str, key: str) -> None:
        if operation == "put" and store.calls["put"] == 1:
            await store.inner.put(key, encode(NEW))

    store.before = overtake
    results = await bring("", [Entry(KEY, 1, encode(OLD))], store)
    assert [one.outcome for one in results] == ["newer"]
    entry = await store.get(KEY)
    assert entry is not None
    assert entry.value == encode(NEW)


@pytest.mark.parametrize("kind", [OwnStore, WatchedStore])
async def test_a_snapshot_misses_nothing_that_moves(kind: type[OwnStore]) -> None:
    """A pair that moves from its waiting place to its user, where the scan has been already, is in
    the snapshot.
    """

    class Moving(kind):  # type: ignore[misc, valid-type]
        async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
            if not self.calls["put"]:
                await self.put(KEY, encode(NEW))
                await self.delete(SEED)
                return
            async for entry in super().scan(prefix):
                yield entry

    store = Moving(await opened())
    await store.inner.put(SEED, encode(NEW))
    assert [(entry.key, entry.value) for entry in await snapshot(store)] == [(KEY, encode(NEW))]
