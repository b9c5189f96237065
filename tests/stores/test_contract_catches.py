"""`StoreContract` finds the faults that stores have, here and in a project of its user's."""

from __future__ import annotations

import functools
import inspect
import os
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.programs import running
from twitchvault.testing import StoreContract

from .broken_feeds import Remote
from .broken_stores import DAMAGE, SeesDamage
from .right_store import FAULTS, Disk, Fault, Right

if TYPE_CHECKING:
    from twitchvault.stores.base import TokenStore


class Contract(StoreContract, omits={"processes": "a project of its own has them"}):
    """The contract, called by hand."""

    async def damage(self, store: TokenStore, key: str) -> None:
        """Spoil the entry on the disk."""
        assert isinstance(store, Right)
        store.disk.entries[key] = store.disk.entries[key]._replace(value=DAMAGE)

    async def break_connections(self, store: TokenStore) -> None:
        """Count one more cut, which each store notices by itself."""
        assert isinstance(store, Right)
        store.disk.cuts += 1


class Impatient(Contract):
    """The same for stores that hang."""

    call_timeout = 0.5


TESTS = sorted(name for name in dir(Contract) if name[:5] == "test_" and getattr(Contract, name))


async def try_on(contract: StoreContract, kind: type[Right], test: str) -> None:
    """Run one test of the contract on three stores of one disk."""
    make_store = functools.partial(kind, Disk())
    async with AsyncExitStack() as stack:
        stores = [make_store() for _ in range(3)]
        for store in stores:
            await store.open()
            stack.push_async_callback(store.close)
        fixtures: dict[str, Any] = {
            "make_store": make_store,
            "store": stores[0],
            "stores": stores,
            "watch": stores[0].watch,
            "damage_entry": functools.partial(contract.damage, stores[0]),
            "cut_connections": functools.partial(contract.break_connections, stores[0]),
        }
        method = getattr(contract, test)
        await method(**{name: fixtures[name] for name in inspect.signature(method).parameters})


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.store.__name__}-{fault.test}")
async def test_fault_is_found(fault: Fault) -> None:
    """The named test fails for the broken store, saying what is wrong and which rule it breaks."""
    hangs = fault.said.startswith("expected within")
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it says is compared below
        await try_on(Impatient() if hangs else Contract(), fault.store, fault.test)
    (rule,) = caught.value.__notes__
    assert rule.startswith("The rule: ")
    assert fault.said in f"{caught.value}\n{rule}"


@pytest.mark.parametrize("test", TESTS)
async def test_right_store_passes(test: str) -> None:
    """No test of the contract fails for a store without a fault."""
    await try_on(Contract(), Remote if "connections" in test else SeesDamage, test)


PROJECT = """
import asyncio
import functools
import os
from contextlib import asynccontextmanager

import pytest
from tests.stores.custom_store import MyStore
from twitchvault.errors import StoreUnavailable, VersionConflict
from twitchvault.stores import SQLiteStore
from twitchvault.testing import StoreContract

class IgnoresExpect(MyStore):
    async def put(self, key, value, *, expect=None):
        return await super().put(key, value)

class TwoSteps(MyStore):
    async def put(self, key, value, *, expect=None):
        entry = await self.get(key)
        found = entry.version if entry else 0
        if expect not in (None, found):
            raise VersionConflict(key, expect, found)
        return await super().put(key, value)

class OneProcess(MyStore):
    def __init__(self, path, home):
        super().__init__(path)
        self.home = home

    async def open(self):
        if os.getpid() != self.home:
            raise StoreUnavailable("not at home")

class HearsOnlyItself(SQLiteStore):  # only catch_up() finds what others have written
    def __init__(self, path):
        super().__init__(path)
        self.wrote = asyncio.Event()

    async def put(self, key, value, *, expect=None):
        version = await super().put(key, value, expect=expect)
        self.wrote.set()
        return version

    @asynccontextmanager
    async def watch(self, prefix=""):
        async with super().watch(prefix) as feed:
            yield Deaf(feed, self.wrote)

class Deaf:
    def __init__(self, feed, wrote):
        self.feed, self.wrote, self.catch_up = feed, wrote, feed.catch_up

    def drain(self):
        return self.feed.drain() if self.wrote.is_set() else []

    async def wait(self):
        await self.wrote.wait()
        return await self.feed.wait()

class Files(StoreContract):
    kind, more = MyStore, ()

    @pytest.fixture
    def make_store(self, tmp_path):
        return functools.partial(self.kind, tmp_path / "tokens.db", *self.more)

class TestFile(Files):
    pass

class TestBroken(Files):
    kind = IgnoresExpect

class TestTwoSteps(Files):
    kind = TwoSteps

class TestOneProcess(Files):
    kind, more = OneProcess, (os.getpid(),)

class TestHearsOnlyItself(Files):
    kind, call_timeout = HearsOnlyItself, 3

class TestForgotten(StoreContract):
    pass

class TestUnpicklable(StoreContract):
    @pytest.fixture
    def make_store(self):
        return lambda: MyStore("tokens.db")
"""
FAILING = ("TwoSteps", "OneProcess", "Unpicklable", "Broken")
SAID = (
    "put() must compare and write in one atomic step",
    "The rule: 50 tasks that count up by compare-and-set lose no step",
    "StoreContract needs a fixture named 'make_store' in TestForgotten",
    "return functools.partial(MyStore, tmp_path",
    "make_store must be picklable",
    'omits={"processes": "why not"}',
    "a process that uses the store failed",
    "StoreUnavailable: not at home",
    "expected within 3 s: wait() gives the last write",
)


