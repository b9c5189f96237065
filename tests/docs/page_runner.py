"""Runs the pages' examples: in a folder, against a double of Twitch, in one namespace a page.

The examples are run as they stand. Only where Twitch is differs: the defaults of `id_url` and
`api_url` in `App`'s signature lead to the double. There:

- the application "CLIENT_ID" is registered; with the secret "CLIENT_SECRET" if the page has that
  word, else as a public client. `http://localhost:3000` is its redirect URI;
- the users are alice (1001), who approves every login, and bob (1002);
- `tokens.db`, in the folder, holds alice's tokens;
- the environment says the same: `TWITCHVAULT_CLIENT_ID`, `_STORE` and, if there is one, the secret;
- the double that a page starts in a terminal, `http://127.0.0.1:8080`, is this one;
- `input()` is answered by a browser that opens the last address printed and says where it led.

Code on the top level may `await`, as in `python -m asyncio`. A block that begins with a comment
that is a file name is saved under that name, and is that module; pytest runs it if its name begins
with "test_".
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from twitchvault import App
from twitchvault.testing import FakeTwitch

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    import pytest

    from .pages import Block

PATIENCE: Final = 50
RUN_ELSEWHERE: Final = frozenset({"test_my_store.py"})
"""test_own_store runs it, test by test: the contract takes long."""
REDIRECT: Final = "http://localhost:3000"
BY_HAND: Final = "http://127.0.0.1:8080"
SCOPES: Final = ("chat:read", "user:read:chat")
SECRET: Final = "CLIENT_SECRET"


class PageRunner:
    """Runs the blocks of one page, one after the other."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.names: dict[str, Any] = {
            "__name__": "__main__",
            "print": self._print,
            "input": self._input,
        }
        self._printed = ""

    def run(self, block: Block, runner: asyncio.Runner) -> None:
        """Save it if it has a file name; run it, or let pytest run it."""
        if block.file is not None:
            Path(block.file).write_text(block.text, encoding="utf-8")
        if block.language != "python" or block.file in RUN_ELSEWHERE:
            return
        if block.file is not None and block.file.startswith("test_"):
            _pytest(block.file)
        else:
            self._execute(block, runner)

    def _execute(self, block: Block, runner: asyncio.Runner) -> None:
        padded = "\n" * (block.line - 1) + block.text.replace(BY_HAND, self._url)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self.names["__name__"] = "__main__" if block.file is None else Path(block.file).stem
        code = compile(padded, str(block.page), "exec", flags=flags, dont_inherit=True)
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(_await(eval(code, self.names)))  # noqa: S307 - the pages are ours
        else:
            exec(code, self.names)  # noqa: S102 - the pages are ours

    def _print(self, *values: object) -> None:
        self._printed += " ".join(map(str, values)) + "\n"

    def _input(self, prompt: str = "") -> str:
        """A browser opens the address that was printed last; where it was sent on to."""
        del prompt
        address = next(word for word in reversed(self._printed.split()) if "://" in word)
        url = urlsplit(address)
        browser = HTTPConnection(url.netloc, timeout=10)
        try:
            browser.request("GET", f"{url.path}?{url.query}")
            return browser.getresponse().getheader("Location") or ""
        finally:
            browser.close()


async def _await(work: Coroutine[Any, Any, None]) -> None:
    await work


def _pytest(file: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", file]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout


@contextmanager
def running_double(secret: bool, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTwitch]:
    """A double with its own event loop, in a thread; `App`'s defaults lead to it."""
    twitch = FakeTwitch(seed=5, device_interval=1, control=True)
    twitch.register_client(
        client_id="CLIENT_ID",
        public=not secret,
        client_secret=SECRET if secret else None,
        redirect_uris=[REDIRECT],
    )
    alice, _ = twitch.add_user("alice", user_id="1001"), twitch.add_user("bob", user_id="1002")
    twitch.auto_approve(alice)
    twitch.auto_consent(alice)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="the double")
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(twitch.start(), loop).result(10)
        point_app_at(monkeypatch, twitch)
        monkeypatch.setenv("TWITCHVAULT_CLIENT_ID", "CLIENT_ID")
        monkeypatch.setenv("TWITCHVAULT_STORE", "sqlite:///tokens.db")
        if secret:
            monkeypatch.setenv("TWITCHVAULT_CLIENT_SECRET", SECRET)
        asyncio.run(_fill(twitch, secret))
        yield twitch
    finally:
        asyncio.run_coroutine_threadsafe(twitch.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def point_app_at(monkeypatch: pytest.MonkeyPatch, twitch: FakeTwitch) -> None:
    """Let `App`'s defaults lead to the double."""
    defaults = inspect.unwrap(App.__init__).__kwdefaults__
    monkeypatch.setitem(defaults, "id_url", twitch.id_url)
    monkeypatch.setitem(defaults, "api_url", twitch.api_url)


async def _fill(twitch: FakeTwitch, secret: bool) -> None:
    pair = twitch.issue("CLIENT_ID", "alice", SCOPES)
    async with App(
        "CLIENT_ID", SECRET if secret else None, store="sqlite:///tokens.db", maintain=False
    ) as app:
        await app.add_user(pair.access_token, pair.refresh_token)
