"""The simulated store keeps the contract of stores, and loses data only as a real one may."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

import pytest

from tests.simulation.books import Books
from tests.simulation.profile import Profile, draw
from tests.simulation.server import Server
from tests.simulation.store import WatchedStore
from tests.simulation.weather import Muted, Weather
from twitchvault.testing import StoreContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.host import Host
    from tests.simulation.loop import SimLoop
    from tests.simulation.process import Process
    from tests.simulation.world import World


OMITS: Final = {"processes": "the data live in this process"}


class Empty:
    """A world and a process with nothing in it but a store."""

    def __init__(self, loop: SimLoop) -> None:
        muted = Muted()
        muted.calm = True
        self.loop = loop
        self.host: Host = loop.ground
        self.server = Server()
        self.books = Books()
        self.profile: Profile = draw(1)
        self.weather = Weather("empty", 1, self.profile, muted, 1.0)
        self.store_calls = 0
        self.cleared = False

    def out_of_reach(self) -> float:
        """The store is always there."""
        return 0.0

    def note(self, *_: object, **__: object) -> None:
        """Nobody reads it."""

    showed = stored = told_of_loss = note

    def store(self, *, pushes: bool) -> WatchedStore:
        """A store on the data of this world."""
        return WatchedStore(cast("World", self), cast("Process", self), pushes=pushes)


class TestSimulatedStore(StoreContract, omits=OMITS):
    """`StoreContract` on the simulated store, in virtual time."""

    @pytest.fixture(params=[True, False], ids=["pushing", "asked"])
    def make_store(self, request: pytest.FixtureRequest) -> Callable[[], WatchedStore]:
        """Makes stores on the same data, which push their changes or must be asked for them."""
        worlds: list[Empty] = []

        def make() -> WatchedStore:
            if not worlds:  # the loop of the test runs by now
                worlds.append(Empty(cast("SimLoop", asyncio.get_running_loop())))
            return worlds[0].store(pushes=request.param)

        return make
