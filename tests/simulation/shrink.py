"""Makes a failing run shorter: leaves out what does not matter to the promise that it broke."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

from tests.simulation import world

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.result import Result

__all__ = ["Simulate", "shrink"]


Simulate: TypeAlias = "Callable[..., Result]"
"""Runs a seed, without what is muted."""


def shrink(
    failed: Result, seconds: float, kind: str, simulate: Simulate = world.simulate
) -> Result:
    """The shortest run found in that time with a violation of the same kind."""
    deadline = time.monotonic() + seconds
    best, muted = failed, frozenset[str]()
    size = max(1, len(failed.happened) // 2)
    while time.monotonic() < deadline:
        smaller = _without_a_part(best, muted, size, kind, simulate)
        if smaller is not None:
            best, muted = smaller
        elif size == 1:
            break
        else:
            size = max(1, size // 2)
    return best


def _without_a_part(
    best: Result, muted: frozenset[str], size: int, kind: str, simulate: Simulate
) -> tuple[Result, frozenset[str]] | None:
    names = best.happened
    for start in range(0, len(names), size):
        without = muted | frozenset(names[start : start + size])
        result = simulate(best.seed, without)
        if any(violation.kind == kind for violation in result.violations):
            return result, without
    return None
