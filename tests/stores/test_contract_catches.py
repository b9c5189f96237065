"""`StoreContract` finds the faults that stores have: each broken store here fails a named test."""

from __future__ import annotations

import functools
import inspect
import os
from typing import TYPE_CHECKING, Any

import pytest

from twitchvault.errors import StoreUnavailable, VersionConflict
from twitchvault.testing import StoreContract
from twitchvault.testing.contract import support
from twitchvault.testing.contract.concurrency import write_in_processes
from twitchvault.testing.contract.support import MakeStore, opened

from .broken_feeds import (
    Backwards,
    Disk,
    DrainsLate,
    LosesWhenCancelled,
    NoBarrier,
    NoDeletes,
    Swallows,
    WaitsForNothing,
)
from .broken_stores import (
    DAMAGE,
    Caches,
    ComparesThenWrites,
    DamageIsAbsence,
    DamageIsSkipped,
    FoldsCase,
    ForgetsData,
    GlobPrefix,
    IgnoresExpect,
    LeaksDriverErrors,
    LocksWhileScanning,
    NoNul,
    Offsets,
    OnePage,
    OwnVersions,
    PlainTuples,
    ReusesVersions,
    Right,
    SeesDamage,
    Truncates,
    WritesAtOnce,
    WritesLate,
    ZeroIsNone,
    feeding,
)
from .custom_store import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twitchvault.stores.base import TokenStore

FAULTS: list[tuple[type[Right], str, str]] = [
    (ReusesVersions, "test_versions_grow_over_the_whole_store", "reused"),
    (ForgetsData, "test_open_and_close_are_idempotent", "not deleted"),
    (ForgetsData, "test_data_outlive_all_stores", "does not find"),
    (OwnVersions, "test_versions_grow_over_the_whole_store", "over all keys"),
    (IgnoresExpect, "test_expect_zero_creates", "DID NOT RAISE"),
    (IgnoresExpect, "test_expect_in_delete", "DID NOT RAISE"),
    (IgnoresExpect, "test_one_creates", "50 of 50 puts with expect=0"),
    (ZeroIsNone, "test_expect_zero_creates", "DID NOT RAISE"),
    (ComparesThenWrites, "test_increments_of_many_tasks", "in one atomic step"),
    (ComparesThenWrites, "test_increments_of_several_stores", "in one atomic step"),
    (ComparesThenWrites, "test_one_of_several_stores_creates", "puts with expect=0"),
    (WritesLate, "test_cancelled_put", "took effect after a later put"),
    (WritesAtOnce, "test_calls_that_nobody_awaits", "not awaited, yet done"),
    (GlobPrefix, "test_prefixes_are_literal", "literally; too many"),
    (OnePage, "test_scan_of_many", "1000 of 2500"),
    (Offsets, "test_scan_while_others_write", "exactly once"),
    (LocksWhileScanning, "test_abandoned_scan_blocks_nothing", "half-way"),
    (FoldsCase, "test_hostile_keys_are_kept_apart", "'APP'"),
    (Truncates, "test_wrong_arguments", "must raise ValueError or TypeError"),
    (PlainTuples, "test_put_then_get", "must give Entry objects, not tuple"),
    (NoNul, "test_values_come_back_as_they_are", "put b'\\x00', got b''"),
    (LeaksDriverErrors, "test_after_close", "must work or raise StoreError, it raised Progr"),
    (Caches, "test_stores_see_each_other", "old entry"),
    (DamageIsAbsence, "test_damage_is_not_absence", "DID NOT RAISE"),
    (DamageIsSkipped, "test_damage_is_not_absence", "must not leave out"),
    (feeding(NoDeletes), "test_delete_is_a_change", "missed a delete"),
    (feeding(NoDeletes), "test_drain_gives_all_in_time", "drain() gives"),
    (feeding(NoDeletes), "test_feeds_miss_nothing", "missed changes"),
    (feeding(DrainsLate), "test_drain_gives_all_in_time", "drain() gives"),
    (feeding(NoBarrier), "test_catch_up_is_a_barrier", "missed a put"),
    (feeding(LosesWhenCancelled), "test_cancelled_wait_loses_nothing", "cancelled wait()"),
    (feeding(WaitsForNothing), "test_wait_of_a_quiet_store", "nothing changed"),
    (feeding(Backwards), "test_feeds_miss_nothing", "in version order"),
    (feeding(Swallows), "test_feeds_miss_nothing_of_other_stores", "missed changes"),
    (feeding(Swallows), "test_watch_then_scan", "missed changes"),
]


