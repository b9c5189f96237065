"""The demo: it shows what it promises, says so in its exit code, and leaves nothing running."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import socket
import stat
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from twitchvault import SQLiteStore
from twitchvault.cli.demo.bot import Orders, Report
from twitchvault.cli.demo.crew import Crew
from twitchvault.cli.demo.place import DemoError
from twitchvault.cli.demo.play import findings
from twitchvault.cli.users import opened, read_users
from twitchvault.testing import FakeTwitch
from twitchvault.testing.fake import Counts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

COMMAND: Final = (sys.executable, "-m", "twitchvault.cli.demo")
PATIENCE: Final = 40.0
PID: Final = re.compile(r"pid (\d+)")
PORT: Final = re.compile(r"http://127\.0\.0\.1:(\d+)/")


class Run:
    """The demo at a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        self.text = ""
        self._folder = folder
        self._terminal = -1
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *arguments: str) -> None:
        """Start it as the leader of a session, as a shell in a terminal would."""
        self._terminal, inside = pty.openpty()
        os.set_blocking(self._terminal, False)
        self._process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env={**os.environ, "TMPDIR": str(self._folder), "TERM": "xterm", "COLUMNS": "80"},
            start_new_session=True,
        )
        os.close(inside)
        asyncio.get_running_loop().add_reader(self._terminal, self._read)

    def _read(self) -> None:
        try:
            self.text += os.read(self._terminal, 65_536).decode(errors="replace")
        except OSError:  # its last process has ended
            asyncio.get_running_loop().remove_reader(self._terminal)

    async def until(self, pattern: str, count: int = 1) -> None:
        """Wait until it has shown so many different texts of that pattern."""
        await until(lambda: len(set(re.findall(pattern, self.text))) >= count)

    def left(self) -> list[str]:
        """What of it still runs: its processes, and the double."""
        ports = {int(port) for port in PORT.findall(self.text)}
        return [f"process {pid}" for pid in self.pids if alive(pid)] + [
            f"port {port}" for port in ports if listening(port)
        ]

    @property
    def pids(self) -> set[int]:
        """The processes that it has shown."""
        return {int(pid) for pid in PID.findall(self.text)}

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to it, or to all that were started at the terminal."""
        assert self._process is not None
        send = os.killpg if group else os.kill
        send(self._process.pid, number)

    async def end(self) -> int:
        """Wait for its end; the exit code."""
        assert self._process is not None
        async with asyncio.timeout(PATIENCE):
            return await self._process.wait()

    async def close(self) -> None:
        """Leave nothing behind, whatever a test has come to."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
            asyncio.get_running_loop().remove_reader(self._terminal)
            os.close(self._terminal)


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    """A demo that has not started yet."""
    run = Run(tmp_path)
    try:
        yield run
    finally:
        await run.close()


async def plain(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run it without a terminal; exit code and everything it says."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    async with asyncio.timeout(PATIENCE):
        out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.long
async def test_each_expired_token_is_exchanged_once(tmp_path: Path) -> None:
    """Without a terminal: the double's counts agree, no call fails, and the file stays, private."""
    code, text = await plain(tmp_path, "--seconds", "5")
    assert code == 0, text
    assert "\x1b" not in text
    found = re.search(r"(\d+) access tokens expired \((\d+) were due\), (\d+) exchanges", text)
    assert found is not None, text
    assert found[1] == found[2] == found[3] != "0"
    assert "0 replays of a spent refresh token" in text
    assert re.search(r"[\d,]+ calls, 0 failed", text), text
    assert len(set(PID.findall(text))) == 4
    (file,) = found_in(tmp_path, "twitchvault-demo-*/tokens.db")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert str(file) in text
    async with opened(SQLiteStore(file)) as store:
        records = [user.record for user in await read_users(store)]
    assert [record.login for record in records if record] == ["alice", "bob"]
    for record in records:
        assert record is not None
        assert record.access_token not in text
        assert str(record.refresh_token) not in text


@pytest.mark.long
async def test_the_demo_runs_on_a_server_too(tmp_path: Path) -> None:
    """--store redis starts a server of its own, which ends with the demo."""
    code, text = await plain(tmp_path, "--store", "redis", "--seconds", "4")
    assert code == 0, text
    assert "0 replays of a spent refresh token" in text
    (log,) = found_in(tmp_path, "twitchvault-demo-*/valkey.log")
    (port,) = set(re.findall(r"port=(\d+)", log.read_text()))
    assert not listening(int(port))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("memory", "'--store memory' lives in one process"),
        ("paper", "'--store paper' is not known: choose one of sqlite, redis"),
    ],
)
async def test_a_store_that_cannot_be_shared_is_refused(
    tmp_path: Path, kind: str, reason: str
) -> None:
    """The reason is given, the exit code is 2, and no folder is left."""
    code, text = await plain(tmp_path, "--store", kind)
    assert code == 2
    assert reason in text
    assert not found_in(tmp_path, "*")