def names_of(contract: type[StoreContract]) -> set[str]:
    """The names of its tests."""
    return {name for name in dir(contract) if name[:5] == "test_" and getattr(contract, name)}


async def run(project: Path, chosen: str) -> tuple[int, str]:
    """Run pytest in a project of its own, warnings being errors, in the mode that is not ours."""
    (project / "test_mine.py").write_text(PROJECT)
    (project / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = strict\nasyncio_default_fixture_loop_scope = session\n"
        "filterwarnings = error\naddopts = -rfEs --tb=short"
    )
    options = ("-p", "no:cacheprovider", "--basetemp", str(project / "tmp"), "-k", chosen)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    async with running("-m", "pytest", *options, cwd=project, env=environment) as program:
        return await program.ended(), program.output


async def test_wrong_stores_fail_in_a_project(quick_path: Path) -> None:
    """Failures say what must hold, how to write a fixture that is missing, and what to omit.

    The right one beside them passes; feeds are skipped for a store that has none, saying why.
    """
    chosen = "TestFile and (put_then_get or wakes_up or between) or TestForgotten and put_then_get"
    chosen += " or TestBroken and (put_ or increments) or compare_and_set_between_processes"
    chosen += " or TestHearsOnlyItself and feed_of_other"
    code, output = await run(quick_path, chosen)
    assert code == 1, output
    failed = set(
        re.findall(r"^(?:FAILED|ERROR) test_mine.py::Test(\w+::\w+)", output, re.MULTILINE)
    )
    between = {f"{name}::test_compare_and_set_between_processes" for name in FAILING}
    assert between <= failed
    assert "HearsOnlyItself::test_feed_of_other_processes" in failed
    assert {"Broken::test_put_with_expect", "Broken::test_increments_at_once"} <= failed
    assert not {test for test in failed if test.startswith("File::")}
    assert "Broken::test_put_then_get" not in failed
    assert "MyStore has no watch(): readers scan it and compare" in output
    for text in SAID:
        assert text in output


def test_omitted_tests_are_gone() -> None:
    """An omission takes away the tests that need the ability, in subclasses too, and no others."""

    class Alone(StoreContract, omits={"processes": "alone"}):
        pass

    class Quiet(Alone, omits={"watch": "quiet"}):
        pass

    class Checked(Quiet):
        async def damage(self, store: TokenStore, key: str) -> None:
            raise NotImplementedError

    between = {"test_compare_and_set_between_processes", "test_feed_of_other_processes"}
    damage = {"test_damage_is_not_absence", "test_damage_does_not_stop_a_feed"}
    broken = {name for name in names_of(StoreContract) if "connections" in name}
    assert names_of(StoreContract) - names_of(Alone) == between | damage | broken
    assert "test_wait_wakes_up" in names_of(Alone) - names_of(Quiet)
    assert "test_put_then_get" in names_of(Quiet)
    assert names_of(Checked) - names_of(Quiet) == {"test_damage_is_not_absence"}
    assert dict(Quiet.omits) == {"processes": "alone", "watch": "quiet"}


@pytest.mark.parametrize(
    ("omits", "message"),
    [
        ({"sync": "why"}, "Odd: 'sync' in 'omits' must be one of handles, processes, watch"),
        ({"watch": " "}, "Odd: 'omits' must say why it has no 'watch'"),
    ],
)
def test_omission_without_reason(omits: dict[str, str], message: str) -> None:
    """An unknown ability and an empty reason are errors when the class is made."""
    with pytest.raises(TypeError) as caught:
        type("Odd", (StoreContract,), {}, omits=omits)
    assert str(caught.value) == message
