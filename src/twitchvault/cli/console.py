"""Output and exit codes: results go to standard output, everything else to standard error."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from twitchvault.errors import TwitchVaultError, WrongType, WrongValue

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["FAILED", "NEEDS_LOGIN", "ask", "fail", "out", "prepare", "run", "warn"]

T = TypeVar("T")

NEEDS_LOGIN: Final = 1
FAILED: Final = 2
INTERRUPTED: Final = 130
UNWRAPPED: Final = 10_000
_OPTIONS: Final = {
    "'api_url'": "--api-url",
    "'client_id'": "--client-id",
    "'client_secret'": "the client secret",
    "'id_url'": "--id-url",
    "'path'": "--store",
    "'scopes'": "--scope",
    "'url'": "--store",
    "'url_or_client'": "--store",
}
"""What an error calls an argument, and what the command calls it."""

out: Final = Console(highlight=False)
_err: Final = Console(stderr=True, highlight=False)


def prepare() -> None:
    """Wrap lines at a terminal only: in a pipe or a file each stays one line."""
    if not out.is_terminal:
        out.width = UNWRAPPED


def run(work: Coroutine[None, None, T]) -> T:
    """Run a command's work; an error of ours is one line and an exit code, no traceback."""
    try:
        return asyncio.run(work)
    except (WrongValue, WrongType) as error:
        argument, _, rest = str(error).partition(" ")
        fail(f"{_OPTIONS.get(argument, argument)} {rest}")
    except (TwitchVaultError, TimeoutError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        _stop()


def ask(question: str) -> str:
    """What somebody types, who does not see it."""
    try:
        answer: str = typer.prompt(question, hide_input=True)
    except typer.Abort:
        _stop()
    return answer


def _stop() -> NoReturn:
    warn("Stopped.")
    raise typer.Exit(INTERRUPTED)


def warn(text: str) -> None:
    """Print a line on standard error."""
    _err.print(Text(" ".join(text.splitlines())), soft_wrap=True)


def fail(text: str) -> NoReturn:
    """Say why the command cannot go on, and end it."""
    warn(f"twitchvault: {text}")
    raise typer.Exit(FAILED)
