"""A shell in a terminal, and what of its output differs from run to run."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from codecs import getincrementaldecoder
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

PROMPT: Final = "@prompt@ "
PATIENCE: Final = 50
_SPAWN: Final = "import pty, sys; pty.spawn(sys.argv[1:])"
"""A process of its own makes the terminal: pytest has threads, and so is not to be forked."""
_VARIES: Final = (
    ("[█▀▄]", ""),  # a picture of an address
    (r"http://127\.0\.0\.1:\d+", "http://DOUBLE"),
    (r"(device-code=|Code +)\w+", r"\1CODE"),
    (r"Application \w+|application: \w+", "APPLICATION"),
    (r"\S+/(?=\w+\.db)", ""),
    (r"\d+ (s|min) ago", "NOW"),
    (r"in \d+ h \d+ min", "LATER"),
    (r"by \S+/\d+", "by PROCESS"),
    (r"pair \S+ -> \S+", "PAIR"),
    (r"refreshed (here|elsewhere)", "REFRESHED"),
    (r"under key \w+", "under KEY"),
    (r" +", " "),
)
_LEFT_OUT: Final = re.compile(r" *|\[\d\].*")
"""Empty lines, and what the shell says of jobs."""


def normalised(output: str) -> list[str]:
    """The lines without what differs: times, names of processes, addresses, folders."""
    for pattern, name in _VARIES:
        output = re.sub(pattern, name, output)
    lines = [line.rstrip() for line in output.splitlines()]
    return [line for line in lines if not _LEFT_OUT.fullmatch(line)]


class Terminal:
    """An interactive bash; `output` is what the present command has written so far."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.output = ""
        self._decoder = getincrementaldecoder("utf-8")()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SPAWN, "bash", "--norc", "--noprofile", "-i"],
            cwd=folder,
            env={"PS1": PROMPT, "TERM": "dumb", "COLUMNS": "100", **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._keys: IO[bytes] = self._process.stdin
        self._screen: IO[bytes] = self._process.stdout
        self.wait_for(lambda: self.output.endswith(PROMPT))

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Read until the condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.output
            if select.select([self._screen], [], [], 0.05)[0]:
                chunk = os.read(self._screen.fileno(), 1 << 16)
                self.output += self._decoder.decode(chunk)

    def run(self, command: str, meanwhile: Callable[[Terminal], None] | None = None) -> None:
        """Type the command, do something else meanwhile, and wait until it is over."""
        self.output = ""
        self._keys.write(f"{command}\n".encode())
        self._keys.flush()
        if meanwhile is not None:
            meanwhile(self)
        self.wait_for(lambda: self.output.endswith(PROMPT))

    @property
    def answer(self) -> str:
        """What the command has written, and what runs beside it since then."""
        return self.output.partition("\n")[2].replace(PROMPT, "").replace("\r", "")

    def close(self) -> None:
        """Hang up, which ends the shell and all that it has started."""
        self._process.terminate()
        self._process.communicate(timeout=PATIENCE)
