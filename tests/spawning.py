"""Real processes that start in 20 ms: forked from one that has imported what they all need.

That one is started anew by multiprocessing, so it has no thread and no loop of the tests'.
"""

from __future__ import annotations

import multiprocessing
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkServerProcess

if sys.platform == "win32":
    CONTEXT: Final = multiprocessing.get_context("spawn")
else:
    CONTEXT: Final = multiprocessing.get_context("forkserver")
    CONTEXT.set_forkserver_preload(
        [
            "twitchvault.cli",
            "twitchvault.testing.fake",
            "aiosqlite",
            "redis.asyncio",
            "cryptography",
        ]
    )


def fork(target: Callable[..., None], *arguments: Any) -> ForkServerProcess:  # noqa: ANN401
    """A process that runs `target`, a function of a module."""
    process = CONTEXT.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process
