"""Pairs that come from outside: new logins, and seeds from old configuration files.

A seed comes back at every start, from every process, long after it was spent. Sending it again
would cut the user's connection, so a refresh token from outside is exchanged under a lease on its
own fingerprint, and only if no user's record remembers it as spent.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from twitchvault.errors import AuthFailure, Unauthorized, again
from twitchvault.vault.changes import login, settled
from twitchvault.vault.outbox import Operation
from twitchvault.vault.record import Record, TokenPair, fingerprint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twitchvault.identity import Identity
    from twitchvault.models import ValidateToken
    from twitchvault.vault.ledger import Ledger
    from twitchvault.vault.mirror import Mirror
    from twitchvault.vault.outbox import Outbox
    from twitchvault.vault.refresh import Refresher

__all__ = ["Logins"]

NEITHER_WORKS = (
    "neither the access token nor the refresh token works: the user has to sign in again"
)


class Logins:
    """Takes pairs from outside into the vault."""

    def __init__(
        self,
        ledger: Ledger,
        mirror: Mirror,
        outbox: Outbox,
        identity: Identity,
        refresher: Refresher,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        self._ledger = ledger
        self._mirror = mirror
        self._outbox = outbox
        self._identity = identity
        self._refresher = refresher
        self._catch_up = catch_up

    def store(self, user_id: str, pair: TokenPair, answer: ValidateToken | None = None) -> str:
        """Take a pair in: shown at once, written in the background; returns the record's key."""
        key = self._ledger.user_key(user_id)
        now = time.time()
        self._outbox.submit(
            key,
            Operation(lambda held: login(held, pair, answer, now), asked_for=True),
        )
        return key

    async def add(self, pair: TokenPair) -> str:
        """Find out whose pair it is and take it in, durably; returns the user id."""
        try:
            answer = await self._identity.validate(pair.access_token)
        except Unauthorized:
            return await self._add_seed(pair)
        user_id = self.user_of(answer)
        await self._durable(self.store(user_id, pair, answer))
        return user_id

    def user_of(self, answer: ValidateToken) -> str:
        """The user of a validated token; `AuthFailure` if it is not a user token of ours."""
        if answer.client_id != self._identity.client_id:
            msg = "the access token belongs to another client id: use tokens of this application"
            raise AuthFailure(msg)
        if not answer.user_id:
            msg = "this is an app access token, not a user's: pass it to authorize(token=...)"
            raise AuthFailure(msg)
        return answer.user_id

    async def _add_seed(self, pair: TokenPair) -> str:
        if pair.refresh_token is None:
            msg = "the access token does not work and there is no refresh token: sign in again"
            raise AuthFailure(msg)
        sent = pair.refresh_token
        mark = fingerprint(sent)
        key = self._ledger.seed_key(mark)
        while (user_id := await self._holder(sent, mark)) is None:
            # As a task that a cancelled caller does not end: once the token is sent, its successor
            # must reach its user.
            await self._refresher.join(f"{key}/user", lambda: self._settle_seed(pair, sent, mark))
        record = self._mirror.get(user_id)
        if record is not None and record.refresh_token == sent:
            record = await self._refresher.renew(user_id, pair.access_token)
        if record is None or record.state == "needs_login":
            raise AuthFailure(NEITHER_WORKS)
        await self._durable(self._ledger.user_key(user_id))
        return user_id

    async def _holder(self, sent: str, mark: str) -> str | None:
        """The user whose record holds this refresh token or remembers it as spent."""
        await self._catch_up()
        return self._mirror.heir_of(sent, mark)

    async def _settle_seed(self, pair: TokenPair, sent: str, mark: str) -> None:
        async def obsolete() -> bool:
            return await self._holder(sent, mark) is not None

        seed = Record(access_token=pair.access_token, refresh_token=sent)
        parked = await self._refresher.redeem(seed, mark, obsolete)
        while parked is not None:
            if parked.state == "needs_login":
                raise AuthFailure(NEITHER_WORKS)
            try:
                answer = await self._identity.validate(parked.access_token)
            except Unauthorized:
                # Parked for longer than its access token lived, by a process that then died.
                parked = await self._refresher.renew_parked(mark, parked.access_token)
            else:
                await self._move_in(sent, parked, answer, mark)
                return

    async def _move_in(self, sent: str, parked: Record, answer: ValidateToken, mark: str) -> None:
        key = self._ledger.user_key(self.user_of(answer))
        now = time.time()
        change = Operation(lambda held: settled(held, sent, parked, answer, now), asked_for=True)
        await self._refresher.adopt(key, change, mark, parked)

    async def _durable(self, key: str) -> None:
        error = await self._outbox.settle(key)
        if error is not None:
            raise again(error)
