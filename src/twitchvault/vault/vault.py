"""All of the vault together: what `App` and the API objects hold on to."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from twitchvault.errors import AuthFailure, BadRequest, StoreError, StoreUnavailable, Unauthorized
from twitchvault.metrics import Health, Metrics
from twitchvault.stores.base import check_not_encrypted
from twitchvault.vault.app_token import app_added, app_record
from twitchvault.vault.clocks import Clocks
from twitchvault.vault.context import Context, Part
from twitchvault.vault.history import entries_of
from twitchvault.vault.login_lease import LoginLease
from twitchvault.vault.logins import Logins, as_token
from twitchvault.vault.pending import PendingStates
from twitchvault.vault.record import TokenPair, fingerprint
from twitchvault.vault.refresh import Refresher, sign_in_again, unknown_user
from twitchvault.vault.repository import UNREADABLE
from twitchvault.vault.transitions import removed, removed_login
from twitchvault.vault.upkeep import Upkeep
from twitchvault.vault.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twitchvault.identity import Identity
    from twitchvault.models import Token, ValidateToken
    from twitchvault.stores.base import TokenStore
    from twitchvault.vault.events import EventStream
    from twitchvault.vault.history import HistoryEntry
    from twitchvault.vault.record import Record

__all__ = ["Vault"]

_logger = logging.getLogger(__name__)

HEALTH_TIMEOUT: Final = 0.9
TO_END: Final = 120.0
"""Seconds that a caller waits for what is done to its end, like a login's callback."""
FLUSH_TIMEOUT: Final = 2.0
"""Seconds that closing waits for the store to take what is still to be written."""
INVALID_TOKEN: Final = "invalid token"  # noqa: S105  (what Twitch says)


