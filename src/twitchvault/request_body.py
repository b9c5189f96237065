"""The body of a request, which asks whether it may leave, and the time limit of the request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp.payload import BytesPayload

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import SimpleNamespace, TracebackType

    from aiohttp.abc import AbstractStreamWriter

__all__ = ["Deadline", "RequestBody", "after_traces"]

_TICK: Final = 1.0


class Deadline:
    """The time limit of one request.

    First `timeout` counts, by the clock. Once the body has left `answer_timeout` counts, if there
    is one: seconds in which the loop ran. `seconds` is the one that counts now.
    """

    def __init__(self, timeout: float, answer_timeout: float | None) -> None:
        self.seconds = timeout
        self._clock = asyncio.timeout(timeout)
        self._entered = False
        self._answer_timeout = answer_timeout
        self._left = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        await self._clock.__aenter__()
        self._entered = True

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entered = False
        if self._timer is not None:
            self._timer.cancel()
        await self._clock.__aexit__(kind, error, traceback)

    @property
    def over(self) -> bool:
        """Whether nobody waits for the request any more."""
        return not self._entered or self._clock.expired()

    def body_leaves(self) -> None:
        """From now on `answer_timeout` counts, if there is one."""
        if self._answer_timeout is not None:
            self.seconds = self._left = self._answer_timeout
            self._clock.reschedule(None)
            self._start_tick()

    def _start_tick(self) -> None:
        loop = asyncio.get_running_loop()
        tick = min(_TICK, self._left)
        self._due = loop.time() + tick
        self._timer = loop.call_at(self._due, self._end_tick, tick)

    def _end_tick(self, tick: float) -> None:
        # A late tick means that the loop was blocked or the process stopped: it does not count. By
        # the time a timer runs, the loop has read what lay in its sockets.
        now = asyncio.get_running_loop().time()
        if now < self._due + tick:
            self._left -= tick
        if self._left > 0:
            self._start_tick()
        else:
            self._clock.reschedule(now)


class _TooLateError(ValueError):
    """`may_send` returned False."""


class RequestBody(BytesPayload):
    """A request body that asks whether it may leave, and knows whether it left."""

    def __init__(
        self,
        content: bytes,
        content_type: str,
        may_send: Callable[[], bool] | None,
        deadline: Deadline,
        *,
        traced: bool,
    ) -> None:
        super().__init__(content, content_type=content_type)
        self.sent = False
        self.too_late = False
        self._may_send = may_send
        self._deadline = deadline
        self._traced = traced

    def leave(self) -> None:
        """Note that the body leaves now, or raise if it may not."""
        if self.sent or self._deadline.over:
            msg = "a request body is written once, while somebody waits for the answer"
            raise ValueError(msg)
        if self._may_send is not None and not self._may_send():
            self.too_late = True
            raise _TooLateError
        self.sent = True
        self._deadline.body_leaves()

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the body, once."""
        await self.write_with_length(writer, None)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write the body, once: sent twice, it would spend a refresh token twice."""
        del content_length
        transport = getattr(writer, "transport", None)
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        if not self._traced:
            self.leave()
        await writer.write(self._value)


def after_traces() -> aiohttp.TraceConfig:
    """The last trace of a session: a body leaves only after the caller's trace has been called."""

    async def on_chunk(_: object, context: SimpleNamespace, __: object) -> None:
        if isinstance(context.trace_request_ctx, RequestBody):
            context.trace_request_ctx.leave()

    trace = aiohttp.TraceConfig()
    trace.on_request_chunk_sent.append(on_chunk)
    return trace
