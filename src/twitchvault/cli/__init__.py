"""The `twitchvault` command; its packages come with `pip install 'twitchvault[cli]'`.

| module | subject |
| --- | --- |
| `commands` | a module for each command, named like it |
| `options` | the options that commands share |
| `store` | the store that a command works on |
| `users` | the users in a store |
| `console` | output and exit codes |
"""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["main"]

_PACKAGES: Final = frozenset({"typer", "rich", "segno", "platformdirs"})
_FAILED: Final = 2


def main() -> None:
    """Run the command, or say which package it lacks."""
    try:
        from twitchvault.cli.commands import commands  # noqa: PLC0415
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        sys.stderr.write(
            f"The 'twitchvault' command needs the package {package!r}: "
            "pip install 'twitchvault[cli]'\n"
        )
        sys.exit(_FAILED)
    commands(prog_name="twitchvault")
