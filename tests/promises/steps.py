"""Interfering at every step: a count of all steps that the library's tasks take on a loop."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import twitchvault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

_HOME = str(Path(twitchvault.__file__).parent)
_DOUBLE = str(Path(_HOME) / "testing")


class _Stepped(Coroutine[Any, Any, Any]):
    """A coroutine that reports each step before it is taken."""

    def __init__(self, inner: Coroutine[Any, Any, Any], report: Callable[[], None]) -> None:
        self._inner = inner
        self._report = report

    def __await__(self) -> Any:  # noqa: ANN401 - never awaited, a task drives it
        raise NotImplementedError

    def send(self, value: Any) -> Any:  # noqa: ANN401
        """One step."""
        self._report()
        return self._inner.send(value)

    def throw(self, *error: Any) -> Any:  # noqa: ANN401
        """One step, with an error."""
        self._report()
        return self._inner.throw(*error)

    def close(self) -> None:
        """No further step."""
        self._inner.close()


class Steps:
    """Right before step number `at` of any task of the library does `act`, or cancels the victim.

    Steps count from the moment the victim is run until it is done.
    """

    def __init__(self, at: int, act: Callable[[], object] | None) -> None:
        self.at = at
        self.taken = 0
        self._victim: asyncio.Task[Any] | None = None
        self._act = act

    @property
    def reached(self) -> bool:
        """Whether so many steps were taken."""
        return self.taken > self.at

    async def run(self, victim: Coroutine[Any, Any, object]) -> bool:
        """Whether the victim came to its own end; an error of it is raised."""
        self._victim = asyncio.create_task(victim)
        await asyncio.wait({self._victim})
        if self._victim.cancelled():
            return False
        self._victim.result()
        return True

    def _report(self) -> None:
        if self._victim is None or self._victim.done():
            return
        if self.taken == self.at:
            (self._act or self._victim.cancel)()
        self.taken += 1

    def make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Any,  # noqa: ANN401
        **options: Any,  # noqa: ANN401
    ) -> asyncio.Task[Any]:
        """The loop's task factory."""
        code = getattr(work, "cr_code", None)
        where = "" if code is None else code.co_filename
        if where.startswith(_HOME) and not where.startswith(_DOUBLE):
            work = _Stepped(work, self._report)
        return asyncio.Task(work, loop=loop, **options)


@contextmanager
def steps(at: int, act: Callable[[], object] | None = None) -> Iterator[Steps]:
    """Count the steps of all tasks that are made inside."""
    loop = asyncio.get_running_loop()
    counter = Steps(at, act)
    before = loop.get_task_factory()
    loop.set_task_factory(cast("Any", counter.make_task))
    try:
        yield counter
    finally:
        loop.set_task_factory(before)


async def at_every_step(attempt: Callable[[int], Awaitable[bool]], least: int) -> None:
    """Interfere at the first step, at the second, and so on, until one attempt ends before that."""
    for at in itertools.count():
        if await attempt(at):
            assert at >= least, "hardly a step was counted: nothing is shown"
            return
