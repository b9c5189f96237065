"""A witness: it collects all that a program shows, and finds the secrets in that."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import pickle
import pprint
import re
import traceback
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_plus

from pydantic import BaseModel
from rich.pretty import pretty_repr
from rich.traceback import Traceback

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TESTS: Final = str(Path(__file__).parents[1])
SAMPLE: Final = 10
"""Characters from either end by which a secret is known, for reprs may leave out the middle."""
_ADDRESS: Final = re.compile(r"0x[0-9a-f]{6,}")


def forms(secret: str) -> set[str]:
    """Every way in which a secret may be written down."""
    raw = secret.encode(errors="replace")
    in_url = quote(raw, safe=""), quote(raw), quote_plus(raw)
    plain = {secret, *in_url, raw.hex()}
    plain |= {json.dumps(secret)[1:-1], repr(secret)[1:-1], repr(raw)[2:-1]}
    for before in range(3):  # what stands before it shifts its base64
        coded = base64.b64encode(b"-" * before + raw).decode()
        inside = coded[4 if before else 0 : -4]
        plain |= {inside, inside.translate(str.maketrans("+/", "-_"))}
    return plain


def samples(secret: str) -> set[str]:
    """What to look for: both ends of each form."""
    return {end for form in forms(secret) for end in (form[:SAMPLE], form[-SAMPLE:])}


class Witness(logging.Handler):
    """Listens to all loggers and warnings while `listening()`; is shown objects and errors."""

    def __init__(self) -> None:
        super().__init__(level=0)
        self.secrets: set[str] = set()
        self._heard: dict[str, set[str]] = {}

    def secret(self, value: str) -> str:
        """Remember a secret; returns it."""
        self.secrets.add(value)
        return value

    def hear(self, channel: str, text: str | bytes) -> None:
        """Take in what came out somewhere."""
        plain = text.decode("latin-1") if isinstance(text, bytes) else text
        self._heard.setdefault(channel, set()).add(_ADDRESS.sub("", plain))

    def emit(self, record: logging.LogRecord) -> None:
        """A log line: its message, its arguments, and what else the record carries."""
        self.hear(f"log of {record.name}", f"{record.getMessage()}\n{vars(record)!r}")
        if record.exc_info and record.exc_info[1]:
            self.catch(record.exc_info[1])

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Every logger at its most talkative, every warning; on a loop also asyncio's own."""
        root, chatter = logging.getLogger(), logging.getLogger("asyncio")
        before = root.level
        root.setLevel(1)
        root.addHandler(self)
        chatter.addHandler(self)
        chatter.propagate = False  # pytest need not keep every callback as well
        with suppress(RuntimeError):
            loop = asyncio.get_running_loop()
            loop.set_debug(True)
            loop.slow_callback_duration = 0  # each callback is logged
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                yield
            for warning in warned:
                self.hear("warning", str(warning))
        finally:
            chatter.propagate = True
            chatter.removeHandler(self)
            root.removeHandler(self)
            root.setLevel(before)

    def see(self, *things: object) -> None:
        """Look at objects as a person, a debugger or a log would show them."""
        for thing in things:
            kind = type(thing).__name__
            for show in (repr, str, format, pretty_repr, pprint.pformat):
                self.hear(f"{show.__name__} of {kind}", show(thing))
            # The values of a model are its user's to ask for; nobody asks for those of the rest.
            if not isinstance(thing, (BaseModel, tuple, dict)):
                with suppress(TypeError):
                    self.hear(f"vars of {kind}", repr(vars(thing)))
                    self.hear(f"vars of {kind}", pretty_repr(vars(thing)))

    def tasks(self) -> None:
        """Look at all tasks that run now."""
        for task in asyncio.all_tasks():
            self.hear("task", f"{task!r} {task.get_name()}")

    def catch(self, error: BaseException) -> None:
        """Look at an error and all behind it: texts, arguments, notes, pickles, frames."""
        todo: list[BaseException | None] = [error]
        known: set[int] = set()
        while todo:
            one = todo.pop()
            if one is None or id(one) in known:
                continue
            known.add(id(one))
            todo += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
            self.see(one, one.args, *getattr(one, "__notes__", ()))
            self._pickle(one)
            self._frames(one)

    def _pickle(self, error: BaseException) -> None:
        kind = type(error).__name__
        with suppress(Exception):  # what cannot be pickled leaks nothing by it
            self.hear(f"pickle of {kind}", pickle.dumps(error, 0))
            self.hear(f"pickle of {kind}", pickle.dumps(error))

    def _frames(self, error: BaseException) -> None:
        """Local variables, as the standard library and as rich shows them; not those of tests."""
        kind = type(error).__name__
        standard = traceback.TracebackException.from_exception(error, capture_locals=True)
        self.hear(f"text of {kind}", "".join(standard.format_exception_only()))
        for frame in standard.stack:
            if not frame.filename.startswith(TESTS):
                where = f"locals of {Path(frame.filename).name}:{frame.name} in {kind}"
                self.hear(where, "\n".join((frame.locals or {}).values()))
        rich = Traceback.extract(type(error), error, error.__traceback__, show_locals=True)
        for stack in rich.stacks:
            for rich_frame in stack.frames:
                if not rich_frame.filename.startswith(TESTS):
                    name = f"{Path(rich_frame.filename).name}:{rich_frame.name}"
                    variables = (rich_frame.locals or {}).values()
                    self.hear(f"rich locals of {name} in {kind}", "\n".join(map(str, variables)))

    def leaks(self) -> list[str]:
        """Where a secret came out: the channels, each with an example."""
        wanted = {sample for secret in self.secrets for sample in samples(secret)}
        return [
            f"{channel}: ...{found}..."
            for channel, texts in sorted(self._heard.items())
            if (found := _first("\n".join(texts), wanted))
        ]


def in_bytes(content: bytes, secrets: Iterable[str]) -> list[str]:
    """Which secrets stand in some bytes, in whatever form."""
    text = content.decode("latin-1")
    return [
        secret
        for secret in secrets
        if any(sample.encode().decode("latin-1") in text for sample in samples(secret))
    ]


def _first(text: str, wanted: set[str]) -> str:
    for sample in wanted:
        start = text.find(sample)
        if start >= 0:
            return text[max(0, start - 60) : start + SAMPLE]
    return ""
