"""The four processes, seen from outside."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Final, Self

from twitchvault.cli.demo.bot import Orders, Report
from twitchvault.cli.demo.place import DemoError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable

__all__ = ["BotProcess", "Crew"]

MODULE: Final = "twitchvault.cli.demo.bot"
PATIENCE: Final = 20.0
"""Seconds for anything that should happen at once."""
GRACE: Final = 2.0
_POLL: Final = 0.02


class BotProcess:
    """One process and its latest report; None before the first."""

    def __init__(self, number: int, process: Process) -> None:
        self.number = number
        self.report: Report | None = None
        self._process = process
        self._listening = asyncio.create_task(self._listen(), name=f"reports of process {number}")

    @classmethod
    async def start(cls, number: int, orders: Orders) -> Self:
        """Start it and give it its orders; they hold a secret, so they are no argument."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", MODULE, stdin=pipe, stdout=pipe, stderr=pipe
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(orders)).encode() + b"\n")
        return cls(number, process)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self._process.returncode is not None

    def sees(self, user_id: str, mark: str) -> bool:
        """Whether its own view shows the token of that fingerprint."""
        return self.report is not None and self.report.tokens.get(user_id) == mark

    async def finish(self) -> None:
        """Let it finish the calls under way, and end; `DemoError` if that goes wrong."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._process.wait()
                await self._listening
        except TimeoutError:
            msg = f"process {self.number} did not end within {PATIENCE:.0f} s"
            raise DemoError(msg) from None
        await self.check()

    async def check(self) -> None:
        """Raise `DemoError` if it has ended in any way but the good one."""
        if self.ended and self._process.returncode != 0:
            assert self._process.stderr is not None
            lines = (await self._process.stderr.read()).decode(errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "without a word")
            raise DemoError(f"process {self.number} ended: {last}")

    async def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(GRACE):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        self._listening.cancel()

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.report = Report(**json.loads(line))


class Crew:
    """All processes; `async with` it: they end with the block, however that ends."""

    def __init__(self, size: int, orders: Orders) -> None:
        self._size = size
        self._orders = orders
        self.bots: list[BotProcess] = []

    async def __aenter__(self) -> Self:
        try:
            for number in range(1, self._size + 1):
                self.bots.append(await BotProcess.start(number, self._orders))
            await self.until(lambda bot: bot.report is not None, "report that it is at work")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(bot.kill() for bot in self.bots if not bot.ended))

    async def until_all_see(self, user_id: str, mark: str) -> None:
        """Return once every process's own view shows that token."""
        await self.until(lambda bot: bot.sees(user_id, mark), "see a new token")

    async def finish(self) -> list[Report]:
        """Let all finish; their last reports."""
        await asyncio.gather(*(bot.finish() for bot in self.bots))
        return [bot.report for bot in self.bots if bot.report is not None]

    async def until(self, condition: Callable[[BotProcess], bool], what: str) -> None:
        """Return once the condition holds for every process; `DemoError` if one is too slow."""
        deadline = time.monotonic() + PATIENCE
        for bot in self.bots:
            while not condition(bot):
                await bot.check()
                if bot.ended or time.monotonic() > deadline:
                    trouble = bot.report.trouble if bot.report else ""
                    msg = f"process {bot.number} did not {what} within {PATIENCE:.0f} s {trouble}"
                    raise DemoError(msg.rstrip())
                await asyncio.sleep(_POLL)
