"""Pairs that come from outside: new logins, and seeds from old configuration files.

A seed comes back at every start, from every process, long after it was spent. Sending it again
would cut the user's connection, so a refresh token from outside is exchanged under a lease on its
own fingerprint, and only if no user's record holds it or remembers it as spent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twitchvault.errors import AuthFailure, NoAnswer, Unauthorized
from twitchvault.models import Token
from twitchvault.vault.context import Part
from twitchvault.vault.parked import attached
from twitchvault.vault.record import TokenPair, fingerprint
from twitchvault.vault.refresh import sign_in_again
from twitchvault.vault.transitions import logged_in

if TYPE_CHECKING:
    from twitchvault.models import ValidateToken
    from twitchvault.vault.context import Context
    from twitchvault.vault.jobs import Job
    from twitchvault.vault.record import Record
    from twitchvault.vault.refresh import Refresher

__all__ = ["Logins"]

NEITHER_WORKS: Final = (
    "neither the access token nor the refresh token works: the user has to sign in again"
)
ROUNDS: Final = 5
"""So often in a row a seed is looked for; each time another process has moved it on."""


class Logins(Part):
    """Takes pairs from outside into the vault."""

    def __init__(self, context: Context, refresher: Refresher) -> None:
        super().__init__(context)
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
        if not self._is_known(user_id, pair):
            self._backoff.forget(user_id)
        if answer is not None:
            self._backoff.accepted(user_id, pair.access_token, answer.expires_in)
        is_refused = False
        chain: dict[str, Record] = {}

        async def find_chain() -> None:
            nonlocal is_refused, chain
            if pair.refresh_token is not None:
                chain, is_refused = await self._refresher.seeds.parked_chain(pair.refresh_token)

        def login(held: Record | None) -> Record:
            if chain:
                return attached(held, chain, None, now)
            if is_refused and held is not None and held.state == "live":
                return held
            return logged_in(held, pair, answer, now)

        def login_in_doubt(held: Record | None, _base: Record | None) -> Record:
            if held is not None and held.outlived(fingerprint(pair.refresh_token or "")):
                return held  # the login was written, and others have replaced it
            return login(held)

        prepare = find_chain if answer is None else None
        self._outbox.submit(key, login, asked_for=True, prepare=prepare, in_doubt=login_in_doubt)
        return key

    def _is_known(self, user_id: str, pair: TokenPair) -> bool:
        """Whether the pair or a newer one is there already, so that failures still count."""
        record, token = self._mirror.peek(user_id), pair.refresh_token
        if record is None or token is None:
            return record is not None and record.access_token == pair.access_token
        return token == record.refresh_token or record.remembers(fingerprint(token))

    async def add(self, pair: TokenPair) -> str:
        """Find out whose pair it is and take it in, durably; returns the user id."""
        try:
            answer = await self._identity.validate(pair.access_token)
        except Unauthorized:
            return await self._add_seed(pair)
        user_id = self._user_of(answer)
        await self._outbox.written(self.store(user_id, pair, answer))
        record = self._mirror.confirmed(user_id)
        if record is not None and record.state == "removed":
            raise _removed_since(user_id)
        return user_id

    async def exchange(self, token: str) -> Token:
        """Exchange a refresh token, or hand out what it was exchanged for; its user's from now on.

        If its user cannot be learned just now, that is an error, and the new pair waits in the
        store for the next call.
        """
        user_id = await self._find_user(TokenPair("", token))
        record = self._mirror.get(user_id)
        if record is not None and record.refresh_token == token:
            record = await self._refresher.renew(user_id, record, refused=False)
        if record is None:
            raise _removed_since(user_id)
        if record.state == "needs_login":
            raise sign_in_again(user_id, record)
        return as_token(record)

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
        user_id = await self._find_user(pair)
        record = self._mirror.get(user_id)
        if record is not None and record.pair == pair and record.state == "live":
            record = await self._refresher.renew(user_id, record, refused=True)
        if record is None:
            raise _removed_since(user_id)
        if record.state == "needs_login":
            raise AuthFailure(NEITHER_WORKS)
        await self._outbox.written(self._repository.user_key(user_id))
        return user_id

    async def _find_user(self, pair: TokenPair) -> str:
        """The user who holds the refresh token or has spent it; an unknown one is exchanged."""
        token = pair.refresh_token or ""
        name = self._repository.seed_key(fingerprint(token))
        deadline = self._clocks.monotonic() + 2 * self._lease_ttl
        for _ in range(ROUNDS):
            user_id = await self._refresher.seeds.find_holder(token)
            if user_id is not None:
                return user_id
            # As a job that a cancelled caller does not end: once the token is sent, its successor
            # must reach its user.
            await self._refresher.jobs.join(name, lambda job: self._exchange(job, pair, name))
            if self._clocks.monotonic() > deadline:
                break
        msg = "other processes are busy with this refresh token; try again in a moment"
        raise NoAnswer(msg, sent=False)

    async def _exchange(self, job: Job, pair: TokenPair, name: str) -> None:
        """Exchange a pair whose user is not known, and bring its successor to its user."""
        # A successor may have waited for longer than its access token lives, or Twitch gave a dead
        # one: then it is a seed as well, and the next in a chain.
        chain: dict[str, Record] = {}
        for _ in range(ROUNDS):
            sent, answer = pair.refresh_token or "", None
            user_id = await self._refresher.seeds.find_holder(sent)
            if user_id is None:
                parked = await self._refresher.exchange_seed(job, pair, name)
                if parked is None:
                    continue
                if parked.state == "needs_login":
                    self._backoff.forget(name)  # the entry in the store says enough
                    await self._refresher.seeds.refuse_chain(chain, parked.reason)
                    msg = f"the refresh token does not work ({parked.reason}): sign in again"
                    raise AuthFailure(msg)
                chain[sent] = parked
                try:
                    answer = await self._identity.validate(parked.access_token)
                except Unauthorized:
                    pair = parked.pair
                    continue
                user_id = self._user_of(answer)
                self._backoff.forget(name)
                self._backoff.forget(user_id)
                self._backoff.accepted(user_id, parked.access_token, answer.expires_in)
            if chain:
                await self._refresher.seeds.attach(
                    self._repository.user_key(user_id), chain, answer
                )
            return
        raise AuthFailure(NEITHER_WORKS)


def _removed_since(user_id: str) -> AuthFailure:
    return AuthFailure(
        f"this refresh token is spent or was replaced, and user {user_id!r} was removed since: "
        "sign in again"
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
