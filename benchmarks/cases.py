"""All cases, in the order in which they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks import costs, news, opens, reads, storms, writes

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from benchmarks.race import Outcome, Plan

CASES: Final[dict[str, Callable[[Plan], Coroutine[Any, Any, list[Outcome]]]]] = {
    "import": costs.imports,
    "read-memory": reads.memory,
    "read-sqlite": reads.sqlite,
    "open-sqlite": opens.sqlite,
    "open-redis": opens.redis,
    "open-encrypted": opens.encrypted,
    "write-sqlite": writes.sqlite,
    "write-one-by-one": writes.one_by_one,
    "write-redis": writes.redis,
    "write-crowd": writes.crowd,
    "storm": storms.one_process,
    "storm-processes": storms.processes,
    "storm-spread": storms.spread,
    "storm-cancel": storms.cancelled,
    "news-redis": news.redis,
    "memory": costs.memory,
    "hold": costs.hold,
    "helix": costs.helix,
}


def chosen(wanted: str) -> list[str]:
    """The cases of this name, or whose name begins with it; all if it is empty."""
    if wanted in CASES and not any(name.startswith(f"{wanted}-") for name in CASES):
        return [wanted]
    return [name for name in CASES if name.startswith(wanted)]
