"""When this process must not ask Twitch for a refresh, so that nothing loops.

After a failure it waits 2 s, doubling up to a minute. After three refreshes of which none gave a
token that Twitch accepted, it waits 10 s, doubling up to an hour, with one refresh in between.
Calls get the error at once meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twitchvault.errors import HTTPException, TwitchVaultError, Unauthorized, fresh_copy

if TYPE_CHECKING:
    from twitchvault.vault.clocks import Clocks

__all__ = ["Backoff"]

FIRST_PAUSE: Final = 2.0
LONGEST_PAUSE: Final = 60.0
UNPROVEN: Final = 3
"""Refreshes for one user before one of the tokens that they gave was accepted."""
FIRST_REST: Final = 10.0
LONGEST_REST: Final = 3600.0
ACCEPTED_FOR: Final = 60.0
"""Seconds for which it counts that Twitch has accepted a token."""


class _Attempts:
    """What this process has tried for one user since Twitch accepted a token of theirs."""

    __slots__ = ("error", "pause", "rested", "sent", "until")

    def __init__(self) -> None:
        self.sent = 0
        self.pause = 0.0
        self.until = 0.0
        self.rested = False
        self.error: TwitchVaultError | None = None


class Backoff:
    """Attempts by name: a user id, or a seed's key."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._attempts: dict[str, _Attempts] = {}
        self._accepted: dict[str, tuple[str, float]] = {}

    def check(self, name: str) -> None:
        """Raise the last error while this user is not to be asked for."""
        attempts = self._attempts.get(name)
        if attempts is None or attempts.error is None:
            return
        if self._clocks.monotonic() < attempts.until:
            raise fresh_copy(attempts.error)

    def is_exhausted(self, name: str) -> bool:
        """Whether no refresh is left until a token was accepted, or this process has rested."""
        attempts = self._attempts.get(name)
        return attempts is not None and attempts.sent >= UNPROVEN and not attempts.rested

    def rest(self, name: str) -> Unauthorized:
        """Begin to rest; returns the error for all who ask meanwhile."""
        attempts = self._get(name)
        attempts.pause = min(max(attempts.pause * 2, FIRST_REST), LONGEST_REST)
        msg = (
            f"Twitch accepts none of the tokens that it gave in {attempts.sent} refreshes; "
            f"the next one is tried in {attempts.pause:.0f} s"
        )
        error = Unauthorized(401, msg)
        attempts.error, attempts.rested = error, True
        attempts.until = self._clocks.monotonic() + attempts.pause
        return error

    def failed(self, name: str, error: HTTPException) -> None:
        """A refresh has failed: do not ask again in the next seconds."""
        attempts = self._get(name)
        attempts.pause = min(max(attempts.pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
        attempts.error = error
        attempts.until = self._clocks.monotonic() + attempts.pause

    def sent(self, name: str) -> None:
        """A refresh request leaves."""
        attempts = self._get(name)
        attempts.sent += 1
        attempts.rested = False

    def succeeded(self, name: str) -> None:
        """A refresh gave a pair; whether it is good is not known."""
        attempts = self._get(name)
        attempts.error = None
        if attempts.sent <= UNPROVEN:
            attempts.pause = 0.0

    def accepted(self, name: str, token: str) -> None:
        """Twitch has accepted this access token."""
        self._attempts.pop(name, None)
        now = self._clocks.monotonic()
        self._accepted.pop(name, None)  # the newest stands last
        self._accepted[name] = (token, now)
        while now - self._accepted[oldest := next(iter(self._accepted))][1] >= ACCEPTED_FOR:
            del self._accepted[oldest]

    def refused(self, name: str) -> None:
        """Twitch has refused the user's access token."""
        self._accepted.pop(name, None)

    def was_accepted(self, name: str, token: str) -> bool:
        """Whether Twitch has accepted this access token within the last minute."""
        known, at = self._accepted.get(name, ("", 0.0))
        return known == token and self._clocks.monotonic() - at < ACCEPTED_FOR

    def forget(self, name: str) -> None:
        """Nothing has to be remembered any more."""
        self._attempts.pop(name, None)
        self._accepted.pop(name, None)

    def clear(self) -> None:
        """Forget all."""
        self._attempts.clear()
        self._accepted.clear()

    def _get(self, name: str) -> _Attempts:
        return self._attempts.setdefault(name, _Attempts())
