"""The simulated loop: order within a process, time, standing still, and death."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from tests.simulation.host import Host
from tests.simulation.loop import IdleError, SimLoop

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any


def _loop(seed: int = 1) -> SimLoop:
    return SimLoop(random.Random(seed))


def _start(loop: SimLoop, host: Host, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return loop.create_task(work, context=host.context.copy())


def _interleaving(seed: int) -> list[str]:
    """Who noted what when two processes count to three."""
    loop = _loop(seed)
    noted: list[str] = []

    async def count(name: str) -> None:
        for number in range(3):
            noted.append(f"{name}{number}")
            await asyncio.sleep(0)

    tasks = [_start(loop, loop.add(Host(name)), count(name)) for name in "ab"]
    loop.run_until(lambda: all(task.done() for task in tasks))
    loop.close()
    return noted


def test_the_seed_decides_the_order() -> None:
    """The same seed gives the same order of two processes, other seeds give others."""
    assert _interleaving(1) == _interleaving(1)
    assert len({tuple(_interleaving(seed)) for seed in range(20)}) > 5


def test_callbacks_of_one_process_keep_their_order() -> None:
    """What asyncio runs first within a process runs first here as well."""
    loop = _loop()
    host = loop.add(Host("a"))
    noted: list[int] = []
    for number in range(10):
        loop.call_soon(noted.append, number, context=host.context)
    loop.run_until(lambda: len(noted) == 10)
    loop.close()
    assert noted == list(range(10))


def test_time_stands_until_nothing_is_left_to_run() -> None:
    """A sleep takes its time on the virtual clock, and never less."""
    loop = _loop()
    host = loop.add(Host("a", offset=100.0))
    times: list[float] = []

    async def sleep() -> None:
        for seconds in (0.1, 1 / 3, 3600.0):
            started = loop.time()
            await asyncio.sleep(seconds)
            times.append(loop.time() - started - seconds)

    loop.run_until(_start(loop, host, sleep()).done)
    loop.close()
    assert all(0 <= late < 0.001 for late in times)
    assert loop.now == pytest.approx(3600.43, abs=0.1)


def test_a_held_process_finds_its_timers_due_at_once() -> None:
    """A stopped process runs nothing; when it goes on, all that fell due runs in order."""
    loop = _loop()
    host = loop.add(Host("a"))
    noted: list[tuple[str, float]] = []
    for delay in (1.0, 2.0, 20.0):
        loop.call_later(
            delay, lambda d=delay: noted.append((f"{d}", loop.now)), context=host.context
        )
    loop.hold(host)
    loop.at(10.0, loop.release, host)
    loop.run_until(lambda: len(noted) == 3)
    loop.close()
    assert noted == [("1.0", 10.0), ("2.0", 10.0), ("20.0", 20.0)]


def test_the_clock_of_a_suspended_process_stands_still() -> None:
    """After a suspend the monotonic clock goes on where it was, and so do its timers."""
    loop = _loop()
    host = loop.add(Host("a"))
    fired: list[float] = []
    loop.call_later(3.0, lambda: fired.append(loop.now), context=host.context)
    loop.hold(host)
    loop.at(10.0, lambda: loop.release(host, suspended=True))
    loop.run_until(lambda: bool(fired))
    loop.close()
    assert fired == [13.0]
    assert host.ran(loop.now) == 3.0


def test_a_killed_process_never_runs_again() -> None:
    """Nothing of a dead process has any effect, not even what its tasks do when they end."""
    loop = _loop()
    host = loop.add(Host("a"))
    noted: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            await asyncio.sleep(0)
            noted.append("the end of a dead process ran")

    _start(loop, host, work())
    loop.at(0.5, loop.kill, host)
    with pytest.raises(IdleError):
        loop.run_until(lambda: False)
    loop.close()
    loop.dispose(host)
    assert not noted


def test_what_nobody_catches_is_noted() -> None:
    """A callback that fails is noted with its process, and the loop goes on."""
    loop = _loop()
    host = loop.add(Host("a"))
    loop.call_soon(lambda: 1 / 0, context=host.context)
    with pytest.raises(IdleError):
        loop.run_until(lambda: False)
    loop.close()
    ((culprit, context),) = loop.failures
    assert culprit is host
    assert isinstance(context["exception"], ZeroDivisionError)
