"""One device login for all processes that need the same user."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from twitchvault.errors import AuthFailure, HTTPException, TwitchVaultError
from twitchvault.oauth.granted import with_retries
from twitchvault.vault.record import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twitchvault.helix import UserAPI
    from twitchvault.models import DeviceCode
    from twitchvault.oauth.device import DeviceCodeFlow
    from twitchvault.vault.login_lease import LoginLease

__all__ = ["ensure_user"]

SHORTEST_INTERVAL: Final = 1
"""Seconds between two polls, also where the server says 0."""
STORING: Final = 4.0
"""Seconds for which a caller that was cancelled waits until a pair that was granted is stored."""
LOOK: Final = 1.0
"""Seconds between two looks of a process that waits for another one's login."""


async def ensure_user(
    flow: DeviceCodeFlow,
    scopes: Sequence[str],
    show: Callable[[DeviceCode], object],
    user_id: str | None,
    lease_of: Callable[[str], LoginLease],
) -> UserAPI:
    """See `DeviceCodeFlow.ensure_user`; `lease_of` makes the lease of a name."""
    lease = lease_of(fingerprint(" ".join([user_id or "", *sorted(set(scopes))])))
    while True:
        is_ours = await lease.take()
        try:
            # After the lease was taken: the login of its last owner shows by now.
            await flow.sync()
            user = _stored_user(flow, scopes, user_id)
            if user is None and is_ours:
                user = await _first_validated(flow, scopes, user_id)
                user = user or await _sign_in(flow, scopes, show, user_id, lease)
            if user is not None:
                return user
        finally:
            if is_ours:
                await lease.give_back()
        await asyncio.sleep(min(LOOK, lease.ttl / 3))


def _stored_user(
    flow: DeviceCodeFlow, scopes: Sequence[str], user_id: str | None
) -> UserAPI | None:
    granted = flow.users_scopes
    candidates = sorted(granted) if user_id is None else [user_id]
    for candidate in candidates:
        enough = set(scopes) <= set(granted.get(candidate, ()))
        if enough and candidate in granted and candidate not in flow.needs_login:
            return flow.get_user_by_id(candidate)
    return None


async def _first_validated(
    flow: DeviceCodeFlow, scopes: Sequence[str], user_id: str | None
) -> UserAPI | None:
    """A stored user with these scopes, of those whose scopes nobody knows yet."""
    known = flow.users_scopes.keys() | flow.needs_login.keys() | {flow.http.client_id}
    for candidate in [user_id] if user_id else sorted(flow.tokens):
        if candidate in flow.tokens and candidate not in known:
            with suppress(TwitchVaultError):  # whoever cannot be used has to sign in
                user = flow.get_user_by_id(candidate)
                await user.renew(user.token)
            if found := _stored_user(flow, scopes, user_id):
                return found
    return None


async def _sign_in(
    flow: DeviceCodeFlow,
    scopes: Sequence[str],
    show: Callable[[DeviceCode], object],
    user_id: str | None,
    lease: LoginLease,
) -> UserAPI | None:
    """The user who has approved; None if another process has taken the lease over meanwhile."""
    granted = asyncio.Event()
    work = _login(flow, scopes, show, user_id, granted)
    task = asyncio.create_task(work, name="twitchvault login")
    try:
        while True:
            await asyncio.wait((task,), timeout=lease.ttl / 3)
            if task.done():
                return task.result()
            if not await lease.renew():
                return None
    finally:
        try:
            if granted.is_set():
                await asyncio.wait((task,), timeout=STORING)
        finally:
            task.cancel()
            await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # or it is logged if the caller was cancelled in the same moment


async def _login(
    flow: DeviceCodeFlow,
    scopes: Sequence[str],
    show: Callable[[DeviceCode], object],
    user_id: str | None,
    granted: asyncio.Event,
) -> UserAPI:
    """`granted` is set once a pair is there that would be lost if it was not stored."""
    code = await flow.request_device_code(scopes)
    shown = show(code)
    if inspect.isawaitable(shown):
        await shown
    interval = max(code.interval, SHORTEST_INTERVAL)
    token = await flow.wait_for_device_token(code.device_code, interval, code.expires_in)
    granted.set()
    if user_id is not None:
        await _check_user(flow, token.access_token, user_id)
    user = await with_retries(lambda: flow.add_user(token.access_token, token.refresh_token))
    if missing := sorted(set(scopes) - set(user.scopes)):
        msg = f"user {user.user_id!r} has signed in, but Twitch has not granted {missing}"
        raise AuthFailure(msg)
    return user


async def _check_user(flow: DeviceCodeFlow, access_token: str, user_id: str) -> None:
    """Revoke the token and raise if it is another user's."""
    found = (await with_retries(lambda: flow.validate_token(access_token))).user_id
    if found == user_id:
        return
    try:
        await flow.revoke_token(access_token)
        what = "the token was revoked"
    except HTTPException as error:
        what = f"the token could not be revoked ({error})"
    msg = f"user {found!r} has signed in, not {user_id!r}: {what}, and nothing is stored"
    raise AuthFailure(msg)
