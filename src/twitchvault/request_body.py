"""The body of a request, which asks whether it may leave, and the wait for its answer."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from aiohttp import BytesPayload

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.abc import AbstractStreamWriter

__all__ = ["AnswerClock", "RequestBody"]


class AnswerClock:
    """Once a body has left, a `limit` of so many seconds in which the loop runs.

    While the loop is blocked, or the process stopped, no time passes: it would end the wait for an
    answer that lies in the socket.
    """

    def __init__(self, limit: asyncio.Timeout, seconds: float) -> None:
        self._limit = limit
        self._ticks_left = math.ceil(seconds)
        self._tick = seconds / self._ticks_left
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """The body leaves: from now on no other limit counts."""
        self._limit.reschedule(None)
        self._start_tick()

    def stop(self) -> None:
        """The answer is here, or nobody waits for it any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _start_tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + self._tick
        self._timer = loop.call_at(self._due, self._end_tick)

    def _end_tick(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._due + self._tick:  # one that comes later than that does not count
            self._ticks_left -= 1
        if self._ticks_left > 0:
            self._start_tick()
        else:
            self._limit.reschedule(now)


class RequestBody(BytesPayload):
    """A request body that asks whether it may leave, and knows whether it left."""

    def __init__(
        self, content: bytes, content_type: str, may_send: Callable[[], bool] | None
    ) -> None:
        super().__init__(content, content_type=content_type)
        self.sent = False
        self.too_late = False
        self.answer_clock: AnswerClock | None = None
        self._may_send = may_send

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the body if it may leave, once: sent twice, it would spend a token twice."""
        transport = getattr(writer, "transport", None)
        if self.sent or transport is None or transport.is_closing():
            raise ConnectionResetError
        self.too_late = self._may_send is not None and not self._may_send()
        if self.too_late:
            raise ConnectionAbortedError
        self.sent = True
        if self.answer_clock is not None:
            self.answer_clock.start()
        await super().write(writer)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """As `write`; newer releases of aiohttp call this one."""
        del content_length
        await self.write(writer)
