"""Exactly one exchange of each refresh token, in all processes, with no lock service.

The record itself is the lock: who wants to exchange its refresh token first puts a lease into it by
compare-and-set. Twitch forgives nothing here: a public client's refresh token is one-use, and
presenting a spent one is reported to cut the user's whole connection. So the order of steps matters
more than their speed:

1. Callers in one process share one task per user, which no caller's cancellation ends.
2. Read the record. A newer access token than the stale one: somebody was faster, use it.
3. Take the lease. This also proves that the store can be written before the token is spent.
4. Somebody else's lease: wait for the next version. A record that stood still for `lease_ttl` of
   this process's own monotonic clock has lost its owner: take over.
5. Under the lease: `exchange`.

A refresh token from outside may be known under several names at once, or under none yet. It is
exchanged under a lease on its own fingerprint's key, and its successor is parked there until it is
written to its user.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from twitchvault.errors import AuthFailure, TokenError, TwitchVaultError, VersionConflict, again
from twitchvault.vault.changes import moved
from twitchvault.vault.exchange import Exchange, Lease
from twitchvault.vault.outbox import Operation
from twitchvault.vault.record import Record, fingerprint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from twitchvault.identity import Identity
    from twitchvault.vault.ledger import Held, Ledger
    from twitchvault.vault.mirror import Mirror
    from twitchvault.vault.outbox import Outbox

__all__ = ["Refresher"]

POLL: Final = 0.5
"""Seconds after which a waiter looks into the store, should no news have come."""
SEED_POLL: Final = 0.05
LOOKS: Final = 10
"""A waiter looks at least that often in `lease_ttl`."""
BLIND: Final = 0.4
"""The part of `lease_ttl` for which a waiter may not have looked without beginning anew."""


class _Job(NamedTuple):
    """One refresh token to be exchanged under the lease of the record at `key`.

    `done` tells from the record whether it has happened. `obsolete`, if given, looks elsewhere for
    the same answer right before the token would be sent.
    """

    key: str
    done: Callable[[Record], bool]
    obsolete: Callable[[], Awaitable[bool]] | None = None


class _Watch:
    """How long a leased record has stood still before this waiter's own eyes.

    Time in which it could not look does not count: while the store was away, or this process
    stopped, the owner may have been unable to write as well.
    """

    def __init__(self, lease_ttl: float) -> None:
        self._lease_ttl = lease_ttl
        self._version = 0
        self._since = 0.0
        self._looked = 0.0

    def left(self, version: int) -> float:
        """Seconds until the lease is dead, after a look that found the record at `version`."""
        now = time.monotonic()
        if version != self._version or now - self._looked > self._lease_ttl * BLIND:
            self._version, self._since = version, now
        self._looked = now
        return self._since + self._lease_ttl - now


class Refresher:
    """Renews records, once in all processes."""

    def __init__(
        self,
        ledger: Ledger,
        mirror: Mirror,
        outbox: Outbox,
        identity: Identity,
        lease_ttl: float,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        self._catch_up = catch_up
        self._ledger = ledger
        self._mirror = mirror
        self._outbox = outbox
        self._identity = identity
        self._lease_ttl = lease_ttl
        self._exchange = Exchange(ledger, outbox, identity, lease_ttl / 2)
        self._owner = secrets.token_hex(4)
        self._running: dict[str, asyncio.Task[Record | None]] = {}

    async def renew(self, user_id: str, stale: str, *, refused: bool = False) -> Record:
        """A record of this user with an access token other than `stale`.

        `refused`: Twitch says that `stale` is dead. Without a refresh token the user then has to
        sign in again; else that is only an error.

        `AuthFailure` if the user has to sign in again, `TokenError` if there is no such user,
        `HTTPException` or `StoreError` if it cannot be done just now; nothing is lost then.
        """
        key = self._ledger.user_key(user_id)
        if self._is_app(user_id) and self._identity.public:
            msg = "the app access token died, and without a client secret there is no other"
            raise AuthFailure(msg)
        while True:
            record = self._mirror.get(user_id)
            if record is None or (record.access_token == stale and record.state == "live"):
                record = await self.join(key, lambda: self._renew_stored(user_id, stale, refused))
            if record is None:
                msg = f"no token is stored for user {user_id!r}; sign the user in first"
                raise TokenError(msg)
            if record.access_token != stale:
                return record
            if record.state == "needs_login":
                msg = f"user {user_id!r} has to sign in again: {record.reason}"
                raise AuthFailure(msg)
            if record.refresh_token is None and not (refused or self._is_app(user_id)):
                msg = f"no refresh token is stored for user {user_id!r}: only a new login renews it"
                raise TokenError(msg)

    async def redeem(
        self, pair: Record, mark: str, obsolete: Callable[[], Awaitable[bool]]
    ) -> Record | None:
        """Exchange a refresh token from outside, leased on its fingerprint's own key.

        The new pair is parked under that key, durably, until its user is known. A record that needs
        a login: Twitch refused the token, now or earlier. None: look again, things have moved on.
        """
        key = self._ledger.seed_key(mark)

        async def settle() -> Record | None:
            while await self._ledger.read(key) is None:
                with contextlib.suppress(VersionConflict):
                    await self._ledger.write(key, pair, expect=0)
            return await self._settle(_Job(key, lambda record: not record.seeded, obsolete))

        return await self.join(key, settle)

    async def renew_parked(self, mark: str, stale: str) -> Record | None:
        """A newer pair for one that was parked until its access token died."""
        key = self._ledger.seed_key(mark)

        async def obsolete() -> bool:
            await self._catch_up()
            held = await self._ledger.read(key)
            sent = None if held is None else held.record.refresh_token
            return sent is None or self._mirror.heir_of(sent, fingerprint(sent)) is not None

        job = _Job(key, lambda now: now.access_token != stale, obsolete)
        return await self.join(key, lambda: self._settle(job))

    async def join(
        self, key: str, start: Callable[[], Coroutine[None, None, Record | None]]
    ) -> Record | None:
        """The result of the one task for `key`; a caller's cancellation does not end the task."""
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(start(), name="twitchvault refresh")
            self._running[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    def latest(self, user_id: str, record: Record) -> Record:
        """`record`, or what it was exchanged for by this process recently."""
        return self._exchange.latest(self._ledger.user_key(user_id), record)

    async def finish(self) -> None:
        """Wait until no exchange is under way; each ends within half of `lease_ttl` or so."""
        while self._running:
            await asyncio.wait(list(self._running.values()))

    def _ended(self, key: str, task: asyncio.Task[Record | None]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled():
            task.exception()  # whoever still waits gets it; nobody need wait

    def _is_app(self, user_id: str) -> bool:
        return user_id == self._identity.client_id

    async def _renew_stored(self, user_id: str, stale: str, refused: bool) -> Record | None:
        key = self._ledger.user_key(user_id)
        while True:
            held = await self._read(key)
            if held is None:
                return None
            record = held.record
            if record.access_token != stale or record.state == "needs_login":
                return record
            if record.refresh_token is None and not self._is_app(user_id):
                if not refused:
                    return record
                await self._exchange.refuse(
                    key, record, "the access token died and has no refresh token"
                )
            elif record.refresh_token is not None and record.seeded:
                await self._renew_seeded(key, record, record.refresh_token)
            else:
                return await self._settle(_Job(key, lambda now: now.access_token != stale))

    async def _renew_seeded(self, key: str, record: Record, sent: str) -> None:
        """The first exchange of a pair from outside, which others may hold under another name."""

        mark = fingerprint(sent)

        async def obsolete() -> bool:
            await self._catch_up()
            held = await self._ledger.read(key)
            moved_on = held is None or held.record.refresh_token != sent
            return moved_on or self._mirror.spender_of(mark) is not None

        heir = self._mirror.spender_of(mark)
        if heir is not None and heir != self._ledger.user_of(key):
            reason = f"its refresh token was exchanged as that of user {heir!r}"
            await self._exchange.refuse(key, record, reason)
            return
        seed = Record(access_token=record.access_token, refresh_token=sent)
        parked = await self.redeem(seed, mark, obsolete)
        if parked is None:
            return
        if parked.state == "needs_login":
            await self._exchange.refuse(key, record, parked.reason)
            return
        now = time.time()
        await self.adopt(key, Operation(lambda held: moved(held, sent, parked, now)), mark, parked)

    async def adopt(self, key: str, operation: Operation, mark: str, parked: Record) -> None:
        """Bring a parked pair home to its user, then clear the place where it was parked."""
        if await self._outbox.apply(key, operation) is None:
            clear = Operation(lambda held: held if held and held.pair != parked.pair else None)
            self._outbox.submit(self._ledger.seed_key(mark), clear)

    async def _read(self, key: str) -> Held | None:
        # What this process has changed itself must be in the store before the store is asked.
        error = await self._outbox.settle(key)
        if error is not None:
            raise again(error)
        held = await self._ledger.read(key)
        return None if held is None or held.record.shown is None else held

    async def _settle(self, job: _Job) -> Record | None:
        """Wait for somebody's exchange or carry it out, until the record is done or refused.

        None: it is gone or obsolete.
        """
        watch = _Watch(self._lease_ttl)
        while True:
            held = await self._read(job.key)
            if held is None:
                return None
            record = held.record
            if job.done(record) or record.state == "needs_login":
                return record
            foreign = record.lease is not None and record.lease not in self._exchange.unsent
            left = watch.left(held.version)
            if foreign and left > 0:
                await self._wait(job.key, held.version, left)
                continue
            lease = await self._take(job, held)
            if lease is None:
                continue
            try:
                if job.obsolete is not None and await job.obsolete():
                    self._exchange.unsent.discard(lease.name)
                    with contextlib.suppress(VersionConflict):
                        await self._ledger.remove(job.key, expect=lease.version)
                    return None
                result = await self._exchange.carry_out(lease, doubtful=foreign)
            except TwitchVaultError:
                await self._exchange.release(lease)
                raise
            if result is not None:
                return result

    async def _wait(self, key: str, version: int, left: float) -> None:
        user_id = self._ledger.user_of(key)
        if user_id is None:
            await asyncio.sleep(min(left, self._lease_ttl / LOOKS, SEED_POLL))
        else:
            pause = min(left, self._lease_ttl / LOOKS, POLL)
            await self._mirror.changed(user_id, version, pause)

    async def _take(self, job: _Job, held: Held) -> Lease | None:
        name = f"{self._owner}-{secrets.token_hex(8)}"
        # Taken before the others can see it: our half of lease_ttl is over before their whole.
        taken_at = time.monotonic()
        self._exchange.unsent.add(name)
        record = replace(held.record, lease=name)
        try:
            version = await self._ledger.write(job.key, record, expect=held.version)
        except VersionConflict:
            self._exchange.unsent.discard(name)
            return None
        return Lease(job.key, name, record, version, taken_at)
