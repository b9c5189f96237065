"""The class that a store's author inherits from."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final

import pytest

from twitchvault.stores.base import TokenStore, Watchable
from twitchvault.testing.contract.busy_feeds import BusyFeeds
from twitchvault.testing.contract.concurrency import Concurrency
from twitchvault.testing.contract.entries import Entries
from twitchvault.testing.contract.feeds import Feeds
from twitchvault.testing.contract.keys import Keys
from twitchvault.testing.contract.kit import rule
from twitchvault.testing.contract.lifecycle import Lifecycle
from twitchvault.testing.contract.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Mapping

ABILITIES: Final = ("handles", "processes", "watch", "push")


@pytest.mark.asyncio(loop_scope="function")
class StoreContract(Entries, Keys, Lifecycle, Concurrency, Processes, Feeds, BusyFeeds):
    """The contract of a token store. Inherit, give it one fixture, run pytest:

        class TestMyStore(StoreContract):
            @pytest.fixture
            def make_store(self, tmp_path):
                return functools.partial(MyStore, tmp_path / "tokens.db")

    `make_store` is called without arguments and makes a store that is not open yet; the contract
    opens and closes it. All stores that one test makes stand for the same data, which is empty when
    the test starts; clean up in the fixture after a `yield` if need be. It is a plain fixture, so
    pytest-asyncio's auto and strict mode are the same to it. A `functools.partial` of a class or of
    a module's function can be pickled, which the tests between processes need.

    Feeds are tested if the store is `Watchable`, pushing if its feeds are a `PushingFeed`.

    What a store cannot do is said, with the reason, and its tests are not collected:

        class TestMyStore(StoreContract, omits={"processes": "the data live in this process"}):

    - `handles`: two store objects on the same data (`make_store` called twice)
    - `processes`: stores in several processes on the same data (`make_store` is pickled)
    - `watch`, `push`: feeds, and feeds that push; where they are lacking and this is not said, the
      tests are shown as skipped

    A store that can tell damaged data from absent data overrides `damage` to have that tested.

    Every wait is bounded, and its failure says what was expected. A store that blocks the event
    loop stops the bounds too: add pytest-timeout for that.
    """

    omits: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """What the store cannot do, and why."""

    def __init_subclass__(cls, *, omits: Mapping[str, str] | None = None) -> None:
        super().__init_subclass__()
        _check_omits(cls.__name__, omits or {})
        cls.omits = MappingProxyType({**cls.omits, **(omits or {})})
        left_out = set(cls.omits)
        if cls.damage is StoreContract.damage:
            left_out.add("damage")
        for name in dir(StoreContract):
            test = getattr(StoreContract, name)
            if left_out & getattr(test, "needs", frozenset()):
                setattr(cls, name, None)  # pytest collects no test that is None
            elif name not in vars(cls) and getattr(cls, name) is None:
                setattr(cls, name, test)  # a base class left it out, this one need not

    @rule()
    async def test_store_is_a_token_store(self, store: TokenStore) -> None:
        """The store has all methods of `TokenStore`, and 'omits' is true."""
        assert isinstance(store, TokenStore), (
            f"{type(store).__name__} must have open, close, get, put, delete and scan"
        )
        if "watch" in self.omits:
            assert not isinstance(store, Watchable), (
                f"{type(store).__name__} has a watch(), so 'watch' must not be in 'omits'"
            )


def _check_omits(owner: str, omits: Mapping[str, str]) -> None:
    """Raise unless each omission is one that exists and has a reason."""
    for ability, reason in omits.items():
        if ability not in ABILITIES:
            msg = f"{owner}: {ability!r} in 'omits' must be one of {', '.join(ABILITIES)}"
            raise TypeError(msg)
        if not reason.strip():
            msg = f"{owner}: 'omits' must say why it has no {ability!r}"
            raise TypeError(msg)
