"""The clocks of a simulated machine: one stands still in suspend, one does not, one is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twitchvault.vault.clocks import Clocks

if TYPE_CHECKING:
    from tests.simulation.host import Host
    from tests.simulation.loop import SimLoop

__all__ = ["EPOCH", "SimClocks"]

EPOCH: Final = 1_700_000_000.0
"""What a right wall clock shows when the virtual time is 0."""


class SimClocks(Clocks):
    """What one process reads time from. `wall_off`: seconds by which its wall clock is wrong."""

    def __init__(self, loop: SimLoop, host: Host, boot_offset: float, wall_off: float) -> None:
        self._loop = loop
        self._host = host
        self._boot_offset = boot_offset
        self.wall_off = wall_off

    def monotonic(self) -> float:
        """Seconds without those in suspend."""
        return self._loop.now + self._host.offset

    def boottime(self) -> float:
        """Seconds with those in suspend."""
        return self._loop.now + self._boot_offset

    def wall(self) -> float:
        """Seconds since the epoch, as far as this machine knows."""
        return EPOCH + self._loop.now + self.wall_off
