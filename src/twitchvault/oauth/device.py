"""The device code grant (RFC 8628): the user signs in on another screen."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from twitchvault import inputs
from twitchvault.app import App
from twitchvault.errors import HTTPException, NoAnswer, RateLimited, TwitchServerError, WrongType
from twitchvault.http import DEFAULT_TIMEOUT
from twitchvault.loops import on_bound_loop
from twitchvault.scopes import scope_names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from twitchvault.helix import UserAPI
    from twitchvault.models import DeviceCode, Token

__all__ = ["DeviceCodeFlow", "poll"]

SLOW_DOWN: Final = 5.0
"""Seconds by which `slow_down` lengthens the interval for good (RFC 8628, section 3.5)."""
SHORTEST_POLL: Final = 1.0
"""Seconds that a poll is given even at the deadline: an approval may be in its answer."""
WAIT_TIMEOUT: Final = 300
_PASSING: Final = (NoAnswer, RateLimited, TwitchServerError)


class DeviceCodeFlow(App):
    """Shows the user a code and an address, and asks Twitch until the user has approved.

    Works with and without a client secret. Parameters as for `App`.
    """

    _interval: float = 0.0
    """Seconds between two polls, as the server has said last."""

    @on_bound_loop
    async def request_device_code(self, scopes: Iterable[str] = frozenset()) -> DeviceCode:
        """Start: show the user `verification_uri` and `user_code`.

        Twitch ignores scopes it does not get here; see the token's `scopes` for what was granted.
        """
        code = await self._core.identity.start_device(scopes)
        self._interval = code.interval
        return code

    @on_bound_loop
    async def get_device_token(self, device_code: str) -> Token:
        """Ask once. `BadRequest` with "authorization_pending" while the user has not decided.

        The answer is only returned: pass the pair to `add_user` to keep it.
        """
        device_code = inputs.word("device_code", device_code)
        return await self._core.identity.poll_device(device_code)

    @on_bound_loop
    async def wait_for_device_token(
        self, device_code: str, interval: float = 5, timeout: float = WAIT_TIMEOUT
    ) -> Token:
        """Ask until the user has approved; the first time after one interval.

        The interval is the larger of `interval` and what the server said last to this flow;
        `slow_down` adds 5 s for good. Network errors, 429 and 5xx do not end the wait.
        `TimeoutError` after `timeout` seconds (0, an `expires_in` that was not stated: 300),
        `BadRequest` if the code expired or was denied.
        """
        return await self._wait_for_token(device_code, interval, timeout, asyncio.Event())

    async def _wait_for_token(
        self, device_code: str, interval: float, timeout: float, idle: asyncio.Event
    ) -> Token:
        """`idle` is set again when an answer has granted nothing."""
        device_code = inputs.word("device_code", device_code)

        async def ask(left: float) -> Token:
            idle.clear()
            try:
                return await self._core.identity.poll_device(device_code, timeout=left)
            except BaseException:
                idle.set()
                raise

        def remember(longer: float) -> None:
            self._interval = longer

        interval = max(inputs.seconds("interval", interval), self._interval)
        timeout = inputs.seconds("timeout", timeout or WAIT_TIMEOUT)
        return await poll(ask, interval=interval, timeout=timeout, on_slow_down=remember)

    @on_bound_loop
    async def ensure_user(
        self,
        scopes: Iterable[str],
        show: Callable[[DeviceCode], object],
        *,
        user_id: str | None = None,
    ) -> UserAPI:
        """A stored user with these scopes, else one who signs in now; `user_id`: only that one.

        Of all processes that ask for the same at once, one requests a device code and calls
        `show(device_code)`, which may be a coroutine function; if it dies, another one does after
        `lease_ttl`. `TimeoutError` or `BadRequest` if nobody has approved in time, `AuthFailure` if
        another user than `user_id` did, whose token is revoked, or not all scopes were granted.
        A caller that is cancelled waits, 20 s at most, until a pair that was granted is stored.
        """
        from twitchvault.oauth.ensure import ensure_user  # noqa: PLC0415 - most programs do without

        if not callable(show):
            raise WrongType(f"'show' must be a function, not {type(show).__name__}")
        wanted = scope_names(scopes)
        user_id = None if user_id is None else self._user_id(user_id, app=False)
        lease_of = self._core.vault.login_lease
        return await ensure_user(self, wanted, show, user_id, lease_of, self._wait_for_token)


async def poll(
    ask: Callable[[float], Awaitable[Token]],
    *,
    interval: float,
    timeout: float,
    on_slow_down: Callable[[float], object] = lambda _interval: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> Token:
    """Call `ask`, with the seconds that it may take, until it succeeds or fails for good.

    `on_slow_down` is called with every longer interval.
    """
    deadline = clock() + timeout
    while True:
        await sleep(max(min(interval, deadline - clock()), 0.0))
        if clock() >= deadline:
            raise TimeoutError(f"the user has not approved within {timeout:g} s")
        try:
            return await ask(min(max(deadline - clock(), SHORTEST_POLL), DEFAULT_TIMEOUT))
        except HTTPException as error:
            if error.error_code == "slow_down":
                interval += SLOW_DOWN
                on_slow_down(interval)
            elif error.error_code != "authorization_pending" and not isinstance(error, _PASSING):
                raise
