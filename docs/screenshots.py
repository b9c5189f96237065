"""Writes the pictures of the command: `python -m docs.screenshots`.

Each is what a terminal shows when the command is run against the double. Look at them before you
commit them.
"""

from __future__ import annotations

import asyncio
import io
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from twitchvault import App
from twitchvault.testing import FakeTwitch

assert sys.platform != "win32", "a pseudo-terminal is needed"

if TYPE_CHECKING:
    from twitchvault.testing.fake import Client

DOCS: Final = Path(__file__).parent
PORT: Final = 8080
COLUMNS: Final = 100
MAIN: Final = "from twitchvault.cli import main; main()"
FONTS: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""They would be loaded from elsewhere."""
SCENES: Final[dict[str, tuple[str, ...]]] = {
    "login": ("login", "--scope", "chat:read chat:edit"),
    "list": ("list",),
    "show": ("show", "alice"),
    "doctor": ("doctor",),
    "watch": ("watch",),
}
MEANWHILE: Final = {"watch": (("refresh", "alice"), b"refreshed")}
"""What another process does when a scene stands that has no end, and what it then shows."""
REDRAWN: Final = re.compile(r"(?:\r?\x1b\[\d*[AK])+")
"""Where a picture that is drawn again begins."""


async def main() -> None:
    """Write every picture, of one store."""
    async with FakeTwitch(PORT, seed=3, device_interval=1) as twitch:
        client = twitch.register_client(client_id="hof5gwx0su6owfnys0nyan9c87zr6t", public=True)
        with tempfile.TemporaryDirectory() as folder:
            await _fill(twitch, client, f"sqlite:///{folder}/tokens.db")
            for name, arguments in SCENES.items():
                shown = await asyncio.to_thread(_run, twitch, client, folder, arguments)
                shown = shown.replace(folder, "/var/lib/bot")
                _write(name, arguments, shown.replace(f" {socket.gethostname()}/", " bot/"))


async def _fill(twitch: FakeTwitch, client: Client, store: str) -> None:
    """Users who have just signed in, and one who has to do it again."""
    async with App(
        client.client_id,
        store=store,
        maintain=False,
        id_url=twitch.id_url,
        api_url=twitch.api_url,
    ) as app:
        for login, scopes in (
            ("alice", ("chat:edit", "chat:read")),
            ("bob", ("bits:read",)),
            ("carol", ("channel:read:subscriptions", "chat:read")),
        ):
            pair = twitch.issue(client, twitch.add_user(login), scopes)
            user = await app.add_user(pair.access_token, pair.refresh_token)
            await user.refresh()
        twitch.disconnect(client, "bob")
        with suppress(Exception):
            await next(u for u in map(app.get_user_by_id, app.tokens) if u.login == "bob").refresh()
    twitch.auto_approve("alice")


def _run(twitch: FakeTwitch, client: Client, folder: str, arguments: tuple[str, ...]) -> str:
    """What the command shows at a terminal."""
    settings = {
        "TWITCHVAULT_CLIENT_ID": client.client_id,
        "TWITCHVAULT_STORE": f"sqlite:///{folder}/tokens.db",
        "TWITCHVAULT_ID_URL": twitch.id_url,
        "TWITCHVAULT_API_URL": twitch.api_url,
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "COLUMNS": str(COLUMNS),
        "LINES": "50",
    }
    environment = os.environ | settings
    command = [sys.executable, "-c", MAIN]
    terminal, inside = pty.openpty()
    with subprocess.Popen(  # noqa: S603 - our own command
        [*command, *arguments], stdin=inside, stdout=inside, stderr=inside, env=environment
    ) as process:
        os.close(inside)
        shown = b""
        other, sign = MEANWHILE.get(arguments[0], ((), b""))
        with suppress(OSError):  # the command has ended
            while part := os.read(terminal, 65_536):
                shown += part
                if other and b"STATE" in shown:
                    _run_once([*command, *other], environment)
                    other = ()
                elif sign and sign in shown:
                    process.send_signal(signal.SIGINT)
                    sign = b""
    os.close(terminal)
    return REDRAWN.split(shown.decode())[-1].replace("Stopped.\r\n", "")


def _run_once(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run(command, env=environment, check=True, capture_output=True)  # noqa: S603


def _write(name: str, arguments: tuple[str, ...], shown: str) -> None:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(shown.replace("\r\n", "\n")))
    words = (f"'{word}'" if " " in word else word for word in arguments)
    svg = console.export_svg(title=f"twitchvault {' '.join(words)}", unique_id=name)
    (DOCS / f"{name}.svg").write_text(FONTS.sub("", svg), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
