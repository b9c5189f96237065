"""Where the library runs: Linux, macOS, Windows. What it needs of a system, it asks for first."""

from __future__ import annotations

import ntpath
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.programs import running
from twitchvault import SQLiteStore, open_store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.environment import Environment

BARE: Final = (sys.executable, "-W", "error", "-X", "dev", "-m", "tests.portable")
"""A process whose `os`, `signal`, `time` and event loop have what Windows has."""


def test_every_store_works_without_posix() -> None:
    """Users sign in and are refreshed; nothing is warned of, not even a file that seems open."""
    run = subprocess.run(BARE, check=False, capture_output=True, text=True, timeout=50)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_the_command_works_without_posix() -> None:
    """It refuses a Unix socket in one line."""
    command = (*BARE, "list", "--store", "unix:///run/redis.sock")
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=50)
    assert (run.returncode, run.stdout) == (2, "")
    assert "a 'unix' URL needs Unix sockets, which this system lacks: use 'redis://'" in run.stderr


async def test_ctrl_c_without_posix(env: Environment, tmp_path: Path) -> None:
    """A login that waits ends with 130, though the loop takes no signal handlers."""
    options = {
        "--client-id": env.public.client_id,
        "--store": f"sqlite:///{tmp_path.as_posix()}/tokens.db",
        "--id-url": env.twitch.id_url,
        "--api-url": env.twitch.api_url,
    }
    words = (word for option in options.items() for word in option)
    async with running(*BARE[1:], "login", *words) as login:
        await login.has_written("/activate")
        login.process.send_signal(signal.SIGINT)
        assert await login.ended() == 130, login.output
    assert "Traceback" not in login.output


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///C:/Users/bot one/tokens.db",
        "sqlite:///C:/Users/bot%20one/tokens.db",
        r"sqlite:///C:\Users\bot one\tokens.db",
        "sqlite:///C%3A%5CUsers%5Cbot%20one%5Ctokens.db",
    ],
)
def test_paths_of_windows(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A drive, and slashes of both kinds, as they are or percent-encoded."""
    monkeypatch.setattr("os.path.abspath", ntpath.abspath)
    path = r"C:\Users\bot one\tokens.db"
    assert repr(open_store(url)) == repr(SQLiteStore(path)) == f"SQLiteStore({path!r})"