async def test_ctrl_c_ends_everything(run: Run) -> None:
    """At a terminal: a picture of the address, a live table, and Ctrl-C ends all processes."""
    await run.start()
    await run.until(PID.pattern, 4)
    assert "▄▄▄▄▄" in run.text
    run.signal(signal.SIGINT, group=True)
    assert await run.end() == 130
    await run.until("Stopped")
    assert "Traceback" not in run.text
    assert not run.left()


async def test_nothing_outlives_a_demo_that_was_killed(run: Run) -> None:
    """Even after kill -9 its processes end by themselves."""
    await run.start()
    await run.until(PID.pattern, 4)
    run.signal(signal.SIGKILL)
    assert await run.end() == -signal.SIGKILL
    await until(lambda: not run.left())


@pytest.mark.long
async def test_a_process_that_dies_stops_the_demo(run: Run) -> None:
    """A demo that lost one of its processes says which, and does not claim success."""
    await run.start()
    await run.until(PID.pattern, 4)
    os.kill(min(run.pids), signal.SIGKILL)
    assert await run.end() == 2
    await run.until(r"The demo cannot go on: process \d ended")
    assert not run.left()


async def test_what_a_process_dies_of_is_told(tmp_path: Path) -> None:
    """A process that cannot open the store ends, and its own words reach the person."""
    async with FakeTwitch() as twitch:
        client = twitch.register_client()
        orders = Orders(
            client_id=client.client_id,
            client_secret=str(client.client_secret),
            id_url=twitch.id_url,
            api_url=twitch.api_url,
            store=f"sqlite:///{tmp_path}/none/tokens.db",
            users=("1001",),
        )
        with pytest.raises(DemoError, match=r"process 1 ended: .*its folder does not exist"):
            async with Crew(1, orders):
                pass


GOOD: Final = Counts(expiries=5, exchanges=5)
REPORTS: Final = [Report(calls=100, refreshed=count) for count in (2, 0, 1, 2)]


@pytest.mark.parametrize(
    ("counts", "expired", "reports"),
    [
        (replace(GOOD, exchanges=6), 5, REPORTS),
        (replace(GOOD, expiries=4), 5, REPORTS),
        (GOOD, 6, REPORTS),
        (Counts(), 0, [replace(report, refreshed=0) for report in REPORTS]),
        (replace(GOOD, replays=1), 5, REPORTS),
        (replace(GOOD, refused_refreshes=1), 5, REPORTS),
        (GOOD, 5, [replace(REPORTS[0], failed=1), *REPORTS[1:]]),
        (GOOD, 5, [replace(REPORTS[0], refreshed=1), *REPORTS[1:]]),
        (GOOD, 5, [replace(REPORTS[0], calls=0), *REPORTS[1:]]),
        (GOOD, 5, REPORTS[:3]),
    ],
)
def test_the_verdict_is_bad_if_anything_is_off(
    counts: Counts, expired: int, reports: list[Report]
) -> None:
    """One exchange too many, a replay, a failed call, an idle process: each one spoils it."""
    assert all(finding.kept for finding in findings(REPORTS, GOOD, 5))
    assert not all(finding.kept for finding in findings(reports, counts, expired))


def alive(pid: int) -> bool:
    """Whether that process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def listening(port: int) -> bool:
    """Whether anybody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def found_in(folder: Path, pattern: str) -> list[Path]:
    """What the demo has left in its folder."""
    return list(folder.glob(pattern))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that a process is about to do."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - other processes set no Event
            await asyncio.sleep(0.02)
