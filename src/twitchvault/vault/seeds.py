"""Refresh tokens from outside: where they are exchanged while their user is not known.

A token may be known under several names at once, or under none yet. Each has an entry of its own
under its fingerprint's key, where its successor is parked until its user is known.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from twitchvault.errors import AuthFailure, TokenError, VersionConflict
from twitchvault.vault.context import Part
from twitchvault.vault.parked import attached, cleared_seed, is_with
from twitchvault.vault.record import fingerprint
from twitchvault.vault.repository import UNREADABLE
from twitchvault.vault.transitions import leased, released

if TYPE_CHECKING:
    from twitchvault.models import ValidateToken
    from twitchvault.vault.context import Context
    from twitchvault.vault.exchange import Exchange
    from twitchvault.vault.record import Record
    from twitchvault.vault.repository import Held

__all__ = ["Seeds"]


class Seeds(Part):
    """Finds out who has a refresh token, and brings its successor there."""

    def __init__(self, context: Context, exchange: Exchange) -> None:
        super().__init__(context)
        self._exchange = exchange

    async def find_holder(self, token: str) -> str | None:
        """The user whose record holds this refresh token or remembers it as spent.

        The error of a record that cannot be read if that may remember it. `AuthFailure` if it was
        exchanged as that of a user whom it does not belong to.
        """
        await self._catch_up()
        holder = self._mirror.holder(token)
        if holder is None:
            self._repository.refuse_unreadable()
            wrong = self._mirror.wrong_spender(token)
            if wrong is not None:
                raise AuthFailure(
                    f"the refresh token was exchanged as that of user {wrong!r}, whom it does "
                    "not belong to: sign in again"
                )
        return holder

    async def _catch_up(self) -> None:
        # Who is removed here may still be in the store. A damaged record is in nobody's way.
        await self._outbox.flush(but=UNREADABLE)
        await self._repository.catch_up()

    async def is_unspent(self, user_id: str, record: Record, sent: str) -> bool:
        """Whether no other user's record has spent this token of `record`; marks it if so.

        `TokenError` if it stands under two users. False: look at the record again.
        """
        await self._catch_up()
        mark = fingerprint(sent)
        other = self._mirror.find(
            lambda other: other.refresh_token == sent and mark not in other.foreign, but=user_id
        )
        if other is not None:
            msg = (
                f"the refresh token of user {user_id!r} stands under user {other!r}, too: "
                "remove the one that it does not belong to"
            )
            raise TokenError(msg)
        if await self.inherit_lease(self._repository.user_key(user_id), sent):
            return False
        spender = self._mirror.find(lambda other: other.has_spent(mark), but=user_id)
        if spender is not None:
            reason = f"its refresh token was exchanged as that of user {spender!r}"
            await self._exchange.refuse(self._repository.user_key(user_id), record, reason)
        return spender is None

    async def inherit_lease(self, key: str, sent: str) -> bool:
        """Whether the token left another record while it was leased: that lease holds here now."""
        mark = fingerprint(sent)
        former = self._mirror.find(
            lambda other: mark in (other.replaced_lease or ()), but=self._repository.user_of(key)
        )
        if former is None:
            return False
        former_key = self._repository.user_key(former)
        await self._outbox.written(former_key)
        record = self._mirror.confirmed(former)
        if record is None or record.replaced_lease is None:
            return False
        _, name, ttl = record.replaced_lease
        is_leased = False

        def inherit(held: Record | None) -> Record | None:
            nonlocal is_leased
            is_leased = held is not None and held.refresh_token == sent
            return leased(held, name, ttl) if held and is_leased and not held.lease else held

        await self._outbox.apply(key, inherit)
        if is_leased:
            await self._outbox.apply(former_key, lambda held: released(held, name))
        return True

    async def drop(self, key: str, held: Held) -> None:
        """Delete the entry of a seed that stands as `held`."""
        with suppress(VersionConflict):
            await self._repository.delete(key, expect=held.version)

    async def parked_chain(self, token: str) -> tuple[dict[str, Record], bool]:
        """What this refresh token was exchanged for while its user was not known.

        The successors by the tokens that were sent for them, in order; empty in the usual case. And
        whether Twitch has refused the last token.
        """
        chain: dict[str, Record] = {}
        while token not in chain:
            held = await self._read(self._repository.seed_key(fingerprint(token)))
            if held is not None and held.record.state == "needs_login":
                return chain, True
            if held is None or held.record.seeded:
                break
            chain[token] = held.record
            token = held.record.refresh_token or ""
        return chain, False

    async def attach(
        self,
        key: str,
        chain: dict[str, Record],
        answer: ValidateToken | None,
        *,
        only_if_held: bool = False,
    ) -> None:
        """Bring a parked pair to its user, then clear the places where it was parked.

        `only_if_held`: only to a record that still holds a token of the chain.
        """
        now = self._clocks.wall()

        def attach(held: Record | None) -> Record | None:
            if only_if_held and (held is None or held.refresh_token not in chain):
                return held
            return attached(held, chain, answer, now)

        if await self._outbox.apply(key, attach, asked_for=True) is not None:
            return
        record = self._mirror.confirmed(self._repository.user_of(key) or "")
        for sent, parked in chain.items():
            mark = fingerprint(sent)
            if record is not None and is_with(record, mark, parked):
                seed_key = self._repository.seed_key(mark)
                self._outbox.submit(seed_key, partial(cleared_seed, parked=parked))

    async def refuse_chain(self, chain: dict[str, Record], reason: str) -> None:
        """Twitch has refused the last pair of a chain: no token of it is kept."""
        for sent, parked in chain.items():
            key = self._repository.seed_key(fingerprint(sent))
            await self._exchange.refuse(key, parked, reason)
            await self._refuse_holder(sent, reason)

    async def _refuse_holder(self, sent: str, reason: str) -> None:
        """A store that has lost data may have brought a spent token back to its user."""
        user_id = self._mirror.find(lambda record: record.refresh_token == sent)
        record = None if user_id is None else self._mirror.peek(user_id)
        if user_id is not None and record is not None:
            await self._exchange.refuse(self._repository.user_key(user_id), record, reason)
