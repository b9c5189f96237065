"""What the owner of a lease does: send the refresh token, and bring its successor home.

The request leaves only within the first half of `lease_ttl`, and ends within it with all its
repeats; the clock is looked at once more when the body leaves. Then the new pair is written if the
record still holds the token that was exchanged.

Three kinds of failure. Refused (400 `Invalid refresh token`, 401): a newer pair wins, else the
record needs a login. Nothing can have happened (the request never left, 429, 503): repeat with
growing pauses. The token may be spent (sent without an answer, any other 5xx, an unusable answer,
or the lease of an owner that died): ask whether the old access token still lives, read the record
again, and try once more, not oftener. Anything else is configuration: raise it, touch nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from twitchvault.errors import HTTPException, NoAnswer, RateLimited, StoreError, TwitchServerError
from twitchvault.identity import refused_grant
from twitchvault.vault.changes import app_record, exchanged, refused, released
from twitchvault.vault.outbox import Operation

if TYPE_CHECKING:
    from twitchvault.identity import Identity
    from twitchvault.vault.ledger import Ledger
    from twitchvault.vault.outbox import Outbox
    from twitchvault.vault.record import Record

__all__ = ["Exchange", "Lease"]

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 4.0
RECENT_KEPT: Final = 1000
OK: Final = 200
SERVICE_UNAVAILABLE: Final = 503
REFUSED: Final = "Twitch refused the refresh token"


class Lease:
    """The right to exchange the refresh token of `record`, from `taken_at` (monotonic) on.

    `version`: where the record stands with the lease in it. `sent`: a request has left under it.
    `may_doubt`: one more try is allowed when the token may be spent.
    """

    def __init__(self, key: str, name: str, record: Record, version: int, taken_at: float) -> None:
        self.key = key
        self.name = name
        self.record = record
        self.version = version
        self.taken_at = taken_at
        self.sent = False
        self.may_doubt = True


class _Failure(Enum):
    TOO_LATE = auto()
    REFUSED = auto()
    HARMLESS = auto()
    DOUBTFUL = auto()
    FINAL = auto()


class Exchange:
    """Carries exchanges out; `time_to_send` seconds after a lease was taken nothing leaves."""

    def __init__(
        self, ledger: Ledger, outbox: Outbox, identity: Identity, time_to_send: float
    ) -> None:
        self._ledger = ledger
        self._outbox = outbox
        self._identity = identity
        self._time_to_send = time_to_send
        # Leases of this process whose request never left: nobody needs to wait for them.
        self.unsent: set[str] = set()
        self._recent: dict[str, Operation] = {}

    async def carry_out(self, lease: Lease, *, doubtful: bool) -> Record | None:
        """Send until there is an answer. None: look at the record again. Errors end the lease.

        If the store is down and could not take it, the new pair as it will be.
        """
        if doubtful and not await self._reassure(lease):
            return None
        pause = FIRST_PAUSE
        while True:
            try:
                operation = await self._send(lease)
            except HTTPException as error:
                failure = self._judge(lease, error)
                if failure is _Failure.TOO_LATE:
                    return None
                if failure is _Failure.REFUSED:
                    self.unsent.discard(lease.name)
                    await self.refuse(lease.key, lease.record, f"{REFUSED} ({error})")
                    return None
                if failure is _Failure.FINAL or self._left(lease) <= pause:
                    # This process may have been stopped for so long that others have taken over.
                    with contextlib.suppress(StoreError):
                        if not await self._is_ours(lease):
                            return None
                    raise
            else:
                return await self._bring_home(lease, operation)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            if failure is _Failure.DOUBTFUL and not await self._reassure(lease):
                return None

    def latest(self, key: str, record: Record) -> Record:
        """`record` with the successor of its refresh token, if that was exchanged here recently.

        For a store that lost the successor, or the record while its token was being exchanged.
        """
        operation = self._recent.get(key)
        return record if operation is None else operation.change(record) or record

    async def refuse(self, key: str, record: Record, reason: str) -> None:
        """Mark `record` as needing a login, unless a newer pair has come."""
        await self._outbox.apply(key, Operation(lambda now: refused(now, record, reason)))

    def _left(self, lease: Lease) -> float:
        return lease.taken_at + self._time_to_send - time.monotonic()

    async def _send(self, lease: Lease) -> Operation:
        """One request to Twitch; the change that its answer makes to the record."""
        if not self._outbox.running:
            msg = (
                "the flow is closed: a refresh token is not spent when its successor cannot be kept"
            )
            raise StoreError(msg)
        left = self._left(lease)
        if left <= 0:
            msg = "the lease ran out before the request could leave; nothing was sent"
            raise NoAnswer(msg, sent=False, too_late=True)
        sent, stale = lease.record.refresh_token, lease.record.access_token
        if sent is None:
            answer = await self._identity.client_credentials()
            app = app_record(answer, time.time())
            return Operation(lambda now: app if now and now.access_token == stale else now)
        leave_by = lease.taken_at + self._time_to_send
        token = await self._identity.refresh(sent, leave_by=leave_by, timeout=left)
        at = time.time()
        return Operation(lambda now: exchanged(now, sent, token, at))

    def _judge(self, lease: Lease, error: HTTPException) -> _Failure:
        if isinstance(error, NoAnswer) and not error.sent:
            late = error.too_late and not lease.sent
            return _Failure.TOO_LATE if late else _Failure.HARMLESS
        lease.sent = True
        self.unsent.discard(lease.name)
        if refused_grant(error) and lease.record.refresh_token is not None:
            return _Failure.REFUSED
        if isinstance(error, RateLimited) or error.status == SERVICE_UNAVAILABLE:
            return _Failure.HARMLESS
        doubtful = isinstance(error, (NoAnswer, TwitchServerError)) or error.status == OK
        return _Failure.DOUBTFUL if doubtful and lease.may_doubt else _Failure.FINAL

    async def _reassure(self, lease: Lease) -> bool:
        """The token may be spent: whether to go on, because the lease is still ours."""
        lease.may_doubt = False
        # That the old access token lives proves, for a public client, that nothing was spent. That
        # it does not live proves nothing: it may have been dead before.
        with contextlib.suppress(HTTPException):
            left = max(self._left(lease), FIRST_PAUSE)
            await self._identity.validate(lease.record.access_token, timeout=left)
        return await self._is_ours(lease)

    async def _is_ours(self, lease: Lease) -> bool:
        held = await self._ledger.read(lease.key)
        return held is not None and held.record.lease == lease.name

    async def _bring_home(self, lease: Lease, operation: Operation) -> Record | None:
        self.unsent.discard(lease.name)
        lease.sent = True
        new = operation.change(lease.record)
        self._recent.pop(lease.key, None)
        self._recent[lease.key] = operation
        if len(self._recent) > RECENT_KEPT:
            del self._recent[next(iter(self._recent))]
        if await self._outbox.apply(lease.key, operation) is not None:
            return new
        try:
            held = await self._ledger.read(lease.key)
        except StoreError:
            return new
        return None if held is None else held.record.shown

    async def release(self, lease: Lease) -> None:
        """Give the lease back, without having changed anything."""
        self.unsent.discard(lease.name)
        await self._outbox.apply(lease.key, Operation(lambda now: released(now, lease.name)))
