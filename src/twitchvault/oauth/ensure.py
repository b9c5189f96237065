"""One device login for all processes that need the same user."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from twitchvault.errors import (
    AuthFailure,
    CorruptRecord,
    DecryptionError,
    HTTPException,
    TokenError,
)
from twitchvault.oauth.granted import with_retries
from twitchvault.vault.record import fingerprint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from twitchvault.helix import UserAPI
    from twitchvault.models import DeviceCode, Token
    from twitchvault.oauth.device import DeviceCodeFlow
    from twitchvault.vault.login_lease import LoginLease

__all__ = ["ensure_user"]

SHORTEST_INTERVAL: Final = 1
"""Seconds between two polls, also where the server says 0."""
STORING: Final = 20.0
"""Seconds for which a login that is given up waits until a pair that was granted is stored."""
LOOK: Final = 1.0
"""Seconds between two looks of a process that waits for another one's login."""


async def ensure_user(
    flow: DeviceCodeFlow,
    scopes: Sequence[str],
    show: Callable[[DeviceCode], object],
    user_id: str | None,
    lease_of: Callable[[str], LoginLease],
    wait: Callable[[str, float, float, asyncio.Event], Awaitable[Token]],
) -> UserAPI:
    """See `DeviceCodeFlow.ensure_user`; `lease_of` makes the lease of a name.

    `wait` is `wait_for_device_token`; it clears the event while an answer is on its way.
    """
    wanted = _Wanted(flow, scopes, user_id, show, wait)
    lease = lease_of(fingerprint(" ".join([user_id or "", *sorted(set(scopes))])))
    while True:
        is_ours = await lease.take()
        try:
            # After the lease was taken: the login of its last owner shows by now.
            await flow.sync()
            user = wanted.stored()
            if user is None and is_ours:
                user = await wanted.validated()
                if user is None and await lease.renew():  # it may have run out meanwhile
                    user = await _sign_in(wanted.sign_in, lease)
            if user is not None:
                return user
        finally:
            if is_ours:
                await lease.give_back()
        await asyncio.sleep(min(LOOK, lease.ttl / 3))


class _Wanted(NamedTuple):
    """A user with these scopes; with a `user_id`, that one."""

    flow: DeviceCodeFlow
    scopes: Sequence[str]
    user_id: str | None
    show: Callable[[DeviceCode], object]
    wait: Callable[[str, float, float, asyncio.Event], Awaitable[Token]]

    def stored(self) -> UserAPI | None:
        """Such a user in the vault, as far as scopes are known."""
        granted = self.flow.users_scopes
        for candidate in [self.user_id] if self.user_id else sorted(granted):
            enough = set(self.scopes) <= set(granted.get(candidate, ()))
            if enough and candidate in granted and candidate not in self.flow.needs_login:
                return self.flow.get_user_by_id(candidate)
        return None

    async def validated(self) -> UserAPI | None:
        """Such a user among those whose scopes nobody knows yet."""
        flow = self.flow
        known = flow.users_scopes.keys() | flow.needs_login.keys() | {flow.http.client_id}
        for candidate in [self.user_id] if self.user_id else sorted(flow.tokens):
            if candidate in flow.tokens and candidate not in known:
                # Whoever cannot be used has to sign in; a bad moment condemns nobody.
                with suppress(AuthFailure, TokenError, CorruptRecord, DecryptionError):
                    user = flow.get_user_by_id(candidate)
                    token = user.token
                    await with_retries(partial(user.renew, token))
                if found := self.stored():
                    return found
        return None

    async def sign_in(self, idle: asyncio.Event) -> UserAPI:
        """The user who has approved; `idle` is set as long as nothing can have been granted."""
        flow = self.flow
        code = await flow.request_device_code(self.scopes)
        shown = self.show(code)
        if inspect.isawaitable(shown):
            await shown
        interval = max(code.interval, SHORTEST_INTERVAL)
        token = await self.wait(code.device_code, interval, code.expires_in, idle)
        await self._check_user(token.access_token)
        user = await with_retries(lambda: flow.add_user(token.access_token, token.refresh_token))
        if missing := sorted(set(self.scopes) - set(user.scopes)):
            msg = f"user {user.user_id!r} has signed in, but Twitch has not granted {missing}"
            raise AuthFailure(msg)
        return user

    async def _check_user(self, access_token: str) -> None:
        """Revoke the token and raise if it is another user's."""
        if self.user_id is None:
            return
        found = (await with_retries(lambda: self.flow.validate_token(access_token))).user_id
        if found == self.user_id:
            return
        try:
            await self.flow.revoke_token(access_token)
            what = "the token was revoked"
        except HTTPException as error:
            what = f"the token could not be revoked ({error})"
        msg = f"user {found!r} has signed in, not {self.user_id!r}: {what}, and nothing is stored"
        raise AuthFailure(msg)


async def _sign_in(
    work: Callable[[asyncio.Event], Coroutine[None, None, UserAPI]], lease: LoginLease
) -> UserAPI | None:
    """The user who has approved; None if another process has taken the lease over meanwhile."""
    idle = asyncio.Event()
    idle.set()
    task = asyncio.create_task(work(idle), name="twitchvault login")
    is_ours = True
    try:
        while is_ours and not task.done():
            await asyncio.wait((task,), timeout=lease.ttl / 3)
            is_ours = task.done() or await lease.renew()
    finally:
        try:
            await _wait_for_grant(task, idle)
        finally:
            task.cancel()
            await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # or it is logged if the caller was cancelled in the same moment
    return None if task.cancelled() and not is_ours else task.result()


async def _wait_for_grant(task: asyncio.Task[UserAPI], idle: asyncio.Event) -> None:
    """Return once the login has ended, or nothing can have been granted to it."""
    unless = asyncio.create_task(idle.wait(), name="twitchvault login")
    try:
        both = (task, unless)
        await asyncio.wait(both, timeout=STORING, return_when=asyncio.FIRST_COMPLETED)
    finally:
        unless.cancel()
