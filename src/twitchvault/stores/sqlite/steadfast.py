"""A task that cancelling does not reach."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["Steadfast", "under_way"]

_T = TypeVar("_T")


class Steadfast(asyncio.Task[_T]):
    """A task for work that a thread has begun and that nobody can take back.

    Who awaits it through `asyncio.shield` may be cancelled; the work itself goes on, and an ending
    `asyncio.run` waits for it: the thread reports to a loop that still lives. What runs in here
    must end by itself.
    """

    def __init__(self, work: Coroutine[Any, Any, _T]) -> None:
        super().__init__(work, loop=asyncio.get_running_loop())

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002
        """Do nothing; False, as nothing was cancelled."""
        return False

    def abandon(self) -> None:
        """Cancel it after all: it took longer than it is allowed to."""
        super().cancel()


def under_way(task: asyncio.Task[Any] | None) -> bool:
    """Whether there is a task that will still end; with its loop closed it will not."""
    return task is not None and not task.done() and not task.get_loop().is_closed()
