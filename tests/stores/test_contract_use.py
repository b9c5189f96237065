"""`StoreContract` as its user meets it: in a project of its own, in each mode of pytest-asyncio."""

from __future__ import annotations

import re
import sys
from asyncio import create_subprocess_exec, subprocess, timeout
from typing import TYPE_CHECKING

import pytest

from twitchvault.testing import StoreContract

if TYPE_CHECKING:
    from pathlib import Path

    from twitchvault.stores.base import TokenStore

PROJECT = '''
import pytest
from twitchvault.stores import MemoryStore
from twitchvault.stores.base import TokenStore
from twitchvault.testing import StoreContract

class Plain(TokenStore):
    """Hides the feeds of a MemoryStore."""

    def __init__(self):
        self.inner = MemoryStore()

    async def open(self):
        await self.inner.open()

    async def get(self, key):
        return await self.inner.get(key)

    async def put(self, key, value, *, expect=None):
        return await self.inner.put(key, value, expect=expect)

    async def delete(self, key, *, expect=None):
        return await self.inner.delete(key, expect=expect)

    def scan(self, prefix=""):
        return self.inner.scan(prefix)

class IgnoresExpect(Plain):
    async def put(self, key, value, *, expect=None):
        return await self.inner.put(key, value)

class OneStore(StoreContract, omits={"handles": "one process", "processes": "one process"}):
    kind = Plain

    @pytest.fixture
    def make_store(self):
        store = self.kind()
        return lambda: store

class TestPlain(OneStore):
    pass

class TestMemory(OneStore):
    kind = MemoryStore

class TestBroken(OneStore):
    kind = IgnoresExpect

class TestForgotten(StoreContract):
    pass

class TestUnpicklable(StoreContract):
    @pytest.fixture
    def make_store(self):
        return lambda: Plain()
'''
LOOPS = {"strict": "session", "auto": "function"}  # the contract depends on neither


def names_of(contract: type[StoreContract]) -> set[str]:
    """The names of its tests."""
    return {name for name in dir(contract) if name[:5] == "test_" and getattr(contract, name)}


async def run(project: Path, mode: str, chosen: str) -> tuple[int | None, str]:
    """Run pytest in a project of its own, warnings being errors."""
    (project / "test_mine.py").write_text(PROJECT)
    (project / "pytest.ini").write_text(
        f"[pytest]\nasyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = {LOOPS[mode]}\n"
        "filterwarnings = error\naddopts = -rfEs --tb=short"
    )
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", chosen)
    process = await create_subprocess_exec(
        *command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        async with timeout(50):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output.decode()


async def test_stores_pass_in_a_project(tmp_path: Path) -> None:
    """One plain fixture is enough; feeds are skipped for a store that has none, saying why."""
    code, output = await run(tmp_path, "auto", "TestMemory")
    assert code == 0, output
    assert "skipped" not in output
    code, plain = await run(tmp_path, "strict", "TestPlain")
    assert code == 0, plain
    assert "Plain has no watch(): readers scan it and compare" in plain
    numbers = re.search(r"(\d+) passed, (\d+) skipped", plain)
    assert numbers
    assert f"{sum(map(int, numbers.groups()))} passed" in output


async def test_wrong_stores_fail_in_a_project(tmp_path: Path) -> None:
    """Failures say what must hold, how to write a fixture that is missing, and what to omit."""
    forgotten = "(TestForgotten and test_put_then_get)"
    unpicklable = "(TestUnpicklable and processes)"
    code, output = await run(tmp_path, "strict", f"TestBroken or {forgotten} or {unpicklable}")
    assert code == 1, output
    failed = set(re.findall(r"^FAILED test_mine.py::TestBroken::(\w+)", output, re.MULTILINE))
    assert {"test_expect_zero_creates", "test_increments_of_many_tasks"} <= failed
    assert "test_put_then_get" not in failed
    assert "put() must compare and write in one atomic step" in output
    assert "StoreContract needs a fixture named 'make_store' in TestForgotten" in output
    assert "return functools.partial(MyStore, tmp_path" in output
    assert "make_store must be picklable" in output
    assert 'omits={"processes": "why not"}' in output


def test_omitted_tests_are_gone() -> None:
    """An omission takes away the tests that need the ability, in subclasses too, and no others."""

    class Alone(StoreContract, omits={"handles": "alone"}):
        pass

    class Quiet(Alone, omits={"watch": "quiet"}):
        pass

    class Checked(Quiet):
        async def damage(self, store: TokenStore, key: str) -> None:
            raise NotImplementedError

    assert names_of(StoreContract) - names_of(Alone) >= {"test_stores_see_each_other"}
    assert names_of(Alone) - names_of(Quiet) >= {
        "test_wait_wakes_up",
        "test_feed_of_other_processes",
    }
    assert names_of(Quiet) >= {"test_compare_and_set_between_processes", "test_put_then_get"}
    assert names_of(Checked) - names_of(Quiet) == {"test_damage_is_not_absence"}
    assert dict(Quiet.omits) == {"handles": "alone", "watch": "quiet"}


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
