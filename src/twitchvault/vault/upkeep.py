"""Validation and early refresh in the background.

Twitch requires every token to be validated at start and then hourly. One schedule per process,
spread out, since some hundred calls at once draw 429s; the result goes into the record, so that
the fleet validates each token once an hour, not each process.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from twitchvault.errors import (
    AuthFailure,
    RateLimited,
    TokenError,
    TwitchVaultError,
    Unauthorized,
)
from twitchvault.vault.changes import mourned, validated
from twitchvault.vault.outbox import Operation

if TYPE_CHECKING:
    from twitchvault.identity import Identity
    from twitchvault.models import ValidateToken
    from twitchvault.vault.ledger import Ledger
    from twitchvault.vault.mirror import Mirror
    from twitchvault.vault.outbox import Outbox
    from twitchvault.vault.record import Record
    from twitchvault.vault.refresh import Refresher

__all__ = ["Upkeep"]

_logger = logging.getLogger(__name__)

EVERY: Final = 3600.0
"""Seconds between two validations of one token, as Twitch requires."""
HEAD_START: Final = 300.0
"""A process validates up to this many seconds early, each at random, so that one is the first."""
PER_SECOND: Final = 20.0
AT_ONCE: Final = 40
SKEW: Final = 60.0
"""Seconds by which clocks of two machines may differ."""
EARLY: Final = 300.0
"""Seconds before its end at which a token is refreshed, if it was to live twice that long."""
ROUND: Final = 200
SWEEP: Final = 10.0
SWEEP_STEP: Final = 500


class Upkeep:
    """Looks after all records of the mirror; one task and a few workers, ended by `stop`."""

    def __init__(
        self,
        ledger: Ledger,
        mirror: Mirror,
        outbox: Outbox,
        identity: Identity,
        refresher: Refresher,
    ) -> None:
        self._ledger = ledger
        self._mirror = mirror
        self._outbox = outbox
        self._identity = identity
        self._refresher = refresher
        self._task: asyncio.Task[None] | None = None
        self._changed: set[str] = set()
        self._news = asyncio.Event()
        self._not_before: dict[str, float] = {}
        self._pause_until = 0.0
        self._busy: set[str] = set()
        self._places = asyncio.Semaphore(AT_ONCE)

    def start(self) -> None:
        """Begin; idempotent."""
        if self._task is None:
            self._news = asyncio.Event()
            self._mirror.on_change = self._note
            self._task = asyncio.create_task(self._run(), name="twitchvault upkeep")

    def cancel(self) -> asyncio.Task[None] | None:
        """Let the task end without waiting for it."""
        task, self._task = self._task, None
        self._changed.clear()
        if task is not None:
            self._mirror.on_change = lambda _user_id: None
            task.cancel()
        return task

    async def stop(self) -> None:
        """End the task."""
        task = self.cancel()
        if task is not None:
            await asyncio.wait((task,))

    def _note(self, user_id: str) -> None:
        self._changed.add(user_id)
        self._news.set()

    async def _run(self) -> None:
        self._busy, self._places = set(), asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            await self._sweep(group)

    async def _sweep(self, group: asyncio.TaskGroup) -> None:
        next_sweep = 0.0
        while True:
            if time.monotonic() >= next_sweep:
                next_sweep = time.monotonic() + SWEEP
                self._changed.clear()
                await self._mirror.read_all()
                due, more = await self._due(self._mirror.users())
            else:
                changed, self._changed = self._changed, set()
                due, more = await self._due(list(changed))
            self._news.clear()
            if more:
                next_sweep = 0.0
            await self._look_after_all(due, group)
            await _until(self._news, next_sweep - time.monotonic())

    async def _due(self, users: list[str]) -> tuple[list[str], bool]:
        """The next round, who is to be refreshed first; and whether there are more.

        A round is short, so that who becomes urgent meanwhile need not wait for a long queue.
        """
        due: dict[str, list[str]] = {"refresh": [], "validate": []}
        for count, user_id in enumerate(users, 1):
            if task := self._task_for(user_id):
                due[task].append(user_id)
            if count % SWEEP_STEP == 0:
                await asyncio.sleep(0)
        # In any order, so that two processes do not ask about the same users at the same time.
        chosen: list[str] = []
        for some in due.values():
            chosen += random.sample(some, min(len(some), ROUND - len(chosen)))
        return chosen, len(chosen) < sum(map(len, due.values()))

    def _task_for(self, user_id: str) -> str | None:
        """What is to be done for this user now: "refresh", "validate" or nothing."""
        now = time.time()
        if self._rests(user_id, now) or self._not_before.get(user_id, 0.0) > time.monotonic():
            return None
        record = self._mirror.peek(user_id)
        if record is None or record.dead:
            return None
        if record.last_validated is None:
            return "validate" if record.state == "live" else None
        renewable = record.state == "live" and record.refresh_token
        if renewable and _ends_soon(record.last_validated, record.expires_in, now):
            return "refresh"
        age = now - record.last_validated
        # A time in the future comes from another machine's clock: do not wait for it.
        due = age < -SKEW or age >= EVERY - HEAD_START * random.random()  # noqa: S311
        return "validate" if due else None

    def _rests(self, user_id: str, now: float) -> bool:
        """Whether nothing can be due yet, without reading the record: nearly always so."""
        known = self._mirror.validated(user_id)
        if known is None or _ends_soon(*known, now):
            return False
        return 0 <= now - known[0] < EVERY - HEAD_START

    async def _look_after_all(self, due: list[str], group: asyncio.TaskGroup) -> None:
        """At most PER_SECOND begin in a second, at most AT_ONCE are under way."""
        for user_id in due:
            if user_id in self._busy:
                continue
            await self._places.acquire()
            await asyncio.sleep(max(1 / PER_SECOND, self._pause_until - time.monotonic()))
            self._busy.add(user_id)
            task = group.create_task(self._look_after(user_id), name="twitchvault upkeep of one")
            task.add_done_callback(partial(self._done, user_id))

    def _done(self, user_id: str, _task: asyncio.Task[None]) -> None:
        self._busy.discard(user_id)
        self._places.release()
        self._note(user_id)  # a renewed token wants to be validated, too

    async def _look_after(self, user_id: str) -> None:
        self._mirror.fetch()
        what = self._task_for(user_id)
        record = self._mirror.peek(user_id)
        if record is None or what is None:
            return
        try:
            if what == "refresh":
                await self._refresher.renew(user_id, record.access_token)
            else:
                await self._validate(user_id, record)
        except (AuthFailure, TokenError):
            self._later(user_id, EVERY)
        except RateLimited:
            self._pause_until = time.monotonic() + 2.0
            self._later(user_id, 5.0)
        except TwitchVaultError as error:
            _logger.info("upkeep of user %r failed, trying later: %s", user_id, error)
            self._later(user_id, random.uniform(10.0, 60.0))  # noqa: S311
        except Exception as error:
            _logger.error("upkeep of user %r failed with %s", user_id, type(error).__name__)
            self._later(user_id, EVERY)
        else:
            self._not_before.pop(user_id, None)

    def _later(self, user_id: str, seconds: float) -> None:
        self._not_before[user_id] = time.monotonic() + seconds

    async def _validate(self, user_id: str, record: Record) -> None:
        try:
            answer = await self._identity.validate(record.access_token)
        except Unauthorized:
            if record.state == "live":
                await self._refresher.renew(user_id, record.access_token, refused=True)
            else:
                await self.mourn(user_id, record.access_token)
                self._later(user_id, EVERY)
        else:
            await self.note(user_id, record.access_token, answer)

    async def mourn(self, user_id: str, access_token: str) -> None:
        """Write into a record that needs a login that its access token was refused as well."""
        key = self._ledger.user_key(user_id)
        await self._outbox.apply(key, Operation(lambda held: mourned(held, access_token)))

    async def note(self, user_id: str, access_token: str, answer: ValidateToken) -> None:
        """Write a validation into the record, if it still holds that token."""
        now = time.time()

        def change(held: Record | None) -> Record | None:
            if held is None or held.access_token != access_token:
                return held
            return validated(held, answer, now)

        await self._outbox.apply(self._ledger.user_key(user_id), Operation(change))


def _ends_soon(last_validated: float, expires_in: float, now: float) -> bool:
    return expires_in >= 2 * EARLY and last_validated + expires_in - now < EARLY


async def _until(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(seconds, 0.05)):
            await news.wait()
    except TimeoutError:
        return
