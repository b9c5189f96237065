"""Logins on a web server: both halves anywhere, each once, whatever the browser does."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from starlette.applications import Starlette
from yarl import URL

from tests.environment import REDIRECT
from twitchvault import BadRequest, ClientException, NotAuthorized
from twitchvault.integrations.login import (
    LoginDenied,
    LoginUnknown,
    PendingLogins,
    aiohttp_routes,
    starlette_routes,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.environment import Environment
    from twitchvault import App

SCOPES = {"chat:read"}


async def approve(env: Environment, url: str, *, deny: bool = False) -> dict[str, str]:
    """Answer Twitch's page as alice; the query that comes back."""
    env.twitch.auto_consent(env.alice, deny=deny)
    async with (
        aiohttp.ClientSession() as browser,
        browser.get(URL(url, encoded=True), allow_redirects=False) as answer,
    ):
        back = URL(answer.headers["Location"])
    assert str(back).startswith(REDIRECT)
    return dict(back.query)


@pytest.mark.parametrize("storage", ["memory", "sqlite"], indirect=True)
async def test_the_halves_fall_on_different_workers(app: App, env: Environment) -> None:
    """One begins, another one finishes; both have the user."""
    async with env.app() as other:
        url, state = await PendingLogins(app, REDIRECT).begin(SCOPES)
        query = await approve(env, url)
        assert query["state"] == state
        user = await PendingLogins(other, REDIRECT).finish(query)
        await app.sync()
        assert user.login == "alice"
        assert app.users_scopes[user.id] == other.users_scopes[user.id] == ("chat:read",)


async def test_a_login_is_finished_once(app: App, env: Environment) -> None:
    """Of two at the same moment and one later, one is; the code is exchanged once."""
    pending = PendingLogins(app, REDIRECT)
    query = await approve(env, (await pending.begin(SCOPES)).url)
    ends = await asyncio.gather(*(pending.finish(query) for _ in range(5)), return_exceptions=True)
    unknown = [end for end in ends if isinstance(end, LoginUnknown)]
    assert len(unknown) == 4
    with pytest.raises(LoginUnknown, match="has ended"):
        await pending.finish(query)
    assert env.twitch.counts.code_exchanges == 1


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"code": "c"},
        {"state": "s"},
        {"code": "c", "state": "\udcff"},
        {"code": "c", "state": "s"},
    ],
)
async def test_a_stray_callback_ends_nothing(
    app: App, env: Environment, query: dict[str, str]
) -> None:
    """It is unknown, nothing is sent to Twitch, and the real one still works."""
    pending = PendingLogins(app, REDIRECT)
    url, state = await pending.begin(SCOPES)
    with pytest.raises(LoginUnknown):
        await pending.finish(query)
    with pytest.raises(LoginUnknown):
        await pending.finish({"state": state})
    assert env.twitch.counts.code_exchanges == 0
    assert (await pending.finish(await approve(env, url))).login == "alice"


async def test_a_refusal_ends_the_login(app: App, env: Environment) -> None:
    """It is an error of its own, and the state is used up."""
    pending = PendingLogins(app, REDIRECT)
    query = await approve(env, (await pending.begin(SCOPES)).url, deny=True)
    with pytest.raises(LoginDenied, match="access_denied"):
        await pending.finish(query)
    with pytest.raises(LoginUnknown):
        await pending.finish(query)
    assert issubclass(LoginDenied, ClientException)
    assert issubclass(LoginUnknown, ClientException)


