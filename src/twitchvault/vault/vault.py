"""All of the vault together: what `App` and the API objects hold on to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Final

from twitchvault.errors import (
    AuthFailure,
    BadRequest,
    CorruptRecord,
    DecryptionError,
    StoreError,
    StoreUnavailable,
    Unauthorized,
    again,
)
from twitchvault.models import Token
from twitchvault.vault.changes import app_record, removed, removed_with, restored
from twitchvault.vault.events import Events
from twitchvault.vault.ledger import Ledger
from twitchvault.vault.logins import Logins
from twitchvault.vault.mirror import Mirror
from twitchvault.vault.outbox import Operation, Outbox
from twitchvault.vault.pump import Pump
from twitchvault.vault.record import Record, TokenPair, fingerprint
from twitchvault.vault.refresh import Refresher
from twitchvault.vault.upkeep import Upkeep

if TYPE_CHECKING:
    from twitchvault.identity import Identity
    from twitchvault.models import ValidateToken
    from twitchvault.stores.base import TokenStore
    from twitchvault.vault.events import EventStream

__all__ = ["Vault"]

_logger = logging.getLogger(__name__)

LONGEST_PAUSE: Final = 5.0
"""Seconds between two attempts to write into a store that is down."""
AT_ONCE: Final = 500
DEAD: Final = "invalid token"
FLUSH_TIMEOUT: Final = 10.0
"""Seconds that closing waits for the store to take what is still to be written."""


class Vault:
    """The tokens of one application in one store."""

    def __init__(
        self, store: TokenStore, identity: Identity, *, maintain: bool, lease_ttl: float
    ) -> None:
        client_id = identity.client_id
        self.identity = identity
        self.events = Events()
        self.mirror = Mirror(client_id, self.events)
        self._client_id = client_id
        self._store = store
        self._maintain = maintain
        self._lease_ttl = lease_ttl
        self._ledger = Ledger(store, client_id, self.mirror)
        self._pump = Pump(self._ledger, self.mirror, self._write_back)
        # A pair that waits for the store is tried often enough that no waiter takes its lease over.
        self._outbox = Outbox(
            self._ledger, self.mirror, self._catch_up_quickly, min(LONGEST_PAUSE, lease_ttl / 4)
        )
        self._refresher = Refresher(
            self._ledger, self.mirror, self._outbox, identity, lease_ttl, self._catch_up_quickly
        )
        self._logins = Logins(
            self._ledger, self.mirror, self._outbox, identity, self._refresher, self.sync
        )
        self._upkeep = Upkeep(self._ledger, self.mirror, self._outbox, identity, self._refresher)
        self._opening = asyncio.Lock()
        self._open = False
        self._clearings = 0

    async def open(self) -> None:
        """Open the store if it is not open, fill the views, begin the upkeep; idempotent."""
        async with self._opening:
            if self._open:
                return
            clearings = self._clearings
            await self._ledger.call(self._store.open)
            self._outbox.start()
            self.mirror.reveal()
            await self._pump.start()
            if clearings != self._clearings:
                self._pump.cancel()
                msg = "the vault was cleared while it opened: call authorize() again"
                raise StoreError(msg)
            self._outbox.show()
            self._open = True
            if self._maintain:
                self._upkeep.start()

    def clear(self) -> None:
        """Forget the local picture; refreshes under way and unwritten changes are kept going."""
        self._open = False
        self._clearings += 1
        self._upkeep.cancel()
        self._pump.cancel()
        self.mirror.clear()
        self.events.end()

    async def close(self) -> None:
        """Bring home what is under way, write what is waiting, end all tasks; bounded in time.

        Raises what could not be written, after everything is closed; it stays queued.
        """
        async with self._opening:
            self._open = False
            await self._upkeep.stop()
            error = await self._finish()
            await self._pump.stop()
            await self._outbox.stop()
            self.events.end()
        if error is not None:
            _logger.error("closed with changes that are not in the store: %s", error)
            raise error

    async def _finish(self) -> StoreError | None:
        try:
            async with asyncio.timeout(self._lease_ttl + FLUSH_TIMEOUT):
                await self._refresher.finish()
        except TimeoutError:
            return StoreUnavailable("a refresh did not end in time; close() gave up waiting")
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT):
                await self._outbox.flush()
        except TimeoutError:
            msg = f"the store did not take the last changes within {FLUSH_TIMEOUT:.0f} s"
            return StoreUnavailable(msg)
        except StoreError as error:
            return error
        return None

    async def sync(self) -> None:
        """Return once the views show all that any process had committed before the call."""
        await self._pump.catch_up()
        await self.mirror.read_all()
        for user_id in self.mirror.damaged:
            # What could not be read before may be readable by now.
            with contextlib.suppress(CorruptRecord, DecryptionError):
                await self._ledger.read(self._ledger.user_key(user_id))

    async def flush(self) -> None:
        """Return once every change of this process is durable; raise what failed."""
        await self._outbox.flush()

    async def _catch_up_quickly(self) -> None:
        # After every single removal, a store that can only be scanned is not worth scanning.
        if self._pump.follows:
            await self._pump.catch_up()

    def _check_open(self) -> None:
        if not self._open:
            msg = "the vault is not open: call authorize() first"
            raise StoreError(msg)

    # Tokens

    def add_token(self, user_id: str, pair: TokenPair) -> None:
        """Take a pair in without asking Twitch."""
        self._logins.store(user_id, pair)

    async def add_user(self, pair: TokenPair) -> str:
        """Take a pair in after asking Twitch whose it is; returns the user id."""
        self._check_open()
        return await self._logins.add(pair)

    def remove(self, user_id: str) -> None:
        """Take the user's tokens out of the store; nothing is revoked."""
        self._outbox.submit(self._ledger.user_key(user_id), Operation(removed, asked_for=True))

    async def renew(self, user_id: str, stale: str, *, refused: bool = False) -> Record:
        """A record with a newer access token than `stale`, exchanged once in all processes.

        `refused`: Twitch has just said that `stale` is dead. If the user has to sign in again,
        nobody needs to ask with it any more.
        """
        self._check_open()
        try:
            return await self._refresher.renew(user_id, stale, refused=refused)
        except AuthFailure:
            if refused:
                await self._upkeep.mourn(user_id, stale)
            raise

    async def refreshed(self, user_id: str, stale: str) -> Token:
        """Like `renew`, as the identity service would have answered."""
        return _as_token(await self.renew(user_id, stale))

    async def refresh_token(self, token: str) -> Token:
        """Exchange a refresh token: through the vault if it is or was the vault's."""
        self._check_open()
        await self.sync()
        user_id = self.mirror.heir_of(token, fingerprint(token))
        if user_id is None:
            return await self.identity.refresh(token)
        record = self.mirror.get(user_id)
        if record is None:
            msg = f"this refresh token is spent, and user {user_id!r} was removed: sign in again"
            raise AuthFailure(msg)
        if record.refresh_token == token:
            record = await self.renew(user_id, record.access_token)
        return _as_token(record)

    async def validate_token(self, token: str) -> ValidateToken:
        """Ask Twitch about an access token; a vaulted one's record learns the answer."""
        answer = await self.identity.validate(token)
        user_id = self.mirror.holder_of(access=token)
        if user_id is not None and self._open:
            await self._upkeep.note(user_id, token, answer)
        return answer

    async def revoke_token(self, token: str) -> None:
        """Revoke an access token; a vaulted one then leaves the vault, durably."""
        # As a task that a cancelled caller does not end: once it is revoked it has to leave.
        await self._refresher.join(f"revoke/{fingerprint(token)}", lambda: self._revoke(token))

    async def _revoke(self, token: str) -> None:
        if self._open:
            await self.sync()
        user_id = self.mirror.holder_of(access=token)
        record = None if user_id is None else self.mirror.get(user_id)
        try:
            await self.identity.revoke(token)
        except BadRequest as error:
            # Dead already, by expiry or by the user's own hand: for a vaulted one that is the goal.
            if user_id is None or error.message.strip().lower() != DEAD:
                raise
        if user_id is not None and record is not None:
            key = self._ledger.user_key(user_id)
            change = Operation(lambda held: removed_with(held, record), asked_for=True)
            self._outbox.submit(key, change)
            await self._settled(user_id)

    async def _settled(self, user_id: str) -> None:
        error = await self._outbox.settle(self._ledger.user_key(user_id))
        if error is not None:
            raise again(error)

    async def _write_back(self) -> None:
        """The store has lost data: give it what this process holds and it does not, or is older."""
        users = self.mirror.known()
        for start in range(0, len(users), AT_ONCE):
            await asyncio.gather(
                *(self._write_back_one(user_id) for user_id in users[start : start + AT_ONCE])
            )

    async def _write_back_one(self, user_id: str) -> None:
        ours = self.mirror.stored(user_id)
        if ours is None:
            return
        key = self._ledger.user_key(user_id)
        before = self.mirror.version(user_id)

        def change(held: Record | None) -> Record:
            return self._refresher.latest(user_id, restored(held, ours))

        error = await self._outbox.apply(key, Operation(change))
        if error is None and self.mirror.version(user_id) > before:
            reason = "the store had lost it; what this process held was written back"
            self.events.emit("added", user_id, "local", reason)

    # The app token

    async def take_app_token(self, token: str) -> None:
        """Use an app access token that somebody brings along."""
        answer = await self.identity.validate(token)
        if answer.client_id != self._client_id:
            msg = "'token' belongs to another client id: use an app token of this application"
            raise AuthFailure(msg)
        if answer.user_id:
            msg = "'token' is a user's access token: use add_user() for it"
            raise AuthFailure(msg)
        self._logins.store(self._client_id, TokenPair(token, None), answer)
        await self._settled(self._client_id)

    async def ensure_app_token(self) -> bool:
        """Have an app token that validates: the vault's own, else a new one.

        False: a public client has none and cannot get one.
        """
        try:
            record = self.mirror.get(self._client_id)
        except (CorruptRecord, DecryptionError):
            record = None
        if record is None:
            return await self._first_app_token()
        try:
            answer = await self.identity.validate(record.access_token)
        except Unauthorized:
            if self.identity.public:
                return False
            await self.renew(self._client_id, record.access_token)
        else:
            await self._upkeep.note(self._client_id, record.access_token, answer)
        return True

    async def _first_app_token(self) -> bool:
        if self.identity.public:
            return False
        fresh = app_record(await self.identity.client_credentials(), time.time())
        key = self._ledger.user_key(self._client_id)
        self._outbox.submit(key, Operation(lambda held: held or fresh, asked_for=True))
        await self._settled(self._client_id)
        return True

    def event_stream(self) -> EventStream:
        """Events from now on."""
        return self.events.stream()


def _as_token(record: Record) -> Token:
    return Token.from_answer(
        {
            "access_token": record.access_token,
            "refresh_token": record.refresh_token,
            "expires_in": int(record.expires_in),
            "scope": list(record.scopes or ()),
            "token_type": "bearer",
        }
    )
