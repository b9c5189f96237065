"""Logins on a web server: both halves anywhere, each once, whatever the browser does."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from starlette.applications import Starlette
from yarl import URL

from tests.environment import REDIRECT, until
from tests.http_servers import asgi_server, sent_back
from tests.own_stores import Broken, OwnStore, nothing
from twitchvault import BadRequest, ClientException, NotAuthorized
from twitchvault.integrations.login import (
    LoginDenied,
    LoginUnknown,
    PendingLogins,
    aiohttp_routes,
    starlette_routes,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from tests.environment import Environment
    from twitchvault import App

    Serving = Callable[[PendingLogins], AbstractAsyncContextManager[URL]]

SCOPES = {"chat:read"}
LATER = "This cannot be done just now: sign in again in a minute."


async def approve(env: Environment, url: str, *, deny: bool = False) -> dict[str, str]:
    """Answer Twitch's page as alice; the query that comes back."""
    env.twitch.auto_consent(env.alice, deny=deny)
    return await sent_back(url)


async def test_a_login_is_finished_once(app: App, env: Environment) -> None:
    """Of five at once and one later, one is, also if the next answer is a 503: one exchange."""
    pending = PendingLogins(app, REDIRECT)
    query = await approve(env, (await pending.begin(SCOPES)).url)
    env.twitch.fail("validate", status=503)
    ends = await asyncio.gather(*(pending.finish(query) for _ in range(5)), return_exceptions=True)
    unknown = [end for end in ends if isinstance(end, LoginUnknown)]
    assert len(unknown) == 4
    with pytest.raises(LoginUnknown, match="has ended"):
        await pending.finish(query)
    assert env.twitch.counts.code_exchanges == 1


@pytest.mark.parametrize("held", ["token:code", "validate"])
async def test_a_browser_that_goes_away(app: App, env: Environment, held: str) -> None:
    """A page that is cancelled once the code has left ends the login all the same."""
    pending = PendingLogins(app, REDIRECT)
    query = await approve(env, (await pending.begin(SCOPES)).url)
    with env.twitch.hold(held) as gate:
        page = asyncio.create_task(pending.finish(query))
        await gate.reached()
        page.cancel()
        with pytest.raises(asyncio.CancelledError):
            await page
    await until(lambda: app.get_token(env.alice.user_id) is not None)
    assert app.get_token(env.alice.user_id) == env.live()


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


async def test_what_is_no_code_ends_nothing(app: App, env: Environment) -> None:
    """A callback with the right state and something else for a code leaves the login to go on."""
    pending = PendingLogins(app, REDIRECT)
    query = await approve(env, (await pending.begin(SCOPES)).url)
    with pytest.raises(LoginUnknown):
        await pending.finish(query | {"code": "two words"})
    assert (await pending.finish(query)).user_id == env.alice.user_id


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
    async with TestServer(application) as server:
        yield server.make_url("/")


def serving_starlette(pending: PendingLogins) -> AbstractAsyncContextManager[URL]:
    """Under uvicorn."""
    return asgi_server(lambda _: Starlette(routes=starlette_routes(pending, SCOPES)))


@pytest.fixture(params=[serving_aiohttp, serving_starlette], ids=["aiohttp", "starlette"])
async def site(request: pytest.FixtureRequest, app: App) -> AsyncIterator[Site]:
    """Each framework's pages."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        request.param(PendingLogins(app, REDIRECT)) as base,
        aiohttp.ClientSession(cookie_jar=jar) as browser,
    ):
        yield Site(base, browser)


async def begun(site: Site, env: Environment, *, deny: bool = False, **changes: str) -> str:
    """Begin a login and answer Twitch's page; the address that the browser comes back to."""
    query = await approve(env, (await site.visit("/login"))[1], deny=deny)
    return str(URL("/callback").with_query(query | changes))


async def test_the_pages(site: Site, env: Environment, app: App) -> None:
    """A user signs in; HEAD and a page fetched in advance do no harm, before and after."""
    assert await site.visit("/login", "HEAD") == (204, "")
    assert (await site.visit("/login", headers={"Sec-Purpose": "prefetch"}))[0] == 503
    back = await begun(site, env)
    assert await site.visit(back, "HEAD") == (204, "")
    assert (await site.visit(back, headers={"Sec-Purpose": "prefetch;anonymous-client-ip"}))[
        0
    ] == 503
    assert env.twitch.counts.code_exchanges == 0
    assert await site.visit(back) == (303, "/callback")
    assert await site.visit("/callback") == (200, "Welcome, alice.")
    assert env.twitch.counts.code_exchanges == 1
    assert app.get_token(env.alice.user_id) is not None


