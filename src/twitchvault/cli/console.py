"""Output and exit codes: data goes to standard output, everything else to standard error.

Times are RFC 3339 in UTC for programs, and ages for people.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import stat
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from twitchvault.cli import BROKEN_PIPE, FAILED, INTERRUPTED
from twitchvault.errors import TwitchVaultError, WrongType, WrongValue

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from types import FrameType

    from rich.console import RenderableType

NEEDS_LOGIN: Final = 1
_BY_SIGNAL: Final = 128
_reasons: Final[list[int]] = []
"""The exit codes of what has ended the command before its time."""
_UNBOUNDED: Final = 10_000
_OPTIONS: Final[dict[str, str]] = {
    "'api_url'": "--api-url",
    "'client_id'": "--client-id",
    "'client_secret'": "the client secret",
    "'id_url'": "--id-url",
    "'path'": "--store",
    "'scopes'": "--scope",
    "'url'": "--store",
    "'url_or_client'": "--store",
}
"""What an error calls an argument, and what the command calls it: an option or a variable."""
_BRIEF: Final = {
    "400: invalid client": "Twitch does not know this client id",
    "400: invalid scope requested": "Twitch does not know one of the scopes",
    "400: missing client secret": "Twitch asks for the client secret: use --secret, or set "
    "TWITCHVAULT_CLIENT_SECRET",
    "403: invalid client secret": "Twitch does not take the client secret",
}
"""What Twitch says in two words, and what it means."""
_ADVICE: Final = {
    "'await store.encrypt_existing()'": "'twitchvault encrypt'",
    "; for any other store, pass the store object itself": "",
    ", as in FernetStore(inner, [new, old])": "",
    "open it through FernetStore(store, keys)": "give its keys with --key-file",
    "was not written by a FernetStore": "was not encrypted by twitchvault",
    "give options to SQLiteStore(path), and write": "write",
    ": authorize() opens it and tries on": "",
}
"""What an error advises a program to do, and what a person does instead."""

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))

out: Final = Console(highlight=False, markup=False, emoji=False)
"""For what is more than plain lines, at a terminal."""
_err: Final = Console(stderr=True, highlight=False, markup=False, emoji=False)


class _Log(logging.Handler):
    """What the library logs, as lines of the command."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print it as a warning."""
        warn(f"twitchvault: {in_our_words(record.getMessage())}")


def prepare() -> None:
    """What the encoding of an output cannot show is escaped, and the library's log is ours."""
    logging.getLogger("twitchvault").addHandler(_Log(logging.WARNING))
    # What it would say of users the commands say themselves.
    logging.getLogger("twitchvault.vault").setLevel(logging.ERROR)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


def at_terminal() -> bool:
    """Whether a person reads standard output; else it is a pipe or a file."""
    return sys.stdout is not None and sys.stdout.isatty()


def printable(text: str) -> str:
    """The text with its control and invisible characters escaped: a terminal would obey them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def count(number: int, noun: str) -> str:
    """The number with its noun: "1 user", "2 users"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def rfc3339(moment: float | None) -> str | None:
    """Epoch seconds in UTC, "2026-01-31T12:00:00Z"; None stays None."""
    if moment is None:
        return None
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None  # a record that somebody has damaged


def duration(seconds: float) -> str:
    """A length of time in its two largest units, "3 h 20 min"."""
    rest = max(int(seconds), 0)
    parts: list[str] = []
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def age(moment: float | None) -> str:
    """How long ago it was, or is to be; "never" for None."""
    if moment is None:
        return "never"
    ago = time.time() - moment
    return f"{duration(ago)} ago" if ago >= 0 else f"in {duration(-ago)}"


def least_width(content: RenderableType) -> int:
    """How many columns of a terminal it needs."""
    unbounded = out.options.update(width=_UNBOUNDED)
    return Measurement.get(out, unbounded, content).minimum


def say(text: str) -> None:
    """Print a line of data; it is neither wrapped nor cut."""
    _write(sys.stdout, printable(text))


