"""What somebody types while an event loop runs."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import webbrowser
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from twitchvault.cli.console import at_terminal, warn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_STDIN: Final = 0


class Keyboard:
    """Lines from standard input, read by a thread that ends with the process.

    A command makes one at most, while the event loop runs: two would share the lines.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._ended = False
        threading.Thread(target=self._read, name="twitchvault keyboard", daemon=True).start()

    @classmethod
    def of_a_person(cls) -> Keyboard | None:
        """One at a terminal; None where nobody can be asked."""
        return cls() if at_terminal() and sys.stdin is not None and sys.stdin.isatty() else None

    async def line(self) -> str | None:
        """The next line; None once there is no more."""
        line = "" if self._ended else await self._lines.get()
        self._ended = not line
        return None if self._ended else line.strip()

    def _read(self) -> None:
        line = "\n"
        while line:
            line = _read_line()
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._lines.put_nowait, line)


def _read_line() -> str:
    """A line with its end; empty at the end of the input."""
    line = b""
    # Not sys.stdin: Python cannot exit while a thread waits in there.
    with suppress(OSError):
        while not line.endswith(b"\n") and (character := os.read(_STDIN, 1)):
            line += character
    return line.decode(errors="replace")


@asynccontextmanager
async def enter_opens(url: str, keyboard: Keyboard | None) -> AsyncIterator[None]:
    """Within the block, Enter opens the page in a browser of this machine."""
    if keyboard is None or not url.startswith(("https://", "http://")):
        yield
        return
    warn("Press Enter to open it in your browser.")
    task = asyncio.create_task(_open_on_enter(url, keyboard), name="twitchvault browser")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def _open_on_enter(url: str, keyboard: Keyboard) -> None:
    while await keyboard.line() is not None:
        # In a thread that nobody waits for: a browser in the terminal comes back when it is left.
        threading.Thread(target=_open, args=(url,), daemon=True).start()


def _open(url: str) -> None:
    if not webbrowser.open(url):
        warn("No browser was found here: open the page by hand.")
