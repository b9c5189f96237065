"""`StoreContract`: what a token store must do, as tests. Needs pytest and pytest-asyncio."""

from __future__ import annotations

import functools
import inspect
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import pytest

from twitchvault.stores.base import TokenStore, Watchable
from twitchvault.testing.contract.concurrency import Concurrency
from twitchvault.testing.contract.entries import Entries
from twitchvault.testing.contract.feeds import Feeds
from twitchvault.testing.contract.lifecycle import Lifecycle
from twitchvault.testing.contract.support import (
    CALL_TIMEOUT,
    TEST_TIMEOUT,
    ContractFixtures,
    time_limit,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ["StoreContract"]

ABILITIES: Final = {"handles": "", "processes": "in_processes", "watch": "watch"}
"""What a store may lack, and the fixture of the tests that need it."""
HOOKS: Final = {"damage": "damage_entry", "break_connections": "cut_connections"}
"""What the author may override, and the fixture of the tests that need it."""


@pytest.mark.asyncio(loop_scope="function")
class StoreContract(Entries, Lifecycle, Concurrency, Feeds):
    """The contract of a token store, as tests that its author inherits.

    Give it one fixture, and run pytest:

        class TestMyStore(StoreContract):
            @pytest.fixture
            def make_store(self, tmp_path):
                return functools.partial(MyStore, tmp_path / "tokens.db")

    `make_store` is called without arguments and makes a store that is not open yet; the contract
    opens and closes it. All stores that one test makes stand for the same data, which is empty when
    the test starts; clean up in the fixture after a `yield` if need be. A `functools.partial` of a
    class or of a module's function can be pickled, which the tests between processes need.

    Say what a store cannot do, with the reason:

        class TestMyStore(StoreContract, omits={"processes": "the data live in this process"}):

    - `handles`: two store objects on the same data; all tests then use one
    - `processes`: stores in several processes on the same data; their tests are not collected
    - `watch`: feeds of changes; their tests are not collected (else shown as skipped)

    A store that can tell damaged data from absent data overrides `damage` to have that tested; one
    that talks to a server overrides `break_connections`.
    Every wait is bounded, a call by `call_timeout` seconds. A store that blocks the event loop
    stops the bounds too: add pytest-timeout for that.
    """

    def __init_subclass__(cls, *, omits: Mapping[str, str] | None = None) -> None:
        super().__init_subclass__()
        for ability, reason in (omits or {}).items():
            _check_omission(cls.__name__, ability, reason)
        cls.omits = MappingProxyType({**cls.omits, **(omits or {})})
        missing = {ABILITIES[ability] for ability in cls.omits}
        missing |= {
            fixture
            for hook, fixture in HOOKS.items()
            if getattr(cls, hook) is getattr(ContractFixtures, hook)
        }
        for name, test in _tests(StoreContract):
            if missing & inspect.signature(test).parameters.keys():
                setattr(cls, name, None)  # pytest collects no test that is None
            elif name not in vars(cls) and getattr(cls, name) is None:
                setattr(cls, name, test)  # a base class left it out, this one need not

    async def test_store_is_a_token_store(self, store: TokenStore) -> None:
        """The store has all methods of `TokenStore`, and 'omits' is true."""
        name, watchable = type(store).__name__, isinstance(store, Watchable)
        methods = "open, close, get, put, delete and scan"
        assert isinstance(store, TokenStore), f"{name} must have {methods}"
        wrong = watchable and "watch" in self.omits
        assert not wrong, f"{name} has a watch(), so 'watch' must not be in 'omits'"
        wrong = getattr(store, "pushes_changes", False) and not watchable
        assert not wrong, f"{name} has no watch(), so it cannot have 'pushes_changes'"


def _tests(contract: type) -> list[tuple[str, Callable[..., Awaitable[None]]]]:
    return [(name, getattr(contract, name)) for name in dir(contract) if name.startswith("test_")]


def _bounded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """The test, which fails if it takes too long; each failure says the rule that was broken."""
    rule = " ".join(str(test.__doc__).split())

    @functools.wraps(test)
    async def bounded(self: ContractFixtures, **fixtures: object) -> None:
        CALL_TIMEOUT.set(self.call_timeout)
        try:
            async with time_limit(f"an end of the test {rule!r}", TEST_TIMEOUT):
                await test(self, **fixtures)
        except Exception as error:
            error.add_note(f"The rule: {rule}")
            raise

    return bounded


for name, test in _tests(StoreContract):
    setattr(StoreContract, name, _bounded(test))


def _check_omission(owner: str, ability: str, reason: str) -> None:
    if ability not in ABILITIES:
        raise TypeError(f"{owner}: {ability!r} in 'omits' must be one of {', '.join(ABILITIES)}")
    if not reason.strip():
        raise TypeError(f"{owner}: 'omits' must say why it has no {ability!r}")
