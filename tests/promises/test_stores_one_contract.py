"""Every store keeps the same contract: one `StoreContract`, which each of them runs.

The runs stand beside the other tests of each store. Here it is shown that none is missing, and that
each is whole: what a store leaves out is left out with a reason, and another run of it has it.
"""

from __future__ import annotations

import inspect
from typing import Final

import pytest

import twitchvault.stores
from tests.fernet import test_fernet_contract as fernet
from tests.redis_store import test_redis_contract as redis
from tests.stores import test_contract_custom as custom
from tests.stores import test_contract_memory as memory
from tests.stores import test_contract_sqlite as sqlite
from twitchvault import TokenStore
from twitchvault.testing import StoreContract

RUNS: Final[dict[str, list[type[StoreContract]]]] = {
    "MemoryStore": [memory.TestMemoryStore],
    "SQLiteStore": [sqlite.TestSQLiteStore],
    "RedisStore": [redis.TestUrl, redis.TestUnixSocket, redis.TestClient, redis.TestFakeRedis],
    "FernetStore over MemoryStore": [fernet.TestOverMemory],
    "FernetStore over SQLiteStore": [fernet.TestOverSQLite],
    "FernetStore over RedisStore": [fernet.TestOverRedis, fernet.TestOverFakeRedis],
    "FernetStore over a store of one's own": [fernet.TestOverCustom],
    "a store of one's own": [custom.TestFileStore],
}
LEFT_OUT: Final = {
    "MemoryStore": {"handles", "processes"},
    "FernetStore over MemoryStore": {"handles", "processes"},
    "FernetStore over RedisStore": {"processes"},
    "FernetStore over a store of one's own": {"watch", "processes"},
    "a store of one's own": {"watch"},
}
"""What no run of a store has: it cannot do that, or a test of real processes shows it."""


def test_every_store_has_a_run() -> None:
    """Each store that the package has, plain, and encrypted over each."""
    stores = {
        name
        for name in twitchvault.stores.__all__
        if inspect.isclass(store := getattr(twitchvault.stores, name))
        and issubclass(store, TokenStore)
        and store is not TokenStore
    }
    plain = stores - {"FernetStore"}
    assert plain | {f"FernetStore over {name}" for name in plain} <= set(RUNS)


@pytest.mark.parametrize("store", RUNS)
def test_the_runs_of_a_store_are_whole(store: str) -> None:
    """Between them they leave out what is said above, and nothing else; each says why."""
    left_out = set.intersection(*(set(run.omits) for run in RUNS[store]))
    assert left_out == LEFT_OUT.get(store, set())
    for run in RUNS[store]:
        assert issubclass(run, StoreContract)
        assert all(len(reason) > 10 for reason in run.omits.values())
