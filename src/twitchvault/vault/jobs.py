"""Tasks that several callers of one process wait for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from twitchvault.errors import NoAnswer, StoreError, TwitchVaultError, fresh_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twitchvault.vault.clocks import Clocks
    from twitchvault.vault.lease import Lease
    from twitchvault.vault.record import Record
    from twitchvault.vault.repository import Held

    Work: TypeAlias = Callable[["Job"], Coroutine[None, None, Record | None]]

__all__ = ["Job", "Jobs"]

BLIND: Final = 0.4
"""The part of a lease's ttl for which a waiter may not have read it without beginning anew."""
ROUNDS: Final = 50
STEP: Final = 0.01
"""Seconds by which the pauses between two rounds grow, so many times."""
SLICES: Final = 20
GIVING_UP: Final = 1.0
"""Seconds that a job which has sent nothing may take to end."""


class _Wait(NamedTuple):
    """A lease that somebody waits for, by version and name, since when, and when it was read."""

    state: tuple[int, str | None]
    since: float
    read_at: float
    ttl: float

    def is_over(self, now: float) -> bool:
        """Whether it was not read for too long to count any more."""
        return now - self.read_at > self.ttl * BLIND


class Job:
    """One task that several callers wait for, `limit` seconds from its start at most.

    `lease` is the one under which it exchanges, `sent`: it has sent something under one before. The
    job goes on when its callers have given up.
    """

    def __init__(self, clocks: Clocks, limit: float, work: Work) -> None:
        self.limit = limit
        self.lease: Lease | None = None
        self.sent = False
        self._clocks = clocks
        self._started = clocks.monotonic()
        self._rounds = 0
        self.task = asyncio.create_task(work(self), name="twitchvault refresh")

    @property
    def left(self) -> float:
        """Seconds for which a caller goes on waiting."""
        return self._started + self.limit - self._clocks.monotonic()

    def cancel(self) -> None:
        """End the work; from now on nothing is sent."""
        if self.lease is not None:
            self.lease.given_up = True
        self.task.cancel()

    async def result(self) -> Record | None:
        """What the work comes to; `NoAnswer` if that takes too long for a caller."""
        while not self.task.done():
            if self.left <= 0:
                raise self.timed_out()
            await asyncio.wait((self.task,), timeout=self.left)
        if self.task.cancelled():
            msg = "the flow was closed first; no refresh token was sent"
            if self.sent:
                msg = (
                    "the flow was closed first; if the refresh came to anything, it is in the store"
                )
            raise NoAnswer(msg, sent=self.sent)
        error = self.task.exception()
        if isinstance(error, TwitchVaultError):
            raise fresh_copy(error)
        return self.task.result()

    async def pause(self) -> None:
        """Wait a moment before the record is looked at again: others were faster."""
        self._rounds += 1
        await asyncio.sleep(min(self._rounds - 1, ROUNDS) * STEP)

    def timed_out(self) -> NoAnswer:
        """The error of a caller who has waited long enough."""
        return NoAnswer(f"no result of the refresh within {self.limit:g} s; try again in a moment")


class Jobs:
    """The jobs under way, by key. None begins while they are `ending`."""

    def __init__(self, clocks: Clocks, limit: float) -> None:
        self._clocks = clocks
        self._limit = limit
        self._jobs: dict[str, Job] = {}
        self._waits: dict[str, _Wait] = {}
        self.ending = False

    async def join(self, key: str, work: Work, limit: float | None = None) -> Record | None:
        """The result of the one job for `key`; a caller's cancellation does not end it.

        Callers wait for `limit` seconds, a lease's ttl if there is none.
        """
        job = self._jobs.get(key)
        if job is None or job.task.done():
            if self.ending:
                raise StoreError("the vault is closed: call authorize() first")
            job = self._jobs[key] = Job(self._clocks, limit or self._limit, work)
            job.task.add_done_callback(partial(self._ended, key))
        return await job.result()

    def seconds_left(self, key: str, held: Held) -> float:
        """Until the lease in `held`, which was read just now, is dead.

        It is once the record has stood still for its ttl before this process' own eyes. Time in
        which it was not read does not count: while the store was away, or this process stopped, the
        owner may have been unable to write as well.
        """
        now, ttl = self._clocks.monotonic(), held.record.lease_ttl
        state = (held.version, held.record.lease)
        known = self._waits.pop(key, None)
        since = now
        if known is not None and known.state == state and not known.is_over(now):
            since = known.since
        if held.record.lease is not None:
            self._waits[key] = _Wait(state, since, now, ttl)  # the newest stands last
        while self._waits and (oldest := next(iter(self._waits.items())))[1].is_over(now):
            del self._waits[oldest[0]]
        return since + ttl - now

    async def ended(self, key: str) -> None:
        """Wait for the end of the job for `key`, if there is one, whatever comes of it."""
        if key in self._jobs:
            with suppress(TwitchVaultError):
                await self._jobs[key].result()

    def _ended(self, key: str, task: asyncio.Task[Record | None]) -> None:
        if key in self._jobs and self._jobs[key].task is task:
            del self._jobs[key]
        if not task.cancelled():
            task.exception()  # whoever still waits gets it; nobody need wait

    async def finish(self, patience: float) -> None:
        """End the jobs that have sent nothing, and wait `patience` seconds for the others."""
        self.ending = True
        jobs = list(self._jobs.values())
        sending = {job.task for job in jobs if job.lease and job.lease.sent}
        others = {job.task for job in jobs} - sending
        for job in jobs:
            if job.task in others:
                job.cancel()
        if others:
            await asyncio.wait(others, timeout=GIVING_UP)
        # Time for which this process stood still does not count: an answer may lie in its socket.
        slice_ = patience / SLICES
        while sending and patience > 0:
            began = self._clocks.monotonic()
            _, sending = await asyncio.wait(sending, timeout=slice_)
            patience -= min(self._clocks.monotonic() - began, slice_)
        self.cancel()
        if sending:  # one of them may just have its answer
            await asyncio.wait(sending, timeout=GIVING_UP)

    def cancel(self) -> None:
        """End all jobs, without waiting for them."""
        for job in list(self._jobs.values()):
            job.cancel()

    def abandon(self) -> list[Lease]:
        """Forget all jobs, whose loop is gone; the leases under which something was sent."""
        jobs, self._jobs = self._jobs, {}
        return [job.lease for job in jobs.values() if job.lease and job.lease.sent]
