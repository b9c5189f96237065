"""Coroutine tests of the simulation run in virtual time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tests.simulation.loop import SimLoop

if TYPE_CHECKING:
    from collections.abc import Callable


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], SimLoop]]:
    """The one loop that they run on."""
    return {"simulated": lambda: SimLoop(random.Random(1))}
