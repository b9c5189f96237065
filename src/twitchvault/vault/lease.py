"""The right to exchange a refresh token, and what its owner's clocks say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twitchvault.vault.clocks import Stopwatch

if TYPE_CHECKING:
    from twitchvault.vault.clocks import Clocks
    from twitchvault.vault.record import Record

__all__ = ["Lease"]


class Lease:
    """The right to exchange the refresh token of `record`, which stands at `version`.

    `name` is who holds it, `user` the name that `Backoff` knows the user by. `sent`: a request has
    left; `answered`: its answer was taken as the flow closed. `given_up`: no request may leave any
    more. `losses` counts the store's losses when it was taken: after another one nothing may leave,
    either. `in_doubt`: the token may be spent.
    """

    def __init__(self, key: str, user: str, record: Record, losses: int, clocks: Clocks) -> None:
        self.key = key
        self.user = user
        self.name = record.lease or ""
        self.ttl = record.lease_ttl
        self.record = record
        self.version = 0
        self.losses = losses
        self.sent = False
        self.answered = False
        self.given_up = False
        self.in_doubt = False
        self._alive_for = 0.0
        self._clocks = clocks
        self._stopwatch = Stopwatch(clocks)
        self._doubt = self._stopwatch
        self._put_at = clocks.monotonic()

    def note_put(self, *, done: bool) -> None:
        """The lease stands in the store anew, or a put of it has failed: the next one is soon."""
        self._put_at = self._clocks.monotonic() - (0.0 if done else self.ttl / 4)

    def note_alive(self, seconds: float) -> None:
        """The access token cannot die by itself within so many seconds; 0: nothing is known."""
        self._alive_for = self._stopwatch.elapsed() + seconds if seconds else 0.0

    def killed(self, dead_for: float) -> bool:
        """Whether the access token, dead for so many seconds, cannot have died by itself."""
        return 0.0 <= self._stopwatch.elapsed() - dead_for < self._alive_for

    def note_doubt(self) -> None:
        """Its exchange has ended, and the token may be spent."""
        self._doubt = Stopwatch(self._clocks)

    @property
    def in_doubt_for(self) -> float:
        """Seconds since then."""
        return self._doubt.elapsed()

    @property
    def age(self) -> float:
        """Seconds since it was taken."""
        return self._stopwatch.elapsed()

    @property
    def renew_in(self) -> float:
        """Seconds until others must see that the owner lives."""
        return max(self._put_at + self.ttl / 3 - self._clocks.monotonic(), 0.0)

    @property
    def left(self) -> float:
        """Seconds for which a request may still leave."""
        return self.ttl / 2 - self._stopwatch.elapsed()
