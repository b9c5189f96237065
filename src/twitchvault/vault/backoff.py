"""When this process must not ask Twitch for a refresh, so that nothing loops.

After a failure it waits 2 s, doubling up to a minute. After three refreshes of which none gave a
token that Twitch accepted, it waits 10 s, doubling up to an hour, with one refresh in between.
Calls get the error at once meanwhile.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from twitchvault.errors import HTTPException, TwitchVaultError, Unauthorized, fresh_copy
from twitchvault.vault.clocks import Stopwatch

if TYPE_CHECKING:
    from twitchvault.vault.clocks import Clocks

__all__ = ["Backoff"]

FIRST_PAUSE: Final = 2.0
LONGEST_PAUSE: Final = 60.0
UNPROVEN: Final = 3
"""Refreshes for one user before one of the tokens that they gave was accepted."""
FIRST_REST: Final = 10.0
LONGEST_REST: Final = 3600.0
FORGOTTEN_AFTER: Final = 3600.0
"""Seconds after which the last pair proves nothing: whoever uses it may be another process."""
ACCEPTED_FOR: Final = 60.0
"""Seconds for which it counts that Twitch has accepted a token."""
UNKNOWN_LIFE: Final = 360.0
"""A token whose end is not known outlives an exchange, whose answer takes 300 s at most."""
SKEW: Final = 60.0
"""Seconds by which the clock that wrote a record may be ahead."""
MAX_REMEMBERED: Final = 1000
"""Users of whom it is remembered how their access token died."""
MARGIN: Final = 10.0
"""Seconds that a validation's answer may have been under way."""


@dataclass(slots=True)
class _Attempts:
    """What this process has tried for one user since Twitch accepted a token of theirs."""

    unproven: int = 0
    last: float = 0.0
    pause: float = 0.0
    until: float = 0.0
    rested: bool = False
    error: TwitchVaultError | None = None

    @property
    def ended_at(self) -> float:
        """When the last refresh or pause was over."""
        return max(self.last, self.until)


class _Accepted(NamedTuple):
    """Twitch has accepted an access token, which lives for `lives` seconds; None: unknown."""

    token: str
    since: Stopwatch
    lives: float | None

    @property
    def left(self) -> float | None:
        return None if self.lives is None else self.lives - self.since.elapsed()


class _Dead(NamedTuple):
    """Since when an access token is known to be dead, and as what it had been accepted before."""

    since: Stopwatch
    accepted: _Accepted | None


