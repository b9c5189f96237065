"""The clocks of a process: the one place where the vault reads the time."""

from __future__ import annotations

import sys
import time

__all__ = ["Clocks", "Stopwatch"]


class Clocks:
    """The clocks of this machine, in seconds."""

    def monotonic(self) -> float:
        """For intervals. It may stand still while the machine is suspended."""
        return time.monotonic()

    def boottime(self) -> float:
        """Like `monotonic`, but it also counts suspend, where the system has such a clock."""
        if sys.platform != "win32" and hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        if sys.platform == "darwin":
            return time.clock_gettime(time.CLOCK_MONOTONIC)  # `time.monotonic` stands still here
        return time.monotonic()

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
