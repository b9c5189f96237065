"""One simulated process as the loop sees it: what it has to run, and the clock that it reads."""

from __future__ import annotations

from collections import deque
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.loop import SimTask

__all__ = ["HOST", "Callback", "Host", "Timer"]

Timer: TypeAlias = "tuple[float, int, Host, Callback]"
"""The virtual time at which it is due, a number, and what has to run then."""


class Callback(msgspec.Struct, eq=False):
    """What a host has to run, or a timer: as an `asyncio.TimerHandle`, and quickly made."""

    context: Context
    call: tuple[Any, ...]
    """A function and its arguments."""
    due: float = 0.0
    hops: int = 0
    """Turns of its host that it lets pass first."""
    gone: bool = False

    def cancel(self) -> None:
        """Never run it."""
        self.gone = True

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.gone

    def when(self) -> float:
        """The time of its host's monotonic clock at which it is due."""
        return self.due


class Ready(deque[Callback]):
    """The callbacks that a host has to run now, in order."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.host = host


class Host:
    """One simulated process as the loop sees it: what it has to run, its timers, its clock."""

    def __init__(self, name: str, *, offset: float = 0.0) -> None:
        self.name = name
        self.context = copy_context()
        self.context.run(HOST.set, self)
        self.ready = Ready(self)
        self.missed: list[Timer] = []
        """Timers that fell due while it was held."""
        self.tasks: list[SimTask[Any]] = []
        self.offset = offset
        """What its monotonic clock shows more than the virtual one."""
        self.held = False
        self.dead = False
        self.steps = 0
        self.trap_at = 0
        """Before this step `trap` is called; 0: never."""
        self.trap: Callable[[], None] = lambda: None
        self.still = 0.0
        """Seconds for which it was held, without the present time."""
        self.held_since = 0.0

    def __repr__(self) -> str:
        return f"<Host {self.name}>"

    def ran(self, now: float) -> float:
        """Seconds for which it was not held, plus a constant."""
        return now - self.still - (now - self.held_since if self.held else 0.0)


HOST: Final[ContextVar[Host]] = ContextVar("host")
