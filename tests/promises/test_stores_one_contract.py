"""Every store keeps the same contract: one `StoreContract`, which each of them runs.

The runs stand beside the other tests of each store. `tests/test_registries.py` asks for one of
every store that the package has; here it is shown that the runs are complete.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

import pytest

from twitchvault.testing import StoreContract

TESTS: Final = Path(__file__).parents[1]
MODULES: Final = [
    "tests." + ".".join(path.relative_to(TESTS).with_suffix("").parts)
    for path in sorted(TESTS.rglob("test_*contract.py"))
    if path.parent != Path(__file__).parent
]


def runs_of(module: str) -> dict[str, type[StoreContract]]:
    """The runs of the contract in a module of tests, by their names."""
    return {
        name: run
        for name, run in vars(import_module(module)).items()
        if name.startswith("Test") and issubclass(run, StoreContract)
    }


def test_the_stores_of_the_promise() -> None:
    """Memory, SQLite, Redis on a real server and on fakeredis, and Fernet over each of them."""
    names = {name for module in MODULES for name in runs_of(module)}
    assert names >= {"TestMemoryStore", "TestSQLiteStore", "TestUrl", "TestFakeRedis"}
    assert names >= {"TestOverMemory", "TestOverSQLite", "TestOverRedis", "TestOverFakeRedis"}


@pytest.mark.parametrize("module", MODULES)
def test_what_one_run_leaves_out_another_has(module: str) -> None:
    """No part of the contract is left out by all runs of a module."""
    left_out = [set(run.omits) for run in runs_of(module).values()]
    assert left_out, f"{module} has no run"
    assert set.intersection(*left_out) == set()
