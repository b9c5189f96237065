"""All cases, in the order in which they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks import costs, opening, propagation, reads, storms, writes

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from benchmarks.runner import Plan, Result

CASES: Final[dict[str, Callable[[Plan], Coroutine[Any, Any, list[Result]]]]] = {
    "import": costs.imports,
    "read-memory": reads.memory,
    "read-sqlite": reads.sqlite,
    "open-sqlite": opening.sqlite,
    "open-redis": opening.redis,
    "open-encrypted": opening.encrypted,
    "write-sqlite": writes.sqlite,
    "write-one-by-one": writes.one_by_one,
    "write-redis": writes.redis,
    "write-connections": writes.connections,
    "storm": storms.one_process,
    "storm-processes": storms.processes,
    "storm-spread": storms.spread,
    "storm-cancel": storms.cancelled,
    "propagation-redis": propagation.redis,
    "memory": costs.memory,
    "hold": costs.hold,
    "helix": costs.helix,
}


def chosen(prefix: str) -> list[str]:
    """The cases of this name, or whose name begins with it; all if it is empty."""
    if prefix in CASES and not any(name.startswith(f"{prefix}-") for name in CASES):
        return [prefix]
    return [name for name in CASES if name.startswith(prefix)]
