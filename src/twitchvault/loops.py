"""The event loop that a flow belongs to, and the check that every public coroutine makes."""

from __future__ import annotations

import asyncio
import os
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from twitchvault.errors import WrongEventLoop, scrub_traceback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

__all__ = ["LoopBinding", "on_bound_loop", "running_loop"]

_NO_LOOP: Final = (
    "twitchvault needs a running asyncio event loop, and there is none here: start one with "
    "asyncio.run(); trio or another library without asyncio underneath does not do"
)
_ANOTHER: Final = (
    "this flow belongs to the event loop of authorize(), another one runs here, and nothing was "
    "sent: hand the call over with asyncio.run_coroutine_threadsafe(coroutine, loop), or call "
    "authorize() here if that loop is closed"
)
_FORKED: Final = (
    "this flow was authorized before this process was forked, and nothing was sent: make and "
    "authorize a flow in each process, after the fork"
)
_CHANGE: Final = (
    "tokens are changed on the event loop of authorize() only, and nothing was changed: use "
    "loop.call_soon_threadsafe(function, ...) from elsewhere"
)
_P = ParamSpec("_P")
_T = TypeVar("_T")


def running_loop() -> asyncio.AbstractEventLoop:
    """The loop that runs in this thread; `WrongEventLoop` if there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise WrongEventLoop(_NO_LOOP) from None


class LoopBinding:
    """The event loop of `authorize()`, from then on until `close()`."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop; None before `authorize()`, after `close()`, and if it is closed."""
        return None if self.closed else self._loop

    def bind(self) -> bool:
        """From now on the running loop is the one; True if there was none."""
        is_new = self._loop is None
        self._loop, self._pid = running_loop(), os.getpid()
        return is_new

    def release(self) -> None:
        """From now on there is none, and any loop will do."""
        self._loop = None

    @property
    def closed(self) -> bool:
        """Whether it was closed before the flow was."""
        return self._loop is not None and self._loop.is_closed()

    def check(self) -> None:
        """Raise `WrongEventLoop` unless a coroutine of the flow may run here."""
        self.check_process()
        if running_loop() is not self._loop and self._loop is not None:
            raise WrongEventLoop(_ANOTHER)

    def check_process(self) -> None:
        """Raise `WrongEventLoop` in a process that was forked from that of `authorize()`."""
        if self._loop is not None and self._pid != os.getpid():
            raise WrongEventLoop(_FORKED)

    def check_change(self) -> None:
        """Raise `WrongEventLoop` unless the flow may be changed by a plain function call here."""
        self.check_process()
        try:
            if self._loop is not None and not self.closed:
                self.check()
        except WrongEventLoop:
            raise WrongEventLoop(_CHANGE) from None


def on_bound_loop(
    method: Callable[Concatenate[Any, _P], Awaitable[_T]],
) -> Callable[Concatenate[Any, _P], Coroutine[Any, Any, _T]]:
    """A public coroutine method: checks the running loop first, and scrubs its errors."""

    @scrub_traceback
    @wraps(method)
    async def checked(self: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:  # noqa: ANN401
        self._binding.check()
        return await method(self, *args, **kwargs)

    return checked
