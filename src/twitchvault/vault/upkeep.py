"""Validation and early refresh in the background.

Twitch requires every token to be validated at start and then hourly. One schedule per process,
spread out, since some hundred calls at once draw 429s. The result goes into the record, so that the
fleet validates each token once an hour, not each process: what another process has validated is
fresh from the moment it arrived, whatever that machine's clock says.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from twitchvault.errors import AuthFailure, RateLimited, TokenError, TwitchVaultError, Unauthorized
from twitchvault.vault.context import Part

if TYPE_CHECKING:
    from twitchvault.vault.clocks import Clocks
    from twitchvault.vault.context import Context
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
EARLY: Final = 300.0
"""Seconds before its end at which a token is refreshed, if it was to live twice that long."""
SKEW: Final = 60.0
"""Seconds by which the clock that wrote a record may be ahead."""
STEP: Final = 500
"""Users that are scheduled before the loop goes on."""
ROUND: Final = 200
BETWEEN_ROUNDS: Final = 0.5
"""Seconds; each round looks at all users, and news come in crowds."""
IDLE: Final = 60.0
RATE_LIMITED: Final = 5.0
FIRST_PAUSE: Final = 30.0
LONGEST_PAUSE: Final = 240.0
"""Seconds after a failure, doubling; each pause is up to a half shorter, at random. An early
refresh that has failed is tried again before the token ends."""
REFUSED_IN_A_ROW: Final = 3
"""So many users refused and nobody refreshed: the store looks like an old backup."""
REST: Final = 600.0
_FAILING: Final = "the background cannot refresh user %r for now and tries on: %s"


class Upkeep(Part):
    """Looks after all records of the mirror; one task and a few workers, ended by `stop`."""

    def __init__(self, context: Context, refresher: Refresher) -> None:
        super().__init__(context)
        self._refresher = refresher
        self._guard = _Guard(context.clocks)
        self._task: asyncio.Task[None] | None = None
        self._due: dict[str, float] = {}
        self._fresh: dict[str, tuple[float, float]] = {}
        self._not_before: dict[str, tuple[int, float]] = {}
        self._failing: dict[str, tuple[int, str]] = {}
        self._pauses: dict[str, float] = {}
        self._tables: tuple[dict[str, Any], ...] = (
            self._due, self._fresh, self._not_before, self._failing, self._pauses,
        )  # fmt: skip
        self._busy: set[str] = set()
        self._news = asyncio.Event()
        self._pause_until = 0.0

    def start(self) -> None:
        """Begin; idempotent."""
        if self._task is None:
            self._news = asyncio.Event()
            self._mirror.on_change = self._note
            self._task = asyncio.create_task(self._run(), name="twitchvault upkeep")

    def cancel(self) -> list[asyncio.Task[None]]:
        """Let the task end without waiting for it."""
        for table in self._tables:
            table.clear()
        if self._task is None:
            return []
        task, self._task, self._mirror.on_change = self._task, None, None
        task.cancel()
        return [task]

    # The schedule

    def _note(self, user_id: str, *, at_start: bool = False) -> None:
        record = self._mirror.peek(user_id)
        if record is None:
            for table in self._tables:
                table.pop(user_id, None)
            return
        self._note_end_of_failures(user_id, record)
        validated, known = record.last_validated, self._fresh.get(user_id)
        if validated is None:
            self._fresh.pop(user_id, None)  # it was another token's
        elif known is None or known[0] != validated:
            # What was there before only has its time. One in the future is a wrong clock's.
            age = self._clocks.wall() - validated if at_start else 0.0
            age = EVERY if age < -SKEW else max(age, 0.0)
            self._fresh[user_id] = (validated, self._clocks.boottime() - age)
            self._pauses.pop(user_id, None)
        self._schedule(user_id, record)

    def _schedule(self, user_id: str, record: Record) -> None:
        """Set when something is to be done for this user, on the clock that counts suspend."""
        if record.access_refused:
            self._due.pop(user_id, None)
            return
        fresh = self._fresh.get(user_id)
        if record.last_validated is None or fresh is None:
            due = self._clocks.boottime()
        else:
            due = fresh[1] + EVERY - HEAD_START * random.random()  # noqa: S311
            due = min(due, self._refresh_at(user_id, record))
        generation, not_before = self._not_before.get(user_id, (0, 0.0))
        self._due[user_id] = max(due, not_before) if generation == record.generation else due
        self._news.set()

    def _refresh_at(self, user_id: str, record: Record) -> float:
        """When the token is refreshed before it ends."""
        fresh = self._fresh.get(user_id)
        renewable = record.state == "live" and record.refresh_token
        if fresh is None or not renewable or record.expires_in < 2 * EARLY:
            return float("inf")
        return fresh[1] + record.expires_in - EARLY

    # The work

    async def _run(self) -> None:
        for count, user_id in enumerate(self._mirror.users(), 1):
            self._note(user_id, at_start=True)
            if count % STEP == 0:
                await asyncio.sleep(0)
        self._busy = set()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._begin_what_is_due(group)

    async def _begin_what_is_due(self, group: asyncio.TaskGroup) -> None:
        """A round: at most PER_SECOND users in a second, AT_ONCE at the same time."""
        self._news.clear()
        now = self._clocks.boottime()
        due = [one for one, at in self._due.items() if at <= now and one not in self._busy]
        # In any order, so that two processes do not ask about the same users at the same time.
        for user_id in random.sample(due, min(len(due), ROUND, AT_ONCE - len(self._busy))):
            self._busy.add(user_id)
            group.create_task(self._maintain(user_id), name="twitchvault upkeep of one")
            pause = self._pause_until - self._clocks.boottime()
            await asyncio.sleep(max(1 / PER_SECOND, pause))
        if not due:
            left = min(self._due.values(), default=now + IDLE) - now
            with suppress(TimeoutError):
                async with asyncio.timeout(min(max(left, 0.0), IDLE)):
                    await self._news.wait()
        await asyncio.sleep(BETWEEN_ROUNDS)

    async def _maintain(self, user_id: str) -> None:
        self._mirror.fetch()
        record = self._mirror.peek(user_id)
        if record is not None and self._due.get(user_id, float("inf")) <= self._clocks.boottime():
            await self._maintain_record(user_id, record)  # else another process was faster
        self._busy.discard(user_id)
        record = self._mirror.peek(user_id)
        if record is not None:
            self._schedule(user_id, record)
        self._news.set()

    async def _maintain_record(self, user_id: str, record: Record) -> None:
        try:
            if self._refresh_at(user_id, record) <= self._clocks.boottime():
                await self._refresh(user_id, record, refused=False)
            else:
                await self._validate(user_id, record)
            self._pauses.pop(user_id, None)
        except (AuthFailure, TokenError):
            self._later(user_id, record, EVERY)
        except RateLimited:
            self._pause_until = self._clocks.boottime() + 2.0
            self._later(user_id, record, RATE_LIMITED)
        except TwitchVaultError as error:
            _logger.info("upkeep of user %r failed, trying later: %s", user_id, error)
            pause = self._pauses.get(user_id, FIRST_PAUSE)
            self._pauses[user_id] = min(2 * pause, LONGEST_PAUSE)
            self._later(user_id, record, pause * random.uniform(0.5, 1.0))  # noqa: S311
        except Exception:
            _logger.exception("upkeep of user %r failed", user_id)
            self._later(user_id, record, EVERY)

    def _later(self, user_id: str, record: Record, seconds: float) -> None:
        """Leave this pair alone for a while."""
        self._not_before[user_id] = (record.generation, self._clocks.boottime() + seconds)

    async def _validate(self, user_id: str, record: Record) -> None:
        try:
            answer = await self._identity.validate(record.access_token)
        except Unauthorized:
            await self._refresh(user_id, record, refused=True)
        else:
            await self._refresher.note_validation(user_id, record.access_token, answer)

    async def _refresh(self, user_id: str, record: Record, *, refused: bool) -> None:
        if not self._guard.allows():
            pause = self._guard.rest_left + random.uniform(5.0, 15.0)  # noqa: S311
            self._later(user_id, record, pause)
            return
        with self._guard:
            try:
                await self._refresher.renew(user_id, record, refused=refused)
            except AuthFailure:
                # Nothing was sent for one who needs a login by now.
                if record.refresh_token is not None and record.state == "live":
                    self._guard.refused()
                raise
            except TwitchVaultError as error:
                self._events.emit("refresh_failed", user_id, "local", str(error))
                if user_id not in self._failing:
                    _logger.warning(_FAILING, user_id, error)
                self._failing[user_id] = (record.generation, str(error))
                raise
            if record.refresh_token is not None:
                self._guard.refreshed()

    def _note_end_of_failures(self, user_id: str, record: Record) -> None:
        """A row of failures ends with a newer pair, whoever brings it, or with a login needed."""
        generation, error = self._failing.get(user_id, (record.generation, ""))
        if record.generation > generation or record.state == "needs_login":
            self._failing.pop(user_id, None)
        if record.generation > generation:
            _logger.info("user %r is refreshed again; the last failure was: %s", user_id, error)


class _Guard:
    """Stops the background when refreshes are refused one after the other.

    A restored file full of spent tokens must not cut every user's connection.
    """

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._refused = 0
        self._under_way = 0
        self._proven = False
        self._rest_until = 0.0

    @property
    def rest_left(self) -> float:
        """Seconds for which nobody is refreshed."""
        return max(self._rest_until - self._clocks.boottime(), 0.0)

    def allows(self) -> bool:
        """Whether a refresh may begin now."""
        if self.rest_left:
            return False
        return self._proven or self._refused + self._under_way < REFUSED_IN_A_ROW

    def refreshed(self) -> None:
        """A user was refreshed: the store is up to date."""
        self._refused, self._proven = 0, True

    def refused(self) -> None:
        """Twitch has refused a user's refresh token."""
        self._refused += 1
        self._proven = False
        if self._refused >= REFUSED_IN_A_ROW:
            self._refused = 0
            self._rest_until = self._clocks.boottime() + REST
            _logger.error(
                "%d users in a row have to sign in again and nobody could be refreshed: the store "
                "looks like an old backup. Nobody is refreshed in the background for %.0f minutes",
                REFUSED_IN_A_ROW,
                REST / 60,
            )

    def __enter__(self) -> None:
        self._under_way += 1

    def __exit__(self, *_: object) -> None:
        self._under_way -= 1
