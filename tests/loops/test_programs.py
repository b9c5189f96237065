"""A flow under schedulers, servers, other loops, notebooks and pytest; what is said elsewhere."""

from __future__ import annotations

import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.manager import start_new_async_kernel

from tests.programs import PATIENCE

from .conftest import ELSEWHERE, FORKED, NO_LOOP, PROGRAMS

if TYPE_CHECKING:
    from .conftest import Place

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


IN_A_THREAD = """
import asyncio
await asyncio.to_thread(asyncio.run, app.get_user_by_id("1001").get_user())
"""


async def test_cells_share_a_loop(place: Place) -> None:
    """What one cell opens the next one uses; a loop in a thread is told what it is."""
    manager, kernel = await start_new_async_kernel(
        startup_timeout=PATIENCE, cwd=str(place.folder), env=place.settings
    )
    try:
        assert await run(kernel, PROGRAMS["first_cell.py"]) == ""
        assert await run(kernel, PROGRAMS["second_cell.py"]) == "Alice\n"
        assert await run(kernel, IN_A_THREAD) == ELSEWHERE
        assert await run(kernel, PROGRAMS["last_cell.py"]) == ""
    finally:
        kernel.stop_channels()
        await manager.shutdown_kernel(now=True)


async def run(kernel: Any, code: str) -> str:  # noqa: ANN401 - it has no types
    """Run a cell; what it printed, or its error."""
    parts: list[str] = []

    def collect(message: dict[str, Any]) -> None:
        content = message["content"]
        parts.extend(content[name] for name in ("text", "evalue") if name in content)

    await kernel.execute_interactive(code, timeout=PATIENCE, output_hook=collect)
    return "".join(parts)


UVICORN = ("-W", "error", "-m", "uvicorn", "--log-level", "warning", "--port", "{port}")
GUNICORN = ("-m", "gunicorn", "--preload", "--no-control-socket", "-w2", "-b", "127.0.0.1:{port}")
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="gunicorn needs a fork")

WRONG_PAGE = {
    "fastapi_bot": """
import asyncio

@api.get("/wrong/{user_id}")
def wrong(user_id: str) -> str:
    return asyncio.run(vault.get_user_by_id(user_id).get_user()).display_name
""",
    "asgi": """
import asyncio

def wrong(request, user_id):
    found = asyncio.run(vault.get_user_by_id(user_id).get_user())
    return HttpResponse(found.display_name)

urlpatterns.append(path("wrong/<user_id>", wrong))
settings.DEBUG_PROPAGATE_EXCEPTIONS = True  # to the server, which logs them
""",
}
"""A page in a thread that starts a loop of its own."""


@pytest.mark.parametrize("server", ["fastapi_bot:api", "asgi:application"])
async def test_an_asgi_server(place: Place, server: str) -> None:
    """Pages on the loop and in threads share one flow; a loop in a thread is told what it is."""
    name = server.partition(":")[0]
    place.write(f"{name}.py", PROGRAMS[f"{name}.py"] + WRONG_PAGE[name])
    async with place.serving(*UVICORN, server) as running:
        assert await running.get("/users/1001") == (200, "Alice")
        assert await running.get("/from-a-thread/1001") == (200, "Alice")
        status, _ = await running.get("/wrong/1001")
        assert status == 500
        await running.program.has_written(f"WrongEventLoop: {ELSEWHERE}")
    assert place.twitch.counts.exchanges == 1


@on_posix
@pytest.mark.parametrize(
    "server",
    [("wsgi:application",), ("-k", "uvicorn_worker.UvicornWorker", "fastapi_bot:api")],
    ids=["wsgi", "uvicorn"],
)
async def test_gunicorn_with_preload(place: Place, server: tuple[str, ...]) -> None:
    """Two workers open a flow each, after the fork, and exchange the token once between them."""
    async with place.serving(*GUNICORN, *server) as running:
        for _ in range(4):
            assert await running.get("/users/1001") == (200, "Alice")
    assert place.twitch.counts.exchanges == 1


@on_posix
@pytest.mark.parametrize("store", ["sqlite:///tokens.db", "memory://"])
async def test_a_flow_that_was_opened_before_the_fork(place: Place, store: str) -> None:
    """The worker says so and does not start: a copy of a store in memory is no store to share."""
    place.settings["TWITCHVAULT_STORE"] = store
    opened = "vault = App.from_env()\n__import__('asyncio').run(vault.authorize())\n"
    text = PROGRAMS["fastapi_bot.py"].replace("vault = App.from_env()\n", opened)
    place.write("fastapi_bot.py", text)
    server = ("-k", "uvicorn_worker.UvicornWorker", "fastapi_bot:api")
    async with place.running(*(w.format(port=0) for w in (*GUNICORN, *server))) as running:
        await running.has_written(f"WrongEventLoop: {FORKED}")
    assert place.twitch.counts.exchanges == 0


DJANGO = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.test import Client
from django.urls import path
import wsgi_views

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)
urlpatterns = [path("users/<user_id>", wsgi_views.user)]
get_wsgi_application()
for _ in range(2):
    print(Client(raise_request_exception=True).get("/users/1001").content.decode())
"""


async def test_django_under_wsgi(place: Place) -> None:
    """A view that opens and uses the flow in one `async_to_sync` works each time."""
    place.write("site_of_two.py", DJANGO)
    assert await place.run("-W", "error", "site_of_two.py") == (0, "Alice\nAlice\n")