async def test_a_reload(site: Site, env: Environment) -> None:
    """The last page may be reloaded; the address with the code only says who is signed in."""
    back = await begun(site, env)
    assert (await site.visit(back))[0] == 303
    assert await site.visit("/callback") == await site.visit("/callback")
    ended = "This login has ended, or began in another browser: you are signed in as alice."
    assert await site.visit(back) == (400, ended)
    assert env.twitch.counts.code_exchanges == 1


async def test_two_tabs(site: Site, env: Environment) -> None:
    """Logins side by side in one browser all end well; a strange one is turned away, ends none."""
    tabs = [await begun(site, env) for _ in range(3)]
    async with aiohttp.ClientSession() as stranger:
        for back in ("/callback", *tabs):
            assert (await site._replace(browser=stranger).visit(back))[0] == 400
    for back in tabs:
        assert (await site.visit(back))[0] == 303
    assert env.twitch.counts.code_exchanges == 3


async def test_refusals_and_bad_days(site: Site, env: Environment) -> None:
    """A page for each: denied, a code that is not good or missing, Twitch away; no cookie left."""
    denied = await begun(site, env, deny=True)
    assert await site.visit(denied) == (403, "You did not grant access.")
    assert (await site.visit(await begun(site, env, code="wrong")))[0] == 400
    assert (await site.visit(await begun(site, env, code="")))[0] == 400
    back = await begun(site, env)
    env.twitch.fail("token:code", status=503)
    assert await site.visit(back) == (503, LATER)
    assert not [cookie for cookie in site.browser.cookie_jar if cookie.value]


async def test_the_sites_own_faults(
    site: Site, env: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong secret or redirect URI is nothing that a user can mend: whoever runs the site reads
    what to do, without the code or the secret.
    """
    back = await begun(site, env)
    env.twitch.rotate_secret(env.confidential)
    assert (await site.visit(back))[0] == 500
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line == (
        "Twitch refuses every login (403: invalid client secret): mend the client id, secret or "
        "redirect URI"
    )
    caplog.clear()
    mismatch = "/callback?error=redirect_mismatch"  # so Twitch sends it, without a state
    assert (await site.visit(mismatch))[0] == 400, "no login has begun in this browser"
    assert not caplog.records
    await site.visit("/login")
    assert (await site.visit(mismatch))[0] == 500
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line == f"Twitch's console has no redirect URI {REDIRECT!r}: add it"


@pytest.mark.parametrize("serving", [serving_aiohttp, serving_starlette])
async def test_a_store_that_is_away(
    env: Environment, serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """A login neither begins nor ends; the user is asked to come back, and the log says why."""
    store = OwnStore()
    env.client = env.confidential
    async with (
        env.app(store=store) as app,
        serving(PendingLogins(app, REDIRECT)) as base,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser,
    ):
        site = Site(base, browser)
        back = await begun(site, env)
        store.before = Broken("get", "put")
        assert await site.visit("/login") == (503, LATER)
        assert await site.visit(back) == (503, LATER)
        assert "a login was put off: " in caplog.text
        store.before = nothing


async def test_the_cookie_of_a_mounted_application(app: App) -> None:
    """Under a prefix, both pages get it, and the host's other pages do not."""
    pending = PendingLogins(app, "http://localhost:3000/bot/callback")
    async with (
        serving_aiohttp(pending) as base,
        aiohttp.ClientSession() as browser,
        browser.get(base / "login", allow_redirects=False) as answer,
    ):
        assert "; Path=/bot; " in answer.headers["Set-Cookie"]


async def test_the_access_log_has_no_code(
    app: App, env: Environment, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uvicorn writes the callback without its query, which holds the code and the state."""
    # Any server that uvicorn has run in this process may have changed them.
    for name in ("uvicorn", "uvicorn.access"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    caplog.set_level("INFO", "uvicorn.access")
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        serving_starlette(PendingLogins(app, REDIRECT)) as base,
        aiohttp.ClientSession(cookie_jar=jar) as browser,
    ):
        site = Site(base, browser)
        assert (await site.visit(await begun(site, env)))[0] == 303
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert any('"GET /callback HTTP/1.1" 303' in line for line in lines), lines
    assert not any("code=" in line or "state=" in line for line in lines)


@pytest.mark.parametrize("routes", [aiohttp_routes, starlette_routes])
def test_scopes_that_are_none(env: Environment, routes: Callable[..., object]) -> None:
    """The site's author reads it at the start, not its first user."""
    pending = PendingLogins(env.app(env.confidential), REDIRECT)
    with pytest.raises(TypeError, match="'scopes' must be a set or list of scopes"):
        routes(pending, "chat:read")
