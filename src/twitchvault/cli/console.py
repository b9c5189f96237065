"""Output and exit codes: results go to standard output, everything else to standard error."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from twitchvault.errors import TwitchVaultError

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["FAILED", "NEEDS_LOGIN", "fail", "out", "run", "warn"]

T = TypeVar("T")

NEEDS_LOGIN: Final = 1
FAILED: Final = 2
INTERRUPTED: Final = 130

out: Final = Console(highlight=False)
_err: Final = Console(stderr=True, highlight=False)


def run(work: Coroutine[None, None, T]) -> T:
    """Run a command's work; an error of ours is one line and an exit code, no traceback."""
    try:
        return asyncio.run(work)
    except (TwitchVaultError, ValueError, TimeoutError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        warn("Stopped.")
        raise typer.Exit(INTERRUPTED) from None


def warn(text: str) -> None:
    """Print a line on standard error."""
    _err.print(Text(text))


def fail(text: str) -> NoReturn:
    """Say why the command cannot go on, and end it."""
    warn(f"twitchvault: {text}")
    raise typer.Exit(FAILED)