class Contract(StoreContract, omits={"processes": "see below"}):
    """The contract, called by hand."""

    async def damage(self, store: TokenStore, key: str) -> None:
        """Spoil the entry on the disk."""
        assert isinstance(store, Right)
        store.disk.entries[key] = store.disk.entries[key]._replace(value=DAMAGE)


TESTS = sorted(name for name in dir(Contract) if name[:5] == "test_" and getattr(Contract, name))


async def run(contract: type[StoreContract], make_store: MakeStore, test: str) -> None:
    """Run one test of the contract."""
    made = contract()
    async with (
        opened(make_store) as store,
        opened(make_store) as second,
        opened(make_store) as third,
    ):
        fixtures: dict[str, Any] = {
            "opener": make_store,
            "in_processes": functools.partial(write_in_processes, make_store),
            "store": store,
            "others": [second, third],
            "watch": getattr(store, "watch", None),
            "damage_entry": functools.partial(made.damage, store),
        }
        method = getattr(made, test)
        await method(**{name: fixtures[name] for name in inspect.signature(method).parameters})


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What hangs is given up soon."""
    monkeypatch.setattr(support, "CALL_TIMEOUT", 0.5)


@pytest.mark.parametrize(
    ("broken", "test", "said"),
    FAULTS,
    ids=[f"{broken.__name__}-{test}" for broken, test, _ in FAULTS],
)
async def test_fault_is_found(broken: type[Right], test: str, said: str) -> None:
    """The named test fails for the broken store, saying what is wrong."""
    with pytest.raises((Exception, pytest.fail.Exception)) as caught:
        await run(Contract, functools.partial(broken, Disk()), test)
    assert said in str(caught.value)


@pytest.mark.parametrize("test", TESTS)
async def test_right_store_passes(test: str) -> None:
    """No test of the contract fails for a store without a fault."""
    await run(Contract, functools.partial(SeesDamage, Disk()), test)


class TwoSteps(FileStore):
    """Compares in one transaction and writes in another: right if no other process writes."""

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Compare, then write."""
        entry = await self.get(key)
        found = entry.version if entry else 0
        if expect not in (None, found):
            raise VersionConflict(key, expect or 0, found)
        return await super().put(key, value)


class DiesInOtherProcesses(FileStore):
    """Opens in the process that made it."""

    def __init__(self, path: Path, home: int) -> None:
        super().__init__(path)
        self.home = home

    async def open(self) -> None:
        """Fail abroad."""
        if os.getpid() != self.home:
            msg = "not at home"
            raise StoreUnavailable(msg)


def local_class() -> type[FileStore]:
    """A class that other processes cannot find."""

    class Local(FileStore):
        """A FileStore."""

    return Local


class BetweenProcesses(StoreContract, omits={"watch": "FileStore has none"}):
    """The contract, called by hand."""


@pytest.mark.parametrize(
    ("make_store", "said"),
    [
        (functools.partial(TwoSteps), "in one atomic step"),
        (functools.partial(DiesInOtherProcesses, home=os.getpid()), "not at home"),
        (local_class(), "make_store must be picklable"),
    ],
    ids=["not atomic", "not shared", "not picklable"],
)
async def test_fault_between_processes_is_found(
    make_store: Callable[[Path], TokenStore], said: str, tmp_path: Path
) -> None:
    """Real processes show what one process cannot."""
    test = "test_compare_and_set_between_processes"
    opener = functools.partial(make_store, tmp_path / "tokens.db")
    with pytest.raises((AssertionError, pytest.fail.Exception)) as caught:
        await run(BetweenProcesses, opener, test)
    assert said in str(caught.value)
