"""A flow under schedulers, other loops, notebooks and pytest, and what the error says elsewhere."""

from __future__ import annotations

import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .place import ELSEWHERE, NO_LOOP, PROGRAMS

if TYPE_CHECKING:
    from .place import Place

not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="uvloop is not for Windows")


def test_every_program_of_the_page_is_run() -> None:
    """Each block of the page has a file name, and a test here names it, or a program imports it."""
    tests = "".join(file.read_text("utf-8") for file in Path(__file__).parent.glob("test_*.py"))
    assert "" not in PROGRAMS
    for name in PROGRAMS:
        module = name.removesuffix(".py")
        used = tests + "".join(text for other, text in PROGRAMS.items() if other != name)
        assert re.search(rf"\b{module}\b", used), name


@pytest.mark.parametrize(
    "program", [pytest.param("uvloop_bot.py", marks=not_on_windows), "anyio_bot.py"]
)
async def test_a_loop_of_another_kind(place: Place, program: str) -> None:
    """The program prints who it is, warns of nothing, and ends."""
    assert await place.run("-W", "error", program) == (0, "Alice\n")
    assert place.twitch.counts.exchanges == 1


async def test_trio(place: Place) -> None:
    """One sentence says that it does not do."""
    text = PROGRAMS["anyio_bot.py"].replace("run(main)", 'run(main, backend="trio")')
    code, output = await place.run(place.write("trio_bot.py", text))
    assert code == 1
    assert f"WrongEventLoop: {NO_LOOP}" in output


TWICE = """
from twitchvault import App
app = App.from_env(maintain=False)
"""


@pytest.mark.parametrize(
    ("open_it", "use_it"),
    [
        pytest.param(
            "import uvloop; uvloop.run(app.authorize())",
            "uvloop.run(app.get_user_by_id('1001').get_user())",
            marks=not_on_windows,
        ),
        (
            "from asgiref.sync import async_to_sync; async_to_sync(app.authorize)()",
            "async_to_sync(app.get_user_by_id('1001').get_user)()",
        ),
    ],
    ids=["uvloop", "async_to_sync"],
)
async def test_two_runs(place: Place, open_it: str, use_it: str) -> None:
    """What the first has opened is a clear error in the second, and nothing is sent."""
    place.write("twice.py", f"{TWICE}{open_it}\n{use_it}\n")
    code, output = await place.run("twice.py")
    assert code == 1
    assert f"WrongEventLoop: {ELSEWHERE}" in output
    assert place.twitch.counts.exchanges == 0


async def test_apscheduler_on_the_loop(place: Place) -> None:
    """The jobs of an `AsyncIOScheduler` run on the loop of the flow."""
    async with place.running("-W", "error", "asyncio_scheduler.py") as running:
        await running.has_written("Alice\nAlice\n")
    assert place.twitch.counts.exchanges == 1


async def test_apscheduler_in_threads(place: Place) -> None:
    """Those of a `BackgroundScheduler` hand the call over; the flow is closed at the end."""
    async with place.running("-W", "error", "background_scheduler.py", stdin=PIPE) as running:
        await running.has_written("Alice\n")
        assert running.process.stdin is not None
        running.process.stdin.write(b"\n")
        assert await running.ended() == 0, running.output
    assert not (place.folder / "tokens.db-wal").exists()
    assert place.twitch.counts.exchanges == 1


BOTH_JOBS = """
async def main():
    loop = asyncio.get_running_loop()
    async with App.from_env() as app:
        scheduler = BackgroundScheduler()
        scheduler.add_job(lambda: asyncio.run(greet(app)))
        hand_over = lambda: asyncio.run_coroutine_threadsafe(greet(app), loop).result()
        scheduler.add_job(hand_over, "interval", seconds=1)
        scheduler.start()
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_jobs_in_threads_beside_a_loop(place: Place) -> None:
    """`asyncio.run` in a job is logged as the clear error; `run_coroutine_threadsafe` works."""
    begin, _, _ = PROGRAMS["asyncio_scheduler.py"].partition("async def main")
    text = begin.replace("asyncio import AsyncIO", "background import Background") + BOTH_JOBS
    async with place.running(place.write("both_jobs.py", text)) as running:
        await running.has_written("Alice\n")
        await running.has_written(f"WrongEventLoop: {ELSEWHERE}")


async def test_pytest_asyncio(place: Place) -> None:
    """Tests on the fixture's loop share its flow; without the mark they get the clear error."""
    right = PROGRAMS["test_loops.py"]
    wrong = right.replace("pytestmark", "unmarked")
    place.write("test_without_the_mark.py", wrong)
    place.write(
        "pytest.ini",
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n",
    )
    options = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", "-Werror")
    _, output = await place.run(*options, "test_loops.py", "test_without_the_mark.py")
    assert "1 failed, 1 passed" in output
    assert ELSEWHERE in " ".join(output.replace("\nE  ", " ").split())
