"""The `twitchvault` command; its packages come with `pip install 'twitchvault[cli]'`.

| module | subject |
| --- | --- |
| `commands` | a module for each command, named like it |
| `options` | the options that commands share, and what stands in the environment for them |
| `store` | the store that a command works on |
| `users` | the users in a store, and work on each of them |
| `console` | output and exit codes |
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import Final

_PACKAGES: Final = frozenset({"typer", "rich", "segno"})
FAILED: Final = 2
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141


def main() -> None:
    """Run the command and exit with its code; no environment gives a traceback."""
    try:
        code = _run()
        sys.stdout.flush() if sys.stdout else None
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:
        code = _output_failed(error)
    sys.exit(code)


def _run() -> int | str | None:
    try:
        from twitchvault.cli.commands import commands  # noqa: PLC0415
        from twitchvault.cli.console import prepare  # noqa: PLC0415
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        sys.stderr.write(
            f"The 'twitchvault' command needs the package {package!r}: "
            "pip install 'twitchvault[cli]'\n"
        )
        return FAILED
    prepare()
    try:
        commands(prog_name="twitchvault")
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer and rich make a 1 of it
            raise end.__context__ from None
        return end.code
    return 0


def _output_failed(error: OSError) -> int:
    """The exit code; what still waits to be written goes nowhere, or Python complains of it."""
    is_closed = error.errno in {errno.EPIPE, errno.EINVAL}  # EINVAL: so Windows says it
    if not is_closed:
        with suppress(OSError):
            sys.stderr.write(f"twitchvault: the output cannot be written: {error.strerror}\n")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError, ValueError):
            os.dup2(nowhere, stream.fileno())
    return BROKEN_PIPE if is_closed else FAILED
