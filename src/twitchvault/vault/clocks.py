"""The clocks of a process: the one place where the vault reads the time."""

from __future__ import annotations

import time
from typing import Final

__all__ = ["Clocks", "Stopwatch"]

_COUNTS_SUSPEND: Final[int | None] = getattr(
    time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None)
)
"""Linux has CLOCK_BOOTTIME. On macOS CLOCK_MONOTONIC counts suspend, which `monotonic` does not."""


class Clocks:
    """The clocks of this machine, in seconds."""

    def monotonic(self) -> float:
        """For intervals. It may stand still while the machine is suspended."""
        return time.monotonic()

    def boottime(self) -> float:
        """Like `monotonic`, but it also counts suspend, where the system has such a clock."""
        return time.monotonic() if _COUNTS_SUSPEND is None else time.clock_gettime(_COUNTS_SUSPEND)

    def wall(self) -> float:
        """Epoch seconds, for times that are stored. It may jump."""
        return time.time()


class Stopwatch:
    """Measures how long something may have taken, by the clock that says most."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._start = self._read()

    def elapsed(self) -> float:
        """Seconds since the stopwatch was made."""
        return max(now - then for now, then in zip(self._read(), self._start, strict=True))

    def _read(self) -> tuple[float, float, float]:
        clocks = self._clocks
        return clocks.monotonic(), clocks.boottime(), clocks.wall()
