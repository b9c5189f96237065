"""Pairs that come from outside: new logins, and seeds from old configuration files.

A seed comes back at every start, from every process, long after it was spent. Sending it again
would cut the user's connection, so a refresh token from outside is exchanged under a lease on its
own fingerprint, and only if no user's record holds it or remembers it as spent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twitchvault.errors import AuthFailure, NoAnswer, Unauthorized
from twitchvault.models import Token
from twitchvault.vault.outbox import Update
from twitchvault.vault.record import TokenPair, fingerprint
from twitchvault.vault.transitions import RESERVED, attached, logged_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twitchvault.models import ValidateToken
    from twitchvault.vault.context import Context
    from twitchvault.vault.jobs import Job
    from twitchvault.vault.record import Record
    from twitchvault.vault.refresh import Refresher

__all__ = ["Logins"]

NEITHER_WORKS: Final = (
    "neither the access token nor the refresh token works: the user has to sign in again"
)
NO_END: Final = "other processes are busy with this refresh token; try again in a moment"
ROUNDS: Final = 5
"""So often in a row a seed is looked for; each time another process has moved it on."""


class Logins:
    """Takes pairs from outside into the vault."""

    def __init__(self, context: Context, refresher: Refresher) -> None:
        self._repository = context.repository
        self._mirror = context.mirror
        self._outbox = context.outbox
        self._identity = context.identity
        self._backoff = context.backoff
        self._clocks = context.clocks
        self._lease_ttl = context.lease_ttl
        self._refresher = refresher

    def store(
        self,
        user_id: str,
        pair: TokenPair,
        answer: ValidateToken | None = None,
    ) -> str:
        """Take a pair in: shown at once, written in the background; returns the record's key."""
        key = self._repository.user_key(user_id)
        now = self._clocks.wall()
        is_refused = False
        self._backoff.forget(user_id)
        if answer is not None:
            self._backoff.accepted(user_id, pair.access_token)

        async def look_for_refusal() -> None:
            nonlocal is_refused
            is_refused = await self._is_refused_seed(pair)

        def login(held: Record | None) -> Record:
            if is_refused and held is not None and held.state == "live":
                return held
            return logged_in(held, pair, answer, now)

        prepare = look_for_refusal if answer is None else None
        self._outbox.submit(key, Update(login, asked_for=True, prepare=prepare))
        return key

    async def _is_refused_seed(self, pair: TokenPair) -> bool:
        """Whether Twitch has refused this refresh token before its user was known."""
        if pair.refresh_token is None:
            return False
        key = self._repository.seed_key(fingerprint(pair.refresh_token))
        held = await self._repository.read(key)
        if held is None or held.record.generation == RESERVED:
            return False
        return held.record.state == "needs_login"

    async def add(self, pair: TokenPair) -> str:
        """Find out whose pair it is and take it in, durably; returns the user id."""
        try:
            answer = await self._identity.validate(pair.access_token)
        except Unauthorized:
            return await self._add_seed(pair)
        user_id = self._user_of(answer)
        await self._outbox.written(self.store(user_id, pair, answer))
        return user_id

    async def exchange(self, token: str) -> Token:
        """Exchange a refresh token, or hand out what it was exchanged for; its user's from now on.

        If its user cannot be learned just now, that is an error, and the new pair waits in the
        store for the next call.
        """
        mark = fingerprint(token)
        for _ in self._rounds():
            user_id = await self._holder(token, mark)
            if user_id is not None:
                return as_token(await self._renewed(user_id, token))
            await self._find_user(TokenPair("", token), mark)
        raise NoAnswer(NO_END, sent=False)

    async def _renewed(self, user_id: str, token: str) -> Record:
        """The record of the user who holds this refresh token, or has spent it."""
        record = self._mirror.get(user_id)
        if record is not None and record.refresh_token == token:
            record = await self._refresher.renew(user_id, record.generation, refused=False)
        if record is None:
            msg = f"this refresh token is spent, and user {user_id!r} was removed: sign in again"
            raise AuthFailure(msg)
        if record.state == "needs_login":
            raise AuthFailure(f"user {user_id!r} has to sign in again: {record.reason}")
        return record

    def _user_of(self, answer: ValidateToken) -> str:
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
        for _ in self._rounds():
            user_id = await self._holder(sent, mark)
            if user_id is None:
                await self._find_user(pair, mark)
                continue
            record = self._mirror.get(user_id)
            if record is not None and record.pair == pair and record.state == "live":
                record = await self._refresher.renew(user_id, record.generation, refused=True)
            if record is None or record.state == "needs_login":
                raise AuthFailure(NEITHER_WORKS)
            await self._outbox.written(self._repository.user_key(user_id))
            return user_id
        raise NoAnswer(NO_END, sent=False)

    def _rounds(self) -> Iterator[None]:
        """Look again while others move a seed on, for as long as a caller waits."""
        deadline = self._clocks.monotonic() + 2 * self._lease_ttl
        for _ in range(ROUNDS):
            yield
            if self._clocks.monotonic() > deadline:
                return

    async def _holder(self, sent: str, mark: str) -> str | None:
        """The user whose record holds this refresh token or remembers it as spent."""
        await self._outbox.flush()  # who is removed here may still be in the store
        await self._refresher.catch_up()
        return self._mirror.find_by_refresh_token(sent, mark)

    async def _find_user(self, pair: TokenPair, mark: str) -> None:
        # As a job that a cancelled caller does not end: once the token is sent, its successor
        # must reach its user.
        key = f"{self._repository.seed_key(mark)}/user"

        async def work(job: Job) -> None:
            await self._exchange_and_attach(job, pair, mark)

        await self._refresher.jobs.join(key, work)

    async def _exchange_and_attach(self, job: Job, pair: TokenPair, mark: str) -> None:
        parked = await self._refresher.exchange_seed(job, pair, mark)
        for _ in range(ROUNDS):
            if parked is None:
                return
            if parked.state == "needs_login":
                msg = f"the refresh token does not work ({parked.reason}): sign in again"
                raise AuthFailure(msg)
            try:
                answer = await self._identity.validate(parked.access_token)
            except Unauthorized:
                # It has waited for longer than its access token lived, or Twitch gave a dead one.
                generation = parked.generation
                parked = await self._refresher.exchange_seed(job, pair, mark, generation)
            else:
                await self._attach(job, pair.refresh_token or "", parked, answer)
                return
        raise AuthFailure(NEITHER_WORKS)

    async def _attach(self, job: Job, sent: str, parked: Record, answer: ValidateToken) -> None:
        user_id = self._user_of(answer)
        now = self._clocks.wall()
        self._backoff.forget(user_id)
        self._backoff.accepted(user_id, parked.access_token)
        await self._refresher.attach(
            job,
            self._repository.user_key(user_id),
            sent,
            parked,
            lambda held: attached(held, sent, parked, answer, now),
        )


def as_token(record: Record) -> Token:
    """A record's pair as the identity service would have answered."""
    return Token.from_answer(
        {
            "access_token": record.access_token,
            "refresh_token": record.refresh_token,
            "expires_in": int(record.expires_in),
            "scope": list(record.scopes or ()),
            "token_type": "bearer",
        }
    )