def say_row(*fields: str | None) -> None:
    """Print a line of data for a program: fields between tabs, "-" for an empty one."""
    _write(sys.stdout, "\t".join(printable(field or "-") for field in fields))


def say_json(document: dict[str, Any], *, indent: int | None = 2) -> None:
    """Print a JSON document, on one line if `indent` is None."""
    _write(sys.stdout, json.dumps(document, indent=indent))


def warn(text: str) -> None:
    """Print a line on standard error: all that is no data."""
    _write(sys.stderr, printable(" ".join(text.splitlines())))


def end_without_reader() -> None:
    """End the running command as soon as the reader of standard output has gone.

    Without it a command that waits would notice at its next line, which may be hours away.
    """
    if sys.platform == "win32" or sys.stdout is None:
        return  # where no event loop can wait for a pipe
    loop, pipe = asyncio.get_running_loop(), sys.stdout.fileno()

    def end() -> None:
        loop.remove_reader(pipe)
        _end_with(BROKEN_PIPE)

    mode = os.fstat(pipe).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        # Nothing comes out of this end: it can be "read" once the other one is closed.
        loop.add_reader(pipe, end)


def _write(stream: Any, line: str) -> None:  # noqa: ANN401 - None if it is closed
    if stream is not None:
        stream.write(f"{line}\n")
        stream.flush()


def fail(text: str) -> NoReturn:
    """Say why the command cannot go on, and end it."""
    warn(f"twitchvault: {text}")
    raise typer.Exit(FAILED)


def run(begin: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a command; an error of ours is one line and an exit code, no traceback."""
    for number in (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")):
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)
    try:
        asyncio.run(begin())
    except (TwitchVaultError, WrongValue, WrongType, TimeoutError) as error:
        fail(in_our_words(str(error)))
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(
            f"{error.filename!r}: {error.strerror}"
            if error.filename
            else error.strerror or str(error)
        )
    except KeyboardInterrupt:
        _stop()


def in_our_words(text: str) -> str:
    """A text of the library, with options and commands in the place of its arguments and calls."""
    if meaning := _BRIEF.get(text.partition(": '")[0]):
        return f"{meaning} ({text})"
    argument = text.partition(" ")[0]
    text = _OPTIONS.get(argument, argument) + text.removeprefix(argument)
    for theirs, ours in _ADVICE.items():
        text = text.replace(theirs, ours)
    return text


def take_from(option: str, source: str) -> None:
    """Errors name `source`, from which the value came, in the place of the option."""
    _OPTIONS.update({name: source for name, called in _OPTIONS.items() if called == option})


def unusable_port(port: int, error: OSError) -> str:
    """Why nothing can listen on a port of this machine, and what to do."""
    if error.errno == errno.EADDRINUSE:
        why = "another program uses it"
    else:  # its `strerror` is a sentence of asyncio
        why = os.strerror(error.errno) if error.errno else str(error)
    return f"port {port} of this machine cannot be used ({why}): name another one with --port"


def ask(question: str) -> str:
    """What somebody types, who does not see it; not to be called while an event loop runs.

    Where nobody types, it is a line of standard input.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        line = sys.stdin.readline() if sys.stdin else ""
        return line.strip() or _stop()
    try:
        answer: str = typer.prompt(question, hide_input=True, err=True)
    except typer.Abort:
        _stop()
    return answer


def _interrupt(number: int, _: FrameType | None) -> None:
    _end_with(_BY_SIGNAL + number)


def _end_with(code: int) -> None:
    """End as Ctrl-C does, so that no copy of the tokens is left in a temporary folder."""
    _reasons.append(code)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a background job of a script
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def _stop() -> NoReturn:
    code = _reasons[0] if _reasons else INTERRUPTED
    if code != BROKEN_PIPE:
        warn("Stopped.")
    raise typer.Exit(code)


@contextmanager
def progress(text: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """A bar on standard error, if that is a terminal; what it yields takes one step."""
    if not _err.is_terminal:  # where rich prints an empty line, up to version 14
        yield lambda: None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=_err, transient=True) as bar:
        task = bar.add_task(text, total=total)
        yield lambda: bar.advance(task)
