"""Every example on every page runs, and does no harm; a browser clicks through the login server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from yarl import URL

from twitchvault.testing import FakeTwitch

from .page_runner import SECRET, PageRunner, point_app_at, running_double
from .pages import PAGES, ROOT, blocks, name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

RUN = ("python", "toml")
RUN_ELSEWHERE = (ROOT / "docs" / "loops-and-threads.md", ROOT / "docs" / "tutorial.md")
"""tests/loops and test_tutorial run their programs, each in a process of its own."""
TO_RUN = [page for page in PAGES if page not in RUN_ELSEWHERE and blocks(page, *RUN)]


@pytest.mark.parametrize("page", TO_RUN, ids=name)
def test_the_examples_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, in one folder: none fails, replays a token, or puts a secret into an address."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # a page imports what it has saved
    secret = SECRET in page.read_text(encoding="utf-8")
    with running_double(secret, monkeypatch) as twitch, asyncio.Runner() as loop_runner:
        runner = PageRunner(twitch.url)
        for block in blocks(page, *RUN):
            runner.run(block, loop_runner)
        assert twitch.counts.replays == 0
        assert twitch.leaks == ()


PAGE: Final = ROOT / "docs" / "signing-in.md"


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Any]]:
    """The names of the page's module; `base` is where it is served, `twitch` the double."""
    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in blocks(PAGE, "python") if block.file == "login_server.py"]
    async with FakeTwitch(seed=2) as twitch:
        twitch.register_client(
            client_id="CLIENT_ID",
            client_secret=SECRET,
            redirect_uris=["http://localhost:3000/callback"],
        )
        point_app_at(monkeypatch, twitch)
        module: dict[str, Any] = {"__name__": "login_server"}
        exec(block.text, module)  # noqa: S102 - the page is ours
        async with TestServer(module["server"]) as server:
            yield module | {"base": server.make_url("/"), "twitch": twitch}


async def visit(server: dict[str, Any], *, meddle: bool = False) -> tuple[int, str]:
    """Follow the way of a browser, from /login to Twitch and back; what it shows in the end.

    It looks at each of its pages in advance, and reloads the last one.
    """
    jar = aiohttp.CookieJar(unsafe=True)
    base, ahead = server["base"], {"Sec-Purpose": "prefetch"}
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        async with browser.get(base / "login", allow_redirects=False) as answer:
            to_twitch = URL(answer.headers["Location"], encoded=True)
        async with browser.get(to_twitch, allow_redirects=False) as answer:
            back = URL(answer.headers["Location"])
        query = {**back.query, "state": "another"} if meddle else back.query
        page = base.with_path("/callback").with_query(query)
        await browser.head(page)
        await browser.get(page, headers=ahead)
        for _ in range(2):
            async with browser.get(page) as answer:
                seen = answer.status, await answer.text()
            page = answer.url
        if not meddle:
            assert not [cookie for cookie in jar if cookie.key == "twitchvault_login"]
        return seen


async def test_a_user_comes_back_signed_in(server: dict[str, Any]) -> None:
    """The pair is in the vault, the code was sent once, and the cookie is gone."""
    alice = server["twitch"].add_user("alice")
    server["twitch"].auto_consent(alice)
    assert await visit(server) == (200, "Welcome, alice.")
    assert server["vault"].get_token(alice.user_id) is not None
    assert server["twitch"].counts.code_exchanges == 1


async def test_a_strange_state_is_turned_away(server: dict[str, Any]) -> None:
    """A code that comes with another state is not exchanged."""
    server["twitch"].auto_consent(server["twitch"].add_user("alice"))
    turned_away = "This login has ended, or began in another browser: sign in again."
    assert await visit(server, meddle=True) == (400, turned_away)
    assert server["twitch"].counts.code_exchanges == 0


async def test_a_bad_day_of_twitch(server: dict[str, Any]) -> None:
    """The user is asked to come back, and then can sign in."""
    server["twitch"].auto_consent(server["twitch"].add_user("alice"))
    server["twitch"].fail("token:code", status=503)
    assert (await visit(server))[0] in {400, 503}
    assert await visit(server) == (200, "Welcome, alice.")