class Backoff:
    """Attempts by name: a user id, or a seed's key."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._attempts: defaultdict[str, _Attempts] = defaultdict(_Attempts)
        self._accepted: dict[str, _Accepted] = {}
        self._expected: dict[str, _Accepted] = {}
        self._dead: dict[str, _Dead] = {}

    def check(self, name: str) -> None:
        """Raise the last error while this user is not to be asked for."""
        attempts = self._attempts.get(name)
        if attempts and attempts.error and self._clocks.monotonic() < attempts.until:
            raise fresh_copy(attempts.error)

    def is_exhausted(self, name: str) -> bool:
        """Whether no refresh is left until a token was accepted, or this process has rested."""
        attempts = self._attempts.get(name)
        if attempts is None or attempts.rested or attempts.unproven < UNPROVEN:
            return False
        return self._clocks.monotonic() - attempts.last < FORGOTTEN_AFTER

    def rest(self, name: str) -> Unauthorized:
        """Begin to rest; returns the error for all who ask meanwhile."""
        attempts = self._attempts[name]
        self._pause(attempts, FIRST_REST, LONGEST_REST)
        msg = (
            f"Twitch accepts none of the tokens that it gave in {attempts.unproven} refreshes; "
            f"the next one is tried in {attempts.pause:.0f} s"
        )
        attempts.error = error = Unauthorized(401, msg)
        attempts.rested = True
        return error

    def failed(self, name: str, error: HTTPException) -> None:
        """A refresh has failed: do not ask again in the next seconds."""
        attempts = self._attempts[name] = self._attempts.pop(name, _Attempts())
        attempts.error = error
        self._pause(attempts, FIRST_PAUSE, LONGEST_PAUSE)
        old = self._clocks.monotonic() - FORGOTTEN_AFTER
        while (oldest := next(iter(self._attempts.items())))[1].ended_at < old:
            del self._attempts[oldest[0]]

    def _pause(self, attempts: _Attempts, first: float, longest: float) -> None:
        attempts.pause = min(max(attempts.pause * 2, first), longest)
        attempts.until = self._clocks.monotonic() + attempts.pause

    def sent(self, name: str) -> None:
        """A refresh request leaves."""
        self._attempts[name].rested = False

    def succeeded(self, name: str) -> None:
        """A refresh gave a pair; whether it is good is not known."""
        attempts = self._attempts[name]
        attempts.error = None
        now = self._clocks.monotonic()
        if now - attempts.last >= FORGOTTEN_AFTER:
            attempts.unproven = 0
        attempts.unproven += 1
        attempts.last = now
        if attempts.unproven <= UNPROVEN:
            attempts.pause = 0.0

    def accepted(
        self, name: str, token: str, lives: float = 0.0, *, as_recorded: float | None = None
    ) -> None:
        """Twitch has accepted this access token.

        `lives`: for how many seconds more, if it said so now. `as_recorded`: by its record, which
        is believed if that is soon: a clock that is wrong by hours wrote no such time.
        """
        found = lives or None
        self._attempts.pop(name, None)
        self._dead.pop(name, None)
        # The newest stands last. An answer may come after a later one that has refused the token.
        for known in (self._accepted.pop(name, None), self._expected.pop(name, None)):
            if found is None and known is not None and known.token == token:
                found = known.left
        if found is not None and found < -SKEW:
            found = None  # it lives all the same: a clock was set
        if found is None and as_recorded is not None and 0.0 < as_recorded < UNKNOWN_LIFE + SKEW:
            found = as_recorded - SKEW
        self._accepted[name] = _Accepted(token, Stopwatch(self._clocks), found)
        while (oldest := next(iter(self._accepted))) != name:  # a clock may be set just now
            if self._accepted[oldest].since.elapsed() < ACCEPTED_FOR:
                break
            del self._accepted[oldest]

    def refused(self, name: str) -> None:
        """Twitch has refused the user's access token."""
        known = self._accepted.pop(name, None)
        self._dead.setdefault(name, _Dead(Stopwatch(self._clocks), known))
        _limit(self._dead)

    def dead_for(self, name: str) -> float:
        """Seconds since Twitch first refused the user's access token."""
        return self._dead[name].since.elapsed() if name in self._dead else 0.0

    def accepted_ago(self, name: str, token: str) -> float:
        """Seconds since Twitch has accepted this access token, infinity if that is not known."""
        dead = self._dead.get(name)
        known = self._accepted.get(name) or (dead and dead.accepted)
        return known.since.elapsed() if known and known.token == token else math.inf

    def expect_alive(self, name: str, token: str, left: float) -> None:
        """If Twitch has accepted this access token within the minute: found dead, it was killed.

        `left`: seconds until it runs out by itself, as far as its record says.
        """
        if self.was_accepted(name, token):
            lives = self._accepted[name].left
            seconds = left - SKEW if lives is None else lives - MARGIN
            if seconds < -2 * SKEW:
                seconds = UNKNOWN_LIFE  # it lives all the same: a clock was set
            self._expected.pop(name, None)
            self._expected[name] = _Accepted(token, Stopwatch(self._clocks), seconds)
            _limit(self._expected)

    def was_killed(self, name: str, token: str) -> bool:
        """Whether this access token, which is dead, cannot have died by itself."""
        expected = self._expected.get(name)
        return expected is not None and expected.token == token and (expected.left or 0.0) > 0

    def was_accepted(self, name: str, token: str) -> bool:
        """Whether Twitch has accepted this access token within the last minute."""
        known = self._accepted.get(name)
        if known is None or known.token != token:
            return False
        return known.since.elapsed() < ACCEPTED_FOR

    def alive_for(self, name: str, token: str) -> float:
        """Seconds for which this access token, which lives, cannot die by itself."""
        if not self.was_accepted(name, token):
            return 0.0
        left = self._accepted[name].left
        return UNKNOWN_LIFE if left is None else max(left - MARGIN, 0.0)

    def forget(self, name: str) -> None:
        """Begin anew. What is known of an access token stays, since the same one may come again."""
        self._attempts.pop(name, None)


def _limit(users: dict[str, Any]) -> None:
    if len(users) > MAX_REMEMBERED:
        del users[next(iter(users))]