async def test_ten_minutes(app: App, env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login that began earlier is unknown; the store forgets it when a later one begins."""
    store = env.storage.store()
    pending, now = PendingLogins(app, REDIRECT), 1_000_000.0
    monkeypatch.setattr("twitchvault.vault.clocks.Clocks.wall", lambda _: now)
    late, forgotten = await pending.begin(), await pending.begin()
    now += 601
    with pytest.raises(LoginUnknown, match="ten minutes"):
        await pending.finish({"code": "c", "state": late.state})
    await pending.begin()
    prefix = f"{app.http.client_id}/pending/"
    assert len([entry async for entry in store.scan(prefix)]) == 1
    assert not [entry async for entry in store.scan() if forgotten.state in entry.key]
    assert not app.users_scopes


async def test_clocks_that_differ(
    app: App, env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a host whose clock is behind, a login is neither unknown nor swept away."""
    async with env.app() as other:
        now = 1_000_000.0
        monkeypatch.setattr("twitchvault.vault.clocks.Clocks.wall", lambda _: now)
        begun = await PendingLogins(app, REDIRECT).begin()
        now -= 30
        behind = PendingLogins(other, REDIRECT)
        await behind.begin()  # sweeps
        with pytest.raises(BadRequest):  # of Twitch: the code is wrong, the login is known
            await behind.finish({"code": "c", "state": begun.state})


async def test_an_app_that_is_not_authorized(env: Environment) -> None:
    """A login begins later than the app."""
    pending = PendingLogins(env.app(env.confidential), REDIRECT)
    with pytest.raises(NotAuthorized):
        await pending.begin()


class Site(NamedTuple):
    """A server with the two pages, and a browser."""

    base: URL
    browser: aiohttp.ClientSession

    async def visit(self, path: str, method: str = "GET", **options: object) -> tuple[int, str]:
        """A page: its status, and its text or where it sends the browser."""
        url = self.base.join(URL(path, encoded=True))
        async with self.browser.request(method, url, allow_redirects=False, **options) as answer:  # type: ignore[arg-type]
            assert answer.headers["Cache-Control"] == "no-store"
            return answer.status, answer.headers.get("Location") or await answer.text()


@asynccontextmanager
async def serving_aiohttp(pending: PendingLogins) -> AsyncIterator[URL]:
    """Under aiohttp."""
    application = web.Application()
    application.add_routes(aiohttp_routes(pending, SCOPES))
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield URL.build(scheme="http", host="127.0.0.1", port=runner.addresses[0][1])
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving_starlette(pending: PendingLogins) -> AsyncIterator[URL]:
    """Under uvicorn."""
    application = Starlette(routes=starlette_routes(pending, SCOPES))
    server = uvicorn.Server(uvicorn.Config(application, log_level="critical", ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        work = asyncio.create_task(server.serve([listening]))
        try:
            yield URL.build(scheme="http", host="127.0.0.1", port=listening.getsockname()[1])
        finally:
            server.should_exit = True
            await work


@pytest.fixture(params=[serving_aiohttp, serving_starlette], ids=["aiohttp", "starlette"])
async def site(request: pytest.FixtureRequest, app: App) -> AsyncIterator[Site]:
    """Each framework's pages."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        request.param(PendingLogins(app, REDIRECT)) as base,
        aiohttp.ClientSession(cookie_jar=jar) as browser,
    ):
        yield Site(base, browser)


async def test_the_pages(site: Site, env: Environment, app: App) -> None:
    """A user signs in; a reload, HEAD and a page fetched in advance do no harm."""
    assert (await site.visit("/login", "HEAD"))[0] == 503
    status, location = await site.visit("/login")
    assert status == 302
    back = str(URL("/callback").with_query(await approve(env, location)))
    assert (await site.visit(back, "HEAD"))[0] == 503
    assert (await site.visit(back, headers={"Sec-Purpose": "prefetch"}))[0] == 503
    assert env.twitch.counts.code_exchanges == 0
    assert await site.visit(back) == (200, "Welcome, alice.")
    assert (await site.visit(back))[0] == 400
    assert env.twitch.counts.code_exchanges == 1
    assert app.get_token(env.alice.user_id) is not None


async def test_another_browser(site: Site, env: Environment) -> None:
    """A callback in a browser in which no login began is turned away, and ends none."""
    back = str(URL("/callback").with_query(await approve(env, (await site.visit("/login"))[1])))
    async with aiohttp.ClientSession() as stranger:
        assert (await site._replace(browser=stranger).visit(back))[0] == 400
    assert await site.visit(back) == (200, "Welcome, alice.")


async def test_refusals_and_bad_days(site: Site, env: Environment) -> None:
    """A page for each: denied, a code that is not good, Twitch away."""
    query = await approve(env, (await site.visit("/login"))[1], deny=True)
    denied = str(URL("/callback").with_query(query))
    assert await site.visit(denied) == (403, "You did not grant access.")
    query = await approve(env, (await site.visit("/login"))[1])
    wrong = str(URL("/callback").with_query(query | {"code": "wrong"}))
    assert (await site.visit(wrong))[0] == 400
    query = await approve(env, (await site.visit("/login"))[1])
    env.twitch.fail("token:code", status=503)
    assert (await site.visit(str(URL("/callback").with_query(query))))[0] == 503
