"""What the owner of a lease does: send the refresh token, and bring its successor home.

Failures are of four kinds. Refused: a newer pair wins, else the record needs a login. Safe to
retry: the request never left, or a 429. Outcome unknown: it was sent and got no answer, any 5xx, or
the owner of the lease before died. The token may be spent: the old access token tells. Final:
anything else is configuration or a fault at Twitch's side; it is raised, and nothing is changed.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from twitchvault.errors import (
    HTTPException,
    NoAnswer,
    RateLimited,
    StoreError,
    TwitchServerError,
    Unauthorized,
    VersionConflict,
)
from twitchvault.identity import refused_grant
from twitchvault.vault import parked, transitions
from twitchvault.vault.app_token import app_record, app_renewed
from twitchvault.vault.context import Part
from twitchvault.vault.lease import Lease

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twitchvault.vault.context import Context
    from twitchvault.vault.record import Record
    from twitchvault.vault.repository import Held
    from twitchvault.vault.transitions import Transition

__all__ = ["CONFIRMING", "SPENT", "Exchange"]

_logger = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 4.0
MAX_DOUBTS: Final = 1000
LIVED_ON: Final = 30.0
"""Seconds after an exchange in which an answer may come that Twitch gave before it."""
CONFIRMING: Final = 10.0
"""Seconds that a validation may take that has to tell whether a token is spent."""
REFUSED: Final = "Twitch refused the refresh token"
SPENT: Final = "the refresh token was exchanged, but the answer did not arrive"
"""Why a user has to sign in again whose token is not sent once more."""


class Exchange(Part):
    """Carries exchanges out under a lease."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.owner = ""
        """How the names of this process' leases begin."""
        self._in_doubt: dict[str | None, Lease] = {}

    def doubt_about(self, user: str, record: Record) -> Lease | None:
        """The lease under which this process sent that pair's refresh token without an answer.

        There is no doubt any more if Twitch has accepted the access token some time after it.
        """
        lease = self._in_doubt.get(record.refresh_token)
        if lease is not None:
            accepted_ago = self._backoff.accepted_ago(user, lease.record.access_token)
            if lease.in_doubt_for - accepted_ago > LIVED_ON:
                return None
        # A confidential client's token may stay the same; of a seed it may be all that is known.
        same = lease and record.access_token in {"", lease.record.access_token}
        return lease if same else None

    async def take(
        self, key: str, user: str, held: Held, name: str, *, alive: bool, in_doubt: bool
    ) -> Lease | None:
        """Put a lease of that name into the record; None: it has changed meanwhile.

        The put also proves that the store can be written before the token is spent.
        """
        # The stopwatch starts before the put: our half of the ttl ends before their whole.
        record = transitions.leased(held.record, name, self._lease_ttl)
        lease = Lease(key, user, record, self._repository.losses, self._clocks)
        lease.version, lease.in_doubt = held.version, in_doubt
        if alive:
            lease.note_alive(self._backoff.alive_for(user, record.access_token))
        try:
            await self._put(lease)
        except VersionConflict:
            return None
        except asyncio.CancelledError:
            if not in_doubt:
                self._release_later(lease)  # it may have got in
            raise
        return lease

    def _release_later(self, lease: Lease) -> None:
        self._outbox.submit(lease.key, self._release(lease))

    def _release(self, lease: Lease) -> Transition:
        if self._repository.user_of(lease.key) is None:
            return lambda now: parked.seed_released(now, lease.name)
        return lambda now: transitions.released(now, lease.name)

    async def run(self, lease: Lease, is_free: Callable[[], Awaitable[bool]]) -> Record | None:
        """Send until there is an answer. None: look at the record again.

        Nothing is sent if the token is not free. Errors end the lease, unless the token may be
        spent. If the store is down and could not take it, the result is the new pair as it will be.
        """
        try:
            if not await is_free():
                if not lease.in_doubt:
                    await self._outbox.apply(lease.key, self._release(lease))
                return None
            transition = await self._run(lease)
            return None if transition is None else await self._keep(lease, transition)
        except (HTTPException, StoreError) as error:
            self._metrics.note_error("refresh", error)
            self._metrics.note_refresh("error", lease.age)
            if isinstance(error, HTTPException):
                self._backoff.failed(lease.user, error)
            if not lease.in_doubt:
                # One that may be spent stays leased: whoever takes it over asks as we do.
                await self._outbox.apply(lease.key, self._release(lease))
            raise
        except BaseException:
            lease.in_doubt = lease.in_doubt or (lease.sent and not lease.answered)
            if not lease.in_doubt:
                self._release_later(lease)
            raise
        finally:
            self._note_doubt(lease)

    async def _run(self, lease: Lease) -> Transition | None:
        renewing = asyncio.ensure_future(self._keep_leased(lease))
        pause = FIRST_PAUSE
        try:
            while True:
                try:
                    return await self._send(lease)
                except HTTPException as error:
                    if not await self._may_retry(lease, error):
                        return None
                    if lease.left <= pause:
                        raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        finally:
            renewing.cancel()

    async def _may_retry(self, lease: Lease, error: HTTPException) -> bool:
        """Whether to send once more. False: look at the record again. Raises `error` if final."""
        if isinstance(error, NoAnswer) and not error.sent:
            if error.too_late and lease.in_doubt:
                raise error
            if error.too_late:
                self._release_later(lease)
            return not error.too_late
        if lease.record.refresh_token is None:
            raise error
        if refused_grant(error):
            lease.in_doubt = False
            self._metrics.note_error("refresh", error)
            self._metrics.note_refresh("refused", lease.age)
            await self.refuse(lease.key, lease.record, f"{REFUSED} ({error})")
            return False
        if isinstance(error, RateLimited):
            return True
        unusable = 200 <= error.status < 300  # noqa: PLR2004
        if unusable or isinstance(error, (NoAnswer, TwitchServerError)):
            return await self._is_unspent(lease, error)
        raise error

    async def _send(self, lease: Lease) -> Transition:
        """One request to Twitch; the change that its answer makes to the record."""
        request = asyncio.ensure_future(self._ask(lease))
        try:
            await asyncio.wait((request,))
        except asyncio.CancelledError:
            if request.done() and request.exception() is None:
                self._outbox.submit(lease.key, request.result())
                lease.answered = True
            raise
        else:
            return request.result()
        finally:
            request.cancel()  # does nothing to one that is done

    async def _keep_leased(self, lease: Lease) -> None:
        """Renew the lease in time, and at once when the store has lost data."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(lease.renew_in):
                    await self._repository.loss.wait()
            losses = -1
            while losses != self._repository.losses:
                losses = self._repository.losses
                lease.note_put(done=await self._renew(lease))
                await asyncio.sleep(FIRST_PAUSE)  # some stores lose data all the time

    async def _ask(self, lease: Lease) -> Transition:
        base, sent = lease.record, lease.record.refresh_token
        if sent is None:
            self._backoff.sent(lease.user)
            answer = await self._identity.client_credentials()
            fresh = app_record(answer, self._clocks.wall())
            return lambda now: app_renewed(now, base, fresh)
        lease.sent = False
        if lease.left <= 0:
            raise NoAnswer("the lease ran out: nothing was sent", sent=False, too_late=True)

        def may_send() -> bool:
            if lease.given_up or lease.left <= 0 or lease.losses != self._repository.losses:
                return False
            if self._is_overtaken(lease):
                return False
            lease.sent = True
            self._backoff.sent(lease.user)
            # Not what was known when the lease was taken: it may have been refused since.
            lease.note_alive(self._backoff.alive_for(lease.user, base.access_token))
            return True

        token = await self._identity.refresh(sent, may_send=may_send, timeout=lease.left)
        now = self._clocks.wall()
        if self._repository.user_of(lease.key) is None:
            return lambda current: parked.seed_exchanged(current, base, token)
        return lambda current: transitions.exchanged(current, base, token, now)

    def _is_overtaken(self, lease: Lease) -> bool:
        """Whether this process has heard of a newer pair, or of a record without the lease."""
        user_id = self._repository.user_of(lease.key)
        if user_id is None:  # or of a user who holds or has spent this seed
            token = lease.record.refresh_token or ""
            return (self._mirror.holder(token) or self._mirror.wrong_spender(token)) is not None
        self._mirror.fetch()
        record = self._mirror.confirmed(user_id)
        if record is not None and record.generation > lease.record.generation:
            return True  # whatever its version: the store may have gone back in time
        if self._mirror.version(user_id) <= lease.version:
            return False
        return record is None or record.lease != lease.name

    async def _renew(self, lease: Lease) -> bool:
        """The answer takes its time: show the others that the owner lives."""
        try:
            async with asyncio.timeout(lease.ttl / 3):
                await self._put_again(lease)
        except (StoreError, TimeoutError):
            return False
        except Exception:
            # Nothing may end the wait for the answer.
            _logger.exception("a lease could not be renewed")
            return False
        return True

    async def _put_again(self, lease: Lease) -> None:
        try:
            await self._put(lease)
        except VersionConflict:
            held = await self._repository.read(lease.key)
            if held is None:
                lease.version = 0
                await self._put(lease)
                return
            if held.record.refresh_token != lease.record.refresh_token:
                lease.given_up = True
                return
            # A store that went back in time may have lost the lease; others keep theirs.
            if held.record.lease in {lease.name, None} and held.record.state == "live":
                lease.version = held.version
                lease.record = transitions.leased(held.record, lease.name, lease.ttl)
                await self._put(lease)

    async def _put(self, lease: Lease) -> None:
        lease.version = await self._repository.write(lease.key, lease.record, expect=lease.version)

    async def _is_unspent(self, lease: Lease, error: HTTPException) -> bool:
        """Whether a token that may be spent may be sent all the same. Marks it if it is spent.

        False: look at the record again. Raises `error` if nothing can be told, or not in this
        lease.
        """
        tried, lease.in_doubt = lease.in_doubt, True
        try:
            lives = await self.lives(lease.user, lease.record)
        except HTTPException:
            raise error from None
        if lives:
            # Its refresh would have killed the old access token: nothing was spent.
            lease.note_alive(self._backoff.alive_for(lease.user, lease.record.access_token))
            lease.in_doubt = False
        elif lease.killed(self._backoff.dead_for(lease.user)):
            lease.in_doubt = False
            await self.refuse(lease.key, lease.record, f"{SPENT} ({error})")
            return False
        elif tried:
            lease.in_doubt = False  # one more try was made; the next one is somebody else's
            raise error
        return await self._is_ours(lease)

    async def lives(self, user: str, record: Record) -> bool:
        """Whether Twitch takes the access token of `record` now."""
        if not record.access_token:
            return False
        try:
            answer = await self._identity.validate(record.access_token, timeout=CONFIRMING)
        except Unauthorized:
            self._mirror.fetch()
            if (confirmed := self._mirror.confirmed(user)) is not None:
                self.note_foreign_lease(user, confirmed)
            self._backoff.refused(user)
            return False
        self._backoff.accepted(user, record.access_token, answer.expires_in)
        return True

    def note_foreign_lease(self, user_id: str, record: Record) -> None:
        """If an access token that lives is dead once its lease was abandoned, the pair is spent."""
        if record.lease is None or record.lease.startswith(self.owner):
            return
        left = record.seconds_left(self._clocks.wall())
        self._backoff.expect_alive(user_id, record.access_token, left or 0.0)

    async def _is_ours(self, lease: Lease) -> bool:
        held = await self._repository.read(lease.key)
        if held is None or held.record.lease != lease.name:
            lease.in_doubt = False  # it is another owner's now
            return False
        lease.version = held.version
        return True

    async def _keep(self, lease: Lease, transition: Transition) -> Record | None:
        lease.in_doubt = False
        self._backoff.succeeded(lease.user)
        error = await self._outbox.apply(lease.key, transition)
        self._metrics.note_refresh("ok", lease.age)  # calls a function of the user's
        user_id = self._repository.user_of(lease.key)
        if error is not None or user_id is None or self._mirror.cleared:
            return transition(lease.record)
        return self._mirror.peek(user_id)

    def leave_in_doubt(self, lease: Lease) -> None:
        """Nobody waits any more for the answer to what was sent under this lease."""
        lease.in_doubt = True
        self._note_doubt(lease)

    def _note_doubt(self, lease: Lease) -> None:
        token = lease.record.refresh_token
        self._in_doubt.pop(token, None)
        if lease.in_doubt:
            lease.note_doubt()
            self._in_doubt[token] = lease
            if len(self._in_doubt) > MAX_DOUBTS:
                del self._in_doubt[next(iter(self._in_doubt))]

    async def refuse(self, key: str, base: Record, reason: str) -> None:
        """Mark the record as needing a login, unless it holds another pair than `base` by now."""
        is_seed = self._repository.user_of(key) is None
        refused = parked.seed_refused if is_seed else transitions.refused
        await self._outbox.apply(key, lambda now: refused(now, base, reason))
