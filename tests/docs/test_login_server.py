"""The login server of the page on signing in, clicked through by a browser."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from twitchvault.testing import FakeTwitch

from .page_runner import REDIRECT, SECRET, point_app_at
from .pages import ROOT, blocks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PAGE: Final = ROOT / "docs" / "signing-in.md"


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[URL]:
    """The application on a free port."""
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield URL.build(scheme="http", host=host, port=port)
    finally:
        await runner.cleanup()


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Any]]:
    """The names of the page's module; `base` is where it is served, `twitch` the double."""
    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in blocks(PAGE, "python") if block.file == "login_server.py"]
    async with FakeTwitch(seed=2) as twitch:
        twitch.register_client(
            client_id="CLIENT_ID", client_secret=SECRET, redirect_uris=[REDIRECT]
        )
        point_app_at(monkeypatch, twitch)
        module: dict[str, Any] = {"__name__": "login_server"}
        exec(block.text, module)  # noqa: S102 - the page is ours
        async with serving(module["app"]) as base:
            yield module | {"base": base, "twitch": twitch}


async def visit(
    server: dict[str, Any], *, meddle: bool = False, reloads: int = 0
) -> tuple[int, str]:
    """Follow the way of a browser, from /login to Twitch and back; what it shows in the end."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        async with browser.get(server["base"] / "login", allow_redirects=False) as answer:
            to_twitch = URL(answer.headers["Location"], encoded=True)
        async with browser.get(to_twitch, allow_redirects=False) as answer:
            back = URL(answer.headers["Location"])
        query = {**back.query, "state": "another"} if meddle else back.query
        for _ in range(1 + reloads):
            async with browser.get(server["base"].with_query(query)) as answer:
                page = answer.status, await answer.text()
        return page


async def test_a_user_comes_back_signed_in(server: dict[str, Any]) -> None:
    """The browser goes to Twitch and comes back, and the pair is in the vault."""
    alice = server["twitch"].add_user("alice")
    server["twitch"].auto_consent(alice)
    assert await visit(server) == (200, "Welcome, alice.")
    assert server["flow"].get_token(alice.user_id) is not None


async def test_a_strange_state_is_turned_away(server: dict[str, Any]) -> None:
    """A code that comes with another state is not exchanged."""
    server["twitch"].auto_consent(server["twitch"].add_user("alice"))
    assert await visit(server, meddle=True) == (400, "This is not the login that began here.")
    assert server["twitch"].counts.code_exchanges == 0


async def test_a_reload_is_turned_away(server: dict[str, Any]) -> None:
    """The state is used up: the code is not sent again, and the user stays signed in."""
    alice = server["twitch"].add_user("alice")
    server["twitch"].auto_consent(alice)
    status, _ = await visit(server, reloads=1)
    assert status == 400
    assert server["twitch"].counts.code_exchanges == 1
    assert server["flow"].get_token(alice.user_id) is not None


async def test_a_code_that_is_no_longer_good(server: dict[str, Any]) -> None:
    """The user is asked to sign in again; it is not an error of the server."""
    server["twitch"].auto_consent(server["twitch"].add_user("alice"))
    server["twitch"].code_lifetime = 0
    assert await visit(server) == (400, "This code is no longer good: sign in again.")


async def test_a_user_who_refuses_is_not_signed_in(server: dict[str, Any]) -> None:
    """A refusal is a page of its own, not an error of the server."""
    server["twitch"].auto_consent(server["twitch"].add_user("alice"), deny=True)
    assert await visit(server) == (403, "You did not grant access.")
