"""`StoreContract` finds the faults that stores have: each broken store here fails a named test."""

from __future__ import annotations

import functools
import inspect
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from twitchvault.testing import StoreContract

from .broken_feeds import Remote
from .broken_stores import DAMAGE, SeesDamage
from .right_store import FAULTS, Disk, Fault, Right

if TYPE_CHECKING:
    from twitchvault.stores.base import TokenStore


class Contract(StoreContract, omits={"processes": "test_contract_use has them"}):
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


async def run(contract: StoreContract, kind: type[Right], test: str) -> None:
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
        await run(Impatient() if hangs else Contract(), fault.store, fault.test)
    (rule,) = caught.value.__notes__
    assert rule.startswith("The rule: ")
    assert fault.said in f"{caught.value}\n{rule}"


@pytest.mark.parametrize("test", TESTS)
async def test_right_store_passes(test: str) -> None:
    """No test of the contract fails for a store without a fault."""
    await run(Contract(), Remote if "connections" in test else SeesDamage, test)
