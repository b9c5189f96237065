"""The witness finds a secret wherever one comes out: else the other tests would show nothing."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import reprlib
import warnings
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote

import pytest

from .witness import Witness, in_bytes

SECRET: Final = 'a-canary/"söng" + 100 %, of thirty'
Plant = Callable[[Witness], object]


class Displayed:
    """An object that shows texts; only what is `inside` stands among its attributes."""

    def __init__(
        self, *, inside: str = "", shown: str = "nothing", text: str = "nothing", rich: str = ""
    ) -> None:
        self.texts: Callable[[], tuple[str, str, str]] = lambda: (shown, text, rich)
        self.inside = inside

    def __repr__(self) -> str:
        return self.texts()[0]

    def __str__(self) -> str:
        return self.texts()[1]

    def __rich_repr__(self) -> Iterator[str]:
        yield self.texts()[2]


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    """An error as it is when it is caught."""
    try:
        raise error from cause
    except Exception as caught:
        return caught


def from_elsewhere(local: str) -> Exception:
    """An error out of a frame that is no test's, with a local variable."""
    names: dict[str, Callable[[str], None]] = {}
    code = "def function(local):\n    raise ValueError('nothing')\n"
    exec(compile(code, "/elsewhere/module.py", "exec"), names)  # noqa: S102 - a file's name
    try:
        names["function"](local)
    except ValueError as caught:
        return caught
    raise AssertionError


def with_note(text: str) -> Exception:
    """An error with a note."""
    error = ValueError("nothing")
    error.add_note(text)
    return error


def in_context(text: str, *, suppressed: bool) -> Exception:
    """An error that was raised while another was handled."""
    error = ValueError("nothing")
    error.__context__, error.__suppress_context__ = ValueError(text), suppressed
    return error


def with_attribute(text: str) -> Exception:
    """An error that holds something that it does not say."""
    try:
        json.loads(f'{{"a": "{quote(text)}"')
    except json.JSONDecodeError as error:
        return error
    raise AssertionError


async def called_back(secret: str) -> None:
    """A callback that takes the secret, on a loop that logs each."""
    asyncio.get_running_loop().call_soon(str, secret)
    await asyncio.sleep(0.001)


async def named(witness: Witness, secret: str) -> None:
    """A task of that name."""
    task = asyncio.create_task(asyncio.sleep(0), name=secret)
    witness.tasks()
    await task


LOG: Final = logging.getLogger("some.library")
PLACES: Final[dict[str, Plant]] = {
    "log": lambda _: LOG.debug("it is %s", SECRET),
    "log of a custom level": lambda _: LOG.log(3, SECRET),
    "log, unformatted": lambda _: LOG.debug("it is %.2s", SECRET),
    "log, extra": lambda _: LOG.debug("nothing", extra={"more": SECRET}),
    "log, traceback": lambda _: LOG.debug("nothing", exc_info=raised(ValueError(SECRET))),
    "warning": lambda _: warnings.warn(SECRET, stacklevel=1),
    "callback": lambda _: called_back(SECRET),
    "task": lambda witness: named(witness, SECRET),
    "repr": lambda witness: witness.see(Displayed(shown=SECRET)),
    "str": lambda witness: witness.see(Displayed(text=SECRET)),
    "attribute": lambda witness: witness.see(Displayed(inside=SECRET)),
    "rich": lambda witness: witness.see(Displayed(rich=SECRET)),
    "error": lambda witness: witness.catch(ValueError(SECRET)),
    "error's cause": lambda witness: witness.catch(raised(KeyError(1), ValueError(SECRET))),
    "error's context": lambda witness: witness.catch(in_context(SECRET, suppressed=False)),
    "error's hidden context": lambda witness: witness.catch(in_context(SECRET, suppressed=True)),
    "error's attribute": lambda witness: witness.catch(with_attribute(SECRET)),
    "error's note": lambda witness: witness.catch(with_note(SECRET)),
    "error in a group": lambda witness: witness.catch(ExceptionGroup("n", [KeyError(SECRET)])),
    "local variable": lambda witness: witness.catch(from_elsewhere(SECRET)),
    "percent-encoded": lambda witness: witness.hear("here", quote(SECRET, safe="")),
    "in JSON": lambda witness: witness.hear("here", json.dumps([SECRET])),
    "in base64": lambda witness: witness.hear("here", coded(b"user:" + SECRET.encode() + b":")),
    "cut short": lambda witness: witness.hear("here", reprlib.repr(SECRET)),
    "end alone": lambda witness: witness.hear("here", SECRET[-12:]),
}


def coded(content: bytes) -> str:
    """Base64, as in an Authorization header."""
    return base64.b64encode(content).decode()


@pytest.mark.parametrize("place", PLACES)
async def test_a_planted_secret_is_found(place: str) -> None:
    """In each place where one may come out."""
    witness = Witness()
    witness.secret(SECRET)
    with witness.listening():
        planted = PLACES[place](witness)
        if asyncio.iscoroutine(planted):
            await planted
    assert witness.leaks(), place


async def test_nothing_is_found_where_nothing_is() -> None:
    """Errors, objects and logs without the secret are let pass, and so are tests' own variables."""
    witness = Witness()
    own = witness.secret(SECRET)
    with witness.listening():
        LOG.debug("nothing")
        witness.see(Displayed())
        witness.catch(raised(ValueError("nothing"), KeyError(len(own))))
        witness.catch(from_elsewhere("nothing"))
        witness.tasks()
    assert witness.leaks() == []


@pytest.mark.parametrize(
    "form", [SECRET, quote(SECRET), json.dumps(SECRET), coded(SECRET.encode())]
)
def test_a_secret_in_bytes_is_found(form: str) -> None:
    """In whatever form it stands in a file."""
    content = b"\x00\xff" + form.encode() + b"\xff\x00"
    assert in_bytes(content, [SECRET, "something else entirely"]) == [SECRET]
    assert in_bytes(content[::-1], [SECRET]) == []
