"""Python programs in processes of their own, and what they write."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from tests.environment import until

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

PATIENCE: Final = 40


class Program:
    """A process; `output` is what it has written so far."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.output = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while chunk := await self.process.stdout.read(1 << 16):
            self.output += chunk.decode(errors="replace")

    async def has_written(self, text: str) -> None:
        """Wait until the output holds the text."""
        try:
            await until(lambda: text in self.output or self._reading.done(), PATIENCE)
        finally:
            assert text in self.output, self.output

    async def ended(self) -> int:
        """Wait for its end; the exit code."""
        async with asyncio.timeout(PATIENCE):
            await self._reading
            return await self.process.wait()

    async def stop(self) -> int:
        """Send SIGTERM; the exit code."""
        with suppress(ProcessLookupError):
            self.process.terminate()
        return await self.ended()


@asynccontextmanager
async def running(*arguments: str, stdin: int = DEVNULL, **options: Any) -> AsyncIterator[Program]:  # noqa: ANN401
    """Python with these arguments, and options of `Popen`; ended when the test is."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", *arguments, stdin=stdin, stdout=PIPE, stderr=STDOUT, **options
    )
    program = Program(process)
    try:
        yield program
    finally:
        try:
            await program.stop()
        except TimeoutError:
            process.kill()
            await program.ended()
