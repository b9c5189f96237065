"""Who may exchange a refresh token: exactly one, in all processes, with no lock service.

The record itself is the lock: who wants to exchange its refresh token first puts a lease into it by
compare-and-set, which also proves that the store can be written before the token is spent. Who
finds somebody else's lease waits for the record's next version.

A refresh token from outside may be known under several names at once, or under none yet. While its
user is not known it is exchanged under a lease on its own fingerprint's key, unless a user's record
holds it; and before a record's first exchange its owner looks at that key. Both write before they
look, so at least one of them sees the other.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from twitchvault.errors import (
    AuthFailure,
    HTTPException,
    NoAnswer,
    TokenError,
    Unauthorized,
    VersionConflict,
)
from twitchvault.vault.context import Part
from twitchvault.vault.exchange import CONFIRMING, SPENT, Exchange
from twitchvault.vault.jobs import Jobs
from twitchvault.vault.parked import new_seed
from twitchvault.vault.record import fingerprint
from twitchvault.vault.seeds import Seeds
from twitchvault.vault.transitions import marked_access_refused, validated

if TYPE_CHECKING:
    from twitchvault.models import ValidateToken
    from twitchvault.vault.context import Context
    from twitchvault.vault.jobs import Job
    from twitchvault.vault.record import Record, TokenPair
    from twitchvault.vault.repository import Held

__all__ = ["Refresher", "sign_in_again", "unknown_user"]

POLLS: Final = 10
"""A waiter reads the record at least that often in a lease's ttl."""
LONGEST_POLL: Final = 5.0
LONGEST_SEED_POLL: Final = 0.5
SHORTEST_POLL: Final = 0.05
ROUNDS: Final = 20
"""Jobs in a row that a caller joins; each of them has found a newer generation."""


