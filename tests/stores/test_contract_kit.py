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


NEEDS = {
    name: getattr(StoreContract, name).needs
    for name in dir(StoreContract)
    if name.startswith("test_")
}
LOOPS = {"strict": "session", "auto": "function"}  # the contract depends on neither


async def run(project: Path, mode: str, *arguments: str) -> tuple[int | None, str]:
    """Run pytest in a project of its own, warnings being errors."""
    (project / "test_mine.py").write_text(PROJECT)
    (project / "pytest.ini").write_text(
        f"[pytest]\nasyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = {LOOPS[mode]}\n"
        "filterwarnings = error\naddopts = -rfEs --tb=short"
    )
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments)
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


@pytest.mark.parametrize("mode", ["strict", "auto"])
async def test_right_stores_pass_in_a_project(mode: str, tmp_path: Path) -> None:
    """One plain fixture is enough; what does not apply is skipped, saying why."""
    plain = mode == "strict"
    code, output = await run(tmp_path, mode, "-k", "TestPlain" if plain else "TestMemory")
    assert code == 0, output
    run_here = [need for need in NEEDS.values() if not need & {"handles", "processes", "damage"}]
    with_feed = sum("watch" in need for need in run_here)
    if plain:
        assert f"{len(run_here) - with_feed} passed, {with_feed} skipped" in output
        assert "Plain has no watch(): readers scan it and compare" in output
    else:
        assert f"{len(run_here)} passed" in output
        assert "skipped" not in output


async def test_wrong_stores_fail_in_a_project(tmp_path: Path) -> None:
    """Failures say what must hold, how to write a fixture that is missing, and what to omit."""
    broken = "TestBroken"
    forgotten = "(TestForgotten and test_put_then_get)"
    unpicklable = "(TestUnpicklable and processes)"
    code, output = await run(tmp_path, "strict", "-k", f"{broken} or {forgotten} or {unpicklable}")
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

    def left(contract: type[StoreContract]) -> set[str]:
        return {n for n in dir(contract) if n.startswith("test_") and getattr(contract, n)}

    assert left(StoreContract) - left(Alone) >= {"test_stores_see_each_other"}
    assert left(Alone) - left(Quiet) >= {"test_wait_wakes_up", "test_feed_of_other_processes"}
    assert left(Quiet) >= {"test_compare_and_set_between_processes", "test_put_then_get"}
    assert left(Checked) - left(Quiet) == {"test_damage_is_not_absence"}
    assert dict(Quiet.omits) == {"handles": "alone", "watch": "quiet"}


def test_omission_without_reason() -> None:
    """An unknown ability and an empty reason are errors when the class is made."""
    with pytest.raises(TypeError, match=r"^Odd: 'sync' in 'omits' must be one of handles, proc"):
        type("Odd", (StoreContract,), {}, omits={"sync": "why"})
    with pytest.raises(TypeError, match=r"^Odd: 'omits' must say why it has no 'watch'$"):
        type("Odd", (StoreContract,), {}, omits={"watch": " "})


def test_every_test_tells_its_promise() -> None:
    """Each test of the contract has a docstring: a failure in time names it."""
    assert [name for name in NEEDS if not getattr(StoreContract, name).__doc__] == []
    assert len(NEEDS) > 60
