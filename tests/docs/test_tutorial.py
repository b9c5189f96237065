"""The tutorial, typed into a terminal from the first command to the last."""

from __future__ import annotations

import os
import re
import sys
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import pytest

from tests.http_servers import free_port
from tests.redis_store.servers import Server, running

from .pages import ROOT, Block, blocks
from .terminal import Terminal, normalised

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it is typed into bash")

PAGE: Final = ROOT / "docs" / "tutorial.md"
INSTALL: Final = "$ mkdir"
"""The first block makes the folder and installs; here both are there."""
REDIS: Final = "redis://localhost"
BY_HAND: Final = "http://127.0.0.1:8080"
ALIVE: Final = "Helix says Alice\n"


def commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a block, each with the output below it; none if it has no prompt."""
    if not block.text.startswith("$ "):
        return []
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


class Reader:
    """Somebody who does what the page says, with a double and a server on ports of their own."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self._folder = folder
        self._redis_url = redis_url
        self._port = free_port()
        self._logs: list[Path] = []
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.terminal = Terminal(folder, {"PATH": path, "HOME": str(folder)})

    def save(self, block: Block) -> None:
        """Write the program into the folder."""
        assert block.file is not None
        text = block.text.replace(BY_HAND, f"http://127.0.0.1:{self._port}")
        (self._folder / block.file).write_text(text, encoding="utf-8")

    def type(self, command: str, following: str) -> str:
        """What the command prints, until it is time for the following one."""
        self._logs += [self._folder / name for name in re.findall(r"> (\w+\.log)", command)]
        typed = command.replace(REDIS, self._redis_url)
        typed = typed.replace("twitchvault fake", f"twitchvault fake --port {self._port}")
        self.terminal.run(typed, self._approve if " login " in command else None)
        self.terminal.wait_for(lambda: self._is_time_for(following))
        return self.terminal.answer.replace(self._redis_url, REDIS)

    def _is_time_for(self, command: str) -> bool:
        """Whether a person sees that the command may be typed."""
        if command == ". ./double.env":
            return "Ctrl-C ends the double" in self.terminal.output
        if command.startswith(("kill", "python double.py expire")):
            return all(ALIVE in text for text in self._logged())
        if command.startswith("uniq"):
            return all(re.search(rf"refreshed \w+\n{ALIVE}", text) for text in self._logged())
        return True

    def _logged(self) -> list[str]:
        return [log.read_text("utf-8") if log.exists() else "" for log in self._logs]

    def _approve(self, terminal: Terminal) -> None:
        """Open the address that is shown, and click on *Authorize*."""
        terminal.wait_for(lambda: "Waiting for you" in terminal.output)
        code = re.search(r"device-code=(\w+)", terminal.output)
        assert code is not None
        form = {"device-code": code[1], "user": "alice", "decision": "authorize"}
        browser = HTTPConnection("127.0.0.1", self._port, timeout=10)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        browser.request("POST", "/activate", urlencode(form), headers)
        assert browser.getresponse().status == 200
        browser.close()


@pytest.mark.long
@pytest.mark.timeout(150)
def test_the_tutorial_prints_what_it_says(tmp_path: Path) -> None:
    """Each command in order, in one folder: the same lines, but for times, names and addresses."""
    parts = blocks(PAGE, "text", "python")
    server = Server()
    with running(server):
        reader = Reader(tmp_path, server.url)
        try:
            follow(reader, [part for part in parts if not part.text.startswith(INSTALL)])
        finally:
            reader.terminal.close()


def follow(reader: Reader, parts: list[Block]) -> None:
    """Save the programs and type the commands, and hold what is printed to what the page says."""
    for part in parts:
        if part.language == "python":
            reader.save(part)
    said = [command for part in parts for command in commands(part)]
    for (command, output), (following, _) in pairwise([*said, ("", "")]):
        assert normalised(reader.type(command, following)) == normalised(output), command


def test_the_service_of_the_tutorial() -> None:
    """It is the one of the page "Running it"."""
    texts = [block.text for block in blocks(PAGE, "text")]
    assert next(text for text in texts if "[Unit]" in text) in [
        block.text for block in blocks(PAGE.with_name("production.md"), "text")
    ]