class Refresher(Part):
    """Renews records, once in all processes."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.jobs = Jobs(context.clocks, context.lease_ttl)
        self._exchange = Exchange(context)
        self.seeds = Seeds(context, self._exchange)
        self._leases: set[str] = set()

    def start(self) -> None:
        """Name the leases of this process; a fork gets names of its own."""
        self.jobs.ending = False
        process = f"{os.getpid():x}."
        if not self._exchange.owner.startswith(process):
            self._exchange.owner = f"{process}{secrets.token_hex(6)}."

    def abandon(self) -> None:
        """The loop is gone, and with it all that was under way."""
        for lease in self.jobs.abandon():
            self._exchange.leave_in_doubt(lease)
        self._leases.clear()

    async def renew(self, user_id: str, base: Record, *, refused: bool) -> Record:
        """A record of this user with a newer pair than that of `base`.

        `refused`: Twitch says that the access token of `base` is dead. Without a refresh
        token the user then has to sign in again; else that is only an error. If the user has to,
        the record says that the access token is dead, so that nobody asks again.

        `AuthFailure` if the user has to sign in again, `TokenError` if there is no such user,
        `HTTPException` or `StoreError` if it cannot be done just now; nothing is lost then.
        """
        key = self._repository.user_key(user_id)
        if refused:
            self.note_refused(user_id, base)
        record = self._mirror.get(user_id)
        for _ in range(ROUNDS):
            if record is None or (not record.follows(base) and record.state == "live"):
                self._backoff.check(user_id)
                record = await self.jobs.join(
                    key, lambda job: self._renew(job, user_id, base, refused=refused)
                )
            if record is None:
                raise unknown_user(user_id)
            if record.follows(base) and not record.access_refused:
                return record
            if record.state == "needs_login":
                if refused and not record.access_refused:
                    mark = partial(marked_access_refused, access_token=record.access_token)
                    await self._outbox.apply(key, mark)
                raise sign_in_again(user_id, record)
        msg = f"the record of user {user_id!r} changes all the time; try again in a moment"
        raise NoAnswer(msg, sent=False)

    def note_refused(self, user_id: str, base: Record) -> None:
        """Twitch has refused the access token of `base`, unless a newer pair stands by now."""
        record = self._mirror.get(user_id)
        if record is None or not record.follows(base):
            if record is not None:
                self._exchange.note_foreign_lease(user_id, record)
            self._backoff.refused(user_id)

    async def _renew(self, job: Job, user_id: str, base: Record, *, refused: bool) -> Record | None:
        key = self._repository.user_key(user_id)
        while job.left > 0:
            held = await self._read(key)
            if held is None:
                return None
            record = held.record
            if record.follows(base) or record.state == "needs_login":
                return record
            if record.refresh_token is None and user_id != self._identity.client_id:
                if not refused:
                    msg = f"no refresh token is stored for user {user_id!r}: "
                    raise TokenError(msg + "only a new login renews it")
                reason = "the access token died and has no refresh token"
                await self._exchange.refuse(key, record, reason)
                continue
            # Noted: the waiting for a lease begins before that for a seed.
            self.jobs.seconds_left(key, held)
            if self._identity.public and record.has_spent(fingerprint(record.refresh_token or "")):
                # Put together after losses, of two pairs that were both spent.
                await self._exchange.refuse(key, record, "its refresh token was exchanged before")
                continue
            if not await self._seed_is_free(job, user_id, record):
                await job.pause()
                continue
            abandoned = await self._wait_for_lease(job, key, held)
            if abandoned is None:
                continue
            renewed = await self._exchange_held(
                job, key, user_id, held, abandoned=abandoned, refused=refused
            )
            if renewed is not None:
                await self._find_out_whose(user_id, renewed)
                return self._mirror.peek(user_id) or renewed
            await job.pause()
        raise job.timed_out()

    async def _find_out_whose(self, user_id: str, record: Record) -> None:
        """Validate the first pair that the vault got for a user whom nobody has validated yet.

        It would act in the wrong name if the pair before came under the wrong user id. Where Twitch
        cannot say now, upkeep asks again.
        """
        if record.last_validated is not None or user_id == self._identity.client_id:
            return
        try:
            answer = await self._identity.validate(record.access_token, timeout=CONFIRMING)
        except Unauthorized:
            self._backoff.refused(user_id)
        except HTTPException:
            pass
        else:
            await self.note_validation(user_id, record.access_token, answer)

    async def note_validation(self, user_id: str, access_token: str, answer: ValidateToken) -> None:
        """Write a validation into the record, if it still holds that token."""
        now = self._clocks.wall()
        owner = (self._identity.client_id, user_id)
        key = self._repository.user_key(user_id)
        record = self._mirror.peek(user_id)
        if record is None or record.access_token == access_token:  # no old one's late answer
            self._backoff.accepted(user_id, access_token, answer.expires_in)
        await self._outbox.apply(
            key, lambda held: validated(held, access_token, answer, owner, now)
        )

    async def _is_alive(self, user_id: str, record: Record, *, refused: bool, ask: bool) -> bool:
        """Whether the old access token lives right before the exchange.

        If the exchange's answer is lost, that tells whether the refresh token is spent. `ask`: the
        owner of the lease before may have sent it. When the last refreshes gave nothing but dead
        tokens, the answer decides whether to go on.
        """
        if user_id == self._identity.client_id and self._identity.public:
            msg = "the app access token died, and without a client secret there is no other"
            raise AuthFailure(msg)
        resting = self._backoff.is_exhausted(user_id)
        if not ask and not resting:
            if refused:
                return False
            if self._backoff.was_accepted(user_id, record.access_token):
                return True
        try:
            lives = await self._exchange.lives(user_id, record)
        except HTTPException as error:
            self._backoff.failed(user_id, error)
            raise
        if resting and not lives:
            raise self._backoff.rest(user_id)
        return lives

    # The lease

    async def _exchange_held(
        self,
        job: Job,
        key: str,
        name: str,
        held: Held,
        *,
        abandoned: bool,
        refused: bool,
    ) -> Record | None:
        """Exchange under a lease of our own; None: look at the record again."""
        record = held.record
        doubt = self._exchange.doubt_about(name, record)
        in_doubt = abandoned or doubt is not None
        known = record if doubt is None else doubt.record
        alive = await self._is_alive(name, known, refused=refused, ask=in_doubt)
        spent = doubt is not None and doubt.killed(self._backoff.dead_for(name))
        spent = spent or (abandoned and self._backoff.was_killed(name, record.access_token))
        if spent and not alive and record.refresh_token is not None:  # there is no app token's
            await self._exchange.refuse(key, record, SPENT)
            return None
        lease_name = f"{self._exchange.owner}{secrets.token_hex(4)}"
        self._leases.add(lease_name)
        try:
            job.lease = await self._exchange.take(
                key, name, held, lease_name, alive=alive, in_doubt=in_doubt and not alive
            )
            if job.lease is None:
                return None
            is_free = partial(self._is_still_free, key, record)
            return await self._exchange.run(job.lease, is_free)
        finally:
            job.sent = job.sent or (job.lease is not None and job.lease.sent)
            job.lease = None
            self._leases.discard(lease_name)

    async def _wait_for_lease(self, job: Job, key: str, held: Held) -> bool | None:
        """Whether the lease that stands was abandoned, so that the token may be spent.

        None: it is alive, and a while was waited for news.
        """
        lease = held.record.lease
        if lease is None:
            return False
        ttl = held.record.lease_ttl
        if lease.startswith(self._exchange.owner) and lease not in self._leases:
            return False
        left = ttl if lease in self._leases else self.jobs.seconds_left(key, held)
        # A dead owner's lease falls due within this.
        job.limit = max(job.limit, 2 * ttl)
        if left <= 0:
            return True
        pause = max(min(left, ttl / POLLS, LONGEST_POLL), SHORTEST_POLL)
        user_id = self._repository.user_of(key)
        if user_id is None:
            await asyncio.sleep(min(pause, LONGEST_SEED_POLL))  # no feed tells of seeds
        else:
            self._exchange.note_foreign_lease(user_id, held.record)
            await self._mirror.changed(user_id, held.version, pause)
        return None

    # Seeds

    async def _seed_is_free(self, job: Job, user_id: str, record: Record) -> bool:
        """Whether nobody exchanges the token of a record as one whose user is not known.

        Of interest before the first exchange, and after the store has lost the record. After False
        look at the record again.
        """
        sent = record.refresh_token
        if sent is None or not _may_be_seed(record):
            return True
        key = self._repository.user_key(user_id)
        seed_key = self._repository.seed_key(fingerprint(sent))
        seed = await self._read(seed_key)
        if seed is None:
            return await self.seeds.is_unspent(user_id, record, sent)
        if seed.record.state == "needs_login":
            await self._exchange.refuse(key, record, seed.record.reason)
        elif not seed.record.seeded:
            chain, _ = await self.seeds.parked_chain(sent)
            if chain:
                await self.seeds.attach(key, chain, None, only_if_held=True)
        elif await self._wait_for_lease(job, seed_key, seed) is not None:
            await self.seeds.drop(seed_key, seed)
        return False

    async def _is_still_free(self, key: str, record: Record) -> bool:
        """Whether nobody exchanges the token under another name, now that the lease is ours."""
        token = record.refresh_token or ""
        if self._repository.user_of(key) is None:
            return await self.seeds.find_holder(token) is None
        seed_key = self._repository.seed_key(fingerprint(token))
        return not _may_be_seed(record) or await self._read(seed_key) is None

    async def exchange_seed(self, job: Job, pair: TokenPair, name: str) -> Record | None:
        """Exchange a refresh token from outside, leased on its fingerprint's own key.

        The new pair stands under that key, durably, until its user is known. The access token of
        `pair` is known to be dead. `name` is the one that `Backoff` knows the seed by. A record
        that needs a login: Twitch refused the token. None: look for its user again.
        """
        key = self._repository.seed_key(fingerprint(pair.refresh_token or ""))
        self._backoff.check(name)
        while job.left > 0:
            held = await self._read(key)
            if held is None:
                with suppress(VersionConflict):
                    await self._repository.write(key, new_seed(pair), expect=0)
                await job.pause()
                continue
            record = held.record
            is_successor = not record.seeded and record.pair != pair
            if is_successor or record.state == "needs_login":
                return record
            abandoned = await self._wait_for_lease(job, key, held)
            if abandoned is None:
                continue
            # The entry is written; only now it shows whether a user's record holds the token.
            if await self.seeds.find_holder(pair.refresh_token or "") is not None:
                await self.seeds.drop(key, held)
                return None
            if await self.seeds.inherit_lease(key, record.refresh_token or ""):
                await job.pause()
                continue
            renewed = await self._exchange_held(
                job, key, name, held, abandoned=abandoned, refused=True
            )
            if renewed is not None:
                return renewed
            await job.pause()
        raise job.timed_out()


def _may_be_seed(record: Record) -> bool:
    """Whether others may meet the refresh token as one whose user is not known."""
    return record.refresh_token is not None and (record.seeded or record.restored > 0)


def unknown_user(user_id: str) -> TokenError:
    """The error of who asks for a user that the vault does not have."""
    return TokenError(f"no token is stored for user {user_id!r}; sign the user in first")


def sign_in_again(user_id: str, record: Record) -> AuthFailure:
    """The error of who asks for a user whose record needs a login."""
    return AuthFailure(f"user {user_id!r} has to sign in again: {record.reason}")
