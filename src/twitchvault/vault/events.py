"""What happened to the vault's tokens, for whoever wants to follow it."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from twitchvault.vault.record import visible

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twitchvault.metrics import Metrics
    from twitchvault.vault.record import Record

__all__ = ["EventStream", "Events", "Kind", "Origin", "VaultEvent", "changes_of"]

_logger = logging.getLogger(__name__)

Kind = Literal[
    "added",
    "refreshed",
    "validated",
    "refresh_failed",
    "needs_login",
    "scopes_lost",
    "removed",
    "damaged",
]
Origin = Literal["local", "remote"]

QUEUE_LIMIT: Final = 10_000


class VaultEvent(NamedTuple):
    """One change of one user's record.

    `origin` says who wrote it: this process ("local") or another ("remote"). `reason` is a sentence
    for needs_login, scopes_lost, refresh_failed and damaged, else empty. The app token stands under
    the client id.
    """

    kind: Kind
    user_id: str
    origin: Origin
    reason: str = ""


class EventStream:
    """An asynchronous iterator over events from the moment it was made; ends at `close()`.

    A reader that falls more than 10,000 events behind loses the oldest; that is logged.
    """

    def __init__(self) -> None:
        self._queue: deque[VaultEvent] = deque(maxlen=QUEUE_LIMIT)
        self._news: asyncio.Event = asyncio.Event()
        self._closed = self._is_behind = False

    def __aiter__(self) -> AsyncIterator[VaultEvent]:
        return self

    async def __anext__(self) -> VaultEvent:
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            self._is_behind = False
            self._news.clear()
            await self._news.wait()
        return self._queue.popleft()

    async def aclose(self) -> None:
        """End the stream; what was not read is dropped."""
        self._queue.clear()
        self.end()

    def end(self) -> None:
        """Let the reader finish what is queued, then stop."""
        self._closed = True
        self._wake()

    def push(self, event: VaultEvent) -> None:
        """Queue an event."""
        if self._closed:
            return
        if len(self._queue) == QUEUE_LIMIT and not self._is_behind:
            self._is_behind = True
            _logger.warning("an events() reader is %d events behind: dropping", QUEUE_LIMIT)
        self._queue.append(event)
        self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop of who waits may be closed
            self._news.set()


class Events:
    """Hands every event to all streams that somebody still holds."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._streams: weakref.WeakSet[EventStream] = weakref.WeakSet()

    def stream(self) -> EventStream:
        """A new stream that sees all events from now on."""
        stream = EventStream()
        self._streams.add(stream)
        return stream

    def emit(self, kind: Kind, user_id: str, origin: Origin, reason: str = "") -> None:
        """Hand an event to all streams."""
        if kind == "needs_login" and origin == "local":  # else each process would count it
            self._metrics.report("needs_login", 1.0)
            _logger.warning("user %r has to sign in again: %s", user_id, reason)
        for stream in list(self._streams):
            stream.push(VaultEvent(kind, user_id, origin, reason))

    def end(self) -> None:
        """End all streams."""
        for stream in list(self._streams):
            stream.end()
        self._streams.clear()


def changes_of(
    before: Record | None, after: Record | None, *, is_app: bool
) -> list[tuple[Kind, str]]:
    """What it is called when a user's record changes so, each with its reason."""
    before, after = visible(before), visible(after)
    if before is None:
        return [] if after is None else [("added", "")]
    if after is None:
        return [("removed", "")]
    changes: list[tuple[Kind, str]] = []
    if newer := after.generation > before.generation:
        spent = (after.seeds, after.exchanged) != (before.seeds, before.exchanged)
        changes.append(("refreshed" if is_app or spent else "added", ""))
    elif after.last_validated != before.last_validated:
        changes.append(("validated", ""))
    if after.state == "needs_login" and (newer or before.state != "needs_login"):
        changes.append(("needs_login", after.reason))
    lost = set(before.scopes or ()) - set(after.scopes or ())
    if lost and after.scopes is not None:
        changes.append(("scopes_lost", f"lost: {', '.join(sorted(lost))}"))
    return changes