class Vault(Part):
    """The tokens of one application in one store; it belongs to the event loop that opened it."""

    def __init__(
        self,
        store: TokenStore,
        identity: Identity,
        *,
        maintain: bool,
        lease_ttl: float,
        clocks: Clocks | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        context = Context(store, identity, clocks or Clocks(), lease_ttl, metrics or Metrics())
        super().__init__(context)
        self.mirror = context.mirror
        self._maintain = maintain
        self._watcher = Watcher(self._repository, self.mirror)
        self._refresher = Refresher(context)
        self._logins = Logins(context, self._refresher)
        self._upkeep = Upkeep(context, self._refresher)
        self.pending = PendingStates(self._repository, self._clocks)
        self._turn = asyncio.Lock()
        self._opening: asyncio.Task[None] | None = None
        self._open = False

    # Life

    def enter_loop(self) -> None:
        """The vault is about to be opened on a loop that may be another one than before."""
        self._turn = asyncio.Lock()
        self._repository.loss = asyncio.Event()

    async def open(self) -> None:
        """Open the store if it is not open, fill the views, begin the upkeep; idempotent."""
        async with self._turn:
            if self._open:
                return
            opening = self._opening = asyncio.create_task(self._begin(), name="twitchvault open")
            try:
                await asyncio.wait((opening,))
                if self._opening is not opening or opening.cancelled():
                    msg = "the vault was cleared or closed while it opened: call authorize() again"
                    raise StoreError(msg)
                opening.result()
            except BaseException:
                opening.cancel()
                self._watcher.cancel()
                raise
            finally:
                self._opening = None
            self._outbox.show()
            self._open = True
            if self._maintain:
                self._upkeep.start()

    async def _begin(self) -> None:
        store = self._repository.store
        await self._repository.call(store.open)
        await self._repository.call(check_not_encrypted, store)
        self._refresher.start()
        self._outbox.start()
        self.mirror.reveal()
        await self._watcher.start()

    def clear(self) -> None:
        """Forget the local picture; refreshes under way and unwritten changes are kept going."""
        self._end_opening()
        self._open = False
        self._upkeep.cancel()
        self._watcher.cancel()
        self.mirror.clear()
        self._events.end()

    async def close(self) -> None:
        """Bring home what is under way, write what is waiting, end all tasks; bounded in time.

        A refresh that has sent nothing is given up, one that has is waited for, `lease_ttl` seconds
        at most. Raises what could not be written, after everything is closed; it stays queued.
        """
        self._end_opening()
        async with self._turn:
            self._open = False
            await _ended(self._upkeep.cancel())
            await self._refresher.jobs.finish(self._lease_ttl)
            error = await self._flush_in_time()
            await _ended(self._watcher.cancel())
            await _ended(self._outbox.cancel())
            self._events.end()
        if error is not None:
            _logger.error("closed with changes that are not in the store: %s", error)
            raise error

    def _end_opening(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None

    async def _flush_in_time(self) -> StoreError | None:
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT):
                await self._outbox.flush()
        except TimeoutError:
            msg = f"the store did not take the last changes within {FLUSH_TIMEOUT:g} s"
            return StoreUnavailable(msg)
        except StoreError as error:
            return error
        return None

    def abandon(self) -> StoreError | None:
        """End everything from another loop than the vault's, which is gone.

        Returns what says that changes are not in the store; they stay queued.
        """
        self._open = False
        for part in (self._upkeep, self._watcher, self._refresher.jobs, self._outbox):
            with suppress(RuntimeError):  # tasks of a closed loop are let go
                part.cancel()
        self._refresher.abandon()
        self._opening = None
        self._events.end()
        return self._outbox.unwritten()

    async def sync(self) -> None:
        """Return once the views show all that any process had committed before the call."""
        await self._watcher.catch_up()
        for user_id in [*self.mirror.damaged]:
            # What could not be read before may be readable by now.
            with suppress(*UNREADABLE):
                known = self.mirror.version(user_id)
                if await self._repository.read(self._repository.user_key(user_id)) is None:
                    self.mirror.forget(user_id, "remote", known=known)

    async def flush(self) -> None:
        """Return once every change of this process is durable; raise what failed."""
        await self._outbox.flush()

    async def health(self) -> Health:
        """How the vault is, within a second also when the store does not answer."""
        reachable, began = self._open, self._clocks.monotonic()
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT):
                key = self._repository.user_key(self._identity.client_id)
                await self._repository.version_of(key)
        except (StoreError, TimeoutError):
            reachable = False
        took = self._clocks.monotonic() - began
        users, oldest = self.mirror.count()
        return Health(
            store_reachable=reachable,
            store_seconds=took if reachable else None,
            users=users,
            oldest_validation=None if oldest is None else max(self._clocks.wall() - oldest, 0.0),
            refreshes_done=self._metrics.refreshes_done,
            refreshes_failed=self._metrics.refreshes_failed,
            last_errors=dict(self._metrics.last_errors),
            changes_pending=self._outbox.pending,
        )

    def event_stream(self) -> EventStream:
        """Events from now on."""
        return self._events.stream()

    def _require_open(self) -> None:
        if not self._open:
            raise StoreError("the flow is not open: call authorize() first")

    def login_lease(self, name: str) -> LoginLease:
        """The lease on a device login, one for all processes that call it so."""
        return LoginLease(self._repository, self._clocks, self._lease_ttl, name)

    # Users

    def record(self, user_id: str) -> Record | None:
        """The record of a user as shown, or None; raises the error of a damaged one."""
        return self.mirror.get(user_id)

    def history(self, user_id: str) -> tuple[HistoryEntry, ...]:
        """What happened to a user's record, of a removed user too, newest last."""
        return entries_of(self.mirror.get(user_id) or self.mirror.confirmed(user_id))

    def add_token(self, user_id: str, pair: TokenPair) -> None:
        """Take a pair in without asking Twitch."""
        self._logins.store(user_id, pair)

    async def add_user(self, pair: TokenPair) -> str:
        """Take a pair in after asking Twitch whose it is; returns the user id."""
        self._require_open()
        return await self._logins.add(pair)

    def remove(self, user_id: str) -> None:
        """Take the user's tokens out of the store; nothing is revoked."""
        self._backoff.forget(user_id)
        # A removal that is on its way already: a second one could meet a login that came since.
        if not self.mirror.is_leaving(user_id):
            key = self._repository.user_key(user_id)
            self._outbox.submit(key, removed, asked_for=True, in_doubt=removed_login)

    # Refreshing

    async def renew(self, user_id: str, base: Record) -> Record:
        """A newer record than `base`, whose access token Twitch has just refused."""
        self._refresher.note_refused(user_id, base)  # of use later if the flow is closed just now
        self._require_open()
        return await self._refresher.renew(user_id, base, refused=True)

    async def renew_refused(self, user_id: str, refused: str) -> str:
        """An access token for somebody who was told elsewhere that `refused` is dead.

        Another one that stands is returned without a request. The same is validated, and only a 401
        leads to a refresh.
        """
        self._require_open()
        record = self._needed(user_id)
        if record.access_refused:
            raise sign_in_again(user_id, record)
        if record.access_token != refused:
            return record.access_token
        # All who were told the same wait for one validation.
        name = f"renew/{fingerprint(refused)}"
        await self._refresher.jobs.join(name, lambda _job: self._renew_if_dead(user_id, record))
        record = self._needed(user_id)
        if record.access_refused:
            raise sign_in_again(user_id, record)
        return record.access_token

    async def _renew_if_dead(self, user_id: str, record: Record) -> None:
        try:
            answer = await self._identity.validate(record.access_token)
        except Unauthorized:
            await self.renew(user_id, record)
        else:
            await self._refresher.note_validation(user_id, record.access_token, answer)

    async def refresh(self, user_id: str) -> Token:
        """A newer pair than the view shows now, as the identity service would have answered."""
        self._require_open()
        record = self._needed(user_id)
        return as_token(await self._refresher.renew(user_id, record, refused=False))

    async def refresh_token(self, token: str) -> Token:
        """Exchange a refresh token: its successor is the vault's from now on."""
        self._require_open()
        return await self._logins.exchange(token)

    def accepted(self, user_id: str, access_token: str) -> None:
        """Twitch has just accepted this access token of a user's."""
        record = self.mirror.peek(user_id)
        if record is not None and record.access_token == access_token:  # no old one's late answer
            left = record.seconds_left(self._clocks.wall())
            self._backoff.accepted(user_id, access_token, as_recorded=left)

    def _needed(self, user_id: str) -> Record:
        record = self.mirror.get(user_id)
        if record is None:
            raise unknown_user(user_id)
        return record

    # Access tokens

    async def validate_token(self, token: str) -> ValidateToken:
        """Ask Twitch about an access token; a vaulted one's record learns the answer."""
        try:
            answer = await self._identity.validate(token)
        except Unauthorized:
            if (user_id := self._user_with(token)) is not None:
                self._refresher.note_refused(user_id, self._needed(user_id))
            raise
        user_id = self._user_with(token)
        if user_id is not None and self._open:
            await self._refresher.note_validation(user_id, token, answer)
        elif user_id is not None:
            self._backoff.accepted(user_id, token, answer.expires_in)
        return answer

    def _user_with(self, access_token: str) -> str | None:
        return self.mirror.find(lambda record: record.access_token == access_token)

    async def revoke_token(self, token: str) -> None:
        """Revoke an access token; a vaulted one then leaves the vault, durably."""
        # As a job that a cancelled caller does not end: once it is revoked it has to leave.
        name = f"revoke/{fingerprint(token)}"
        await self._refresher.jobs.join(name, lambda _job: self._revoke(token))

    async def _revoke(self, token: str) -> None:
        if self._open:
            await self.sync()
        user_id = self._user_with(token)
        if user_id is None:
            await self._identity.revoke(token)
            return
        key, base = self._repository.user_key(user_id), self._needed(user_id)
        await self._refresher.jobs.ended(key)  # what a refresh brings would outlive the login
        record = self.mirror.get(user_id)
        tokens = [token]
        if record is not None and removed_login(record, base) is not record:
            tokens.append(record.access_token)
        for each in dict.fromkeys(tokens):
            try:
                await self._identity.revoke(each)
            except BadRequest as error:
                # Dead already, by expiry or by the user's own hand: that is the goal.
                if error.message.strip().lower() != INVALID_TOKEN:
                    raise
        self._outbox.submit(key, lambda held: removed_login(held, base), asked_for=True)
        await self._outbox.written(key)

    async def run_to_end(self, name: str, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do this in a job that a cancelled caller does not end."""
        await self._refresher.jobs.join(name, lambda _job: work(), limit=TO_END)

    async def take_app_token(self, token: str) -> None:
        """Use an app access token that somebody brings along."""
        answer = await self._identity.validate(token)
        if answer.client_id != self._identity.client_id:
            msg = "'token' belongs to another client id: use an app token of this application"
            raise AuthFailure(msg)
        if answer.user_id:
            raise AuthFailure("'token' is a user's access token: use add_user() for it")
        pair = TokenPair(token, None)
        await self._outbox.written(self._logins.store(self._identity.client_id, pair, answer))

    async def ensure_app_token(self) -> bool:
        """Have an app token that validates; False: a public client has none and gets none."""
        record, client_id = None, self._identity.client_id
        with suppress(*UNREADABLE):
            record = self.mirror.get(client_id)
        if record is None or record.state != "live":
            if not self._identity.public:
                await self._add_app_token()
            return not self._identity.public
        try:
            answer = await self._identity.validate(record.access_token)
        except Unauthorized:
            if self._identity.public:
                return False
            await self._refresher.renew(client_id, record, refused=True)
        else:
            await self._refresher.note_validation(client_id, record.access_token, answer)
        return True

    async def _add_app_token(self) -> None:
        fresh = app_record(await self._identity.client_credentials(), self._clocks.wall())
        key = self._repository.user_key(self._identity.client_id)
        self._outbox.submit(key, lambda held: app_added(held, fresh), asked_for=True)
        await self._outbox.written(key)


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    """Wait for the end of cancelled tasks, a second at most."""
    if tasks:
        await asyncio.wait(tasks, timeout=1.0)
