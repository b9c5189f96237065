"""A flow in FastAPI, Django and gunicorn, and what the error says on another loop."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from .place import ELSEWHERE, FORKED, PROGRAMS

if TYPE_CHECKING:
    from .place import Place

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
