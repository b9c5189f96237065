"""The reference's FastAPI example, under uvicorn, with a browser that follows the redirects."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager, contextmanager
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from yarl import URL

from tests.environment import REDIRECT, on_each_store, until
from tests.http_servers import free_port
from twitchvault import BadRequest, HTTPException
from twitchvault.oauth import AuthorizationCodeGrantFlow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

from tests.environment import Environment


def example(callback_url: str, arguments: dict[str, Any]) -> FastAPI:
    """The example as the reference has it."""
    flow = AuthorizationCodeGrantFlow(**arguments)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await flow.authorize()
        yield
        await flow.close()

    app = FastAPI(lifespan=lifespan)

    @app.get("/login")
    def login() -> RedirectResponse:
        auth_url = flow.get_authorization_url(redirect_uri=callback_url, scopes={"user:read:email"})
        return RedirectResponse(url=auth_url)

    @app.get("/callback")
    async def callback(code: str) -> Any:  # noqa: ANN401
        token = await flow.get_authorization_token(code=code, redirect_uri=callback_url)
        return token.raw

    @app.get("/keep")
    async def keep(access_token: str, refresh_token: str) -> str:
        user = await flow.add_user(access_token, refresh_token)
        return (await user.get_user()).login

    return app


@contextmanager
def serving(app: FastAPI, port: int) -> Iterator[uvicorn.Server]:
    """The app under uvicorn, in a thread and an event loop of its own."""
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="critical", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


class Form(HTMLParser):
    """The form of a page, and the first choice of each of its radio buttons."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect."""
        found = dict(attrs)
        if tag == "form":
            self.action = found["action"] or ""
        if tag == "input":
            self.fields.setdefault(str(found["name"]), str(found["value"]))


async def _click_through(env: Environment, base: str, decision: str) -> tuple[int, Any, str]:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        async with browser.get(f"{base}/login") as page:
            form = Form(await page.text())
            assert page.url.path == "/oauth2/authorize"
        fields = form.fields | {"decision": decision}
        async with browser.post(env.twitch.url + form.action, data=fields) as landed:
            return landed.status, await landed.json(), str(landed.url)


@on_each_store
@pytest.mark.parametrize("decision", ["authorize", "cancel"])
async def test_the_fastapi_example(env: Environment, decision: str) -> None:
    """The user clicks through the consent page and the callback answers with `token.raw`."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    client = env.twitch.register_client(redirect_uris=[f"{base}/callback"])
    app = example(f"{base}/callback", env.arguments(client, store=env.storage.url, maintain=True))
    with serving(app, port) as server:
        await until(lambda: server.started)
        status, answer, landed = await _click_through(env, base, decision)
        if decision == "cancel":
            assert status == 422, "the example wants a code, and there is none"
            assert "error=access_denied" in landed
            return
        assert status == 200
        assert set(answer) >= {"access_token", "refresh_token", "expires_in", "token_type"}
        assert answer["scope"] == ["user:read:email"]
        assert env.twitch.is_live(answer["access_token"])
        pair = {name: answer[name] for name in ("access_token", "refresh_token")}
        async with (
            aiohttp.ClientSession() as browser,
            browser.get(f"{base}/keep", params=pair) as page,
        ):
            assert await page.json() == "alice"
    if env.storage.kind == "sqlite":
        assert await env.storage.read(env.key(env.alice, client)) is not None
    assert env.twitch.leaks == ()


@pytest.mark.usefixtures("confidential")
async def test_a_code_is_good_once(env: Environment) -> None:
    """A second exchange of the same code, and one of a wrong code, is a BadRequest."""
    env.twitch.auto_consent(env.alice)
    async with env.code() as flow, aiohttp.ClientSession() as browser:
        url = flow.get_authorization_url(REDIRECT, {"chat:read", "bits:read"}, state="s t&=")
        async with browser.get(url, allow_redirects=False) as answer:
            location = URL(answer.headers["Location"])
        assert location.query["state"] == "s t&="
        token = await flow.get_authorization_token(location.query["code"], REDIRECT)
        assert token.scopes == ("bits:read", "chat:read")
        for code in (location.query["code"], "wrong"):
            with pytest.raises(BadRequest, match="Invalid authorization code"):
                await flow.get_authorization_token(code, REDIRECT)


async def test_an_authorization_url(env: Environment) -> None:
    """The same wish always makes the same URL, whatever the order of the scopes."""
    flow = env.code()
    scopes = ["user:read:email", "chat:read", "an:unknown:one", "bits:read"]
    urls = {
        flow.get_authorization_url(REDIRECT, given)
        for given in (scopes, scopes[::-1], set(scopes), frozenset(scopes), tuple(scopes * 2))
    }
    assert len(urls) == 1
    query = URL(urls.pop()).query
    assert query == {
        "response_type": "code",
        "client_id": env.client.client_id,
        "redirect_uri": REDIRECT,
        "scope": "an:unknown:one bits:read chat:read user:read:email",
    }
    positional = flow.get_authorization_url(REDIRECT, frozenset(), "state", True)
    query = URL(positional).query
    assert (query["scope"], query["state"], query["force_verify"]) == ("", "state", "true")


@pytest.mark.usefixtures("confidential")
async def test_a_wrong_secret_is_forbidden(env: Environment) -> None:
    """`get_authorization_token` with a wrong secret is 403, and shows neither secret nor code."""
    flow = env.code(client_secret="not-the-secret")
    with pytest.raises(HTTPException) as caught:
        await flow.get_authorization_token("the-code-value", REDIRECT)
    assert caught.value.status == 403
    assert "the-code-value" not in repr(caught.value)
    assert "not-the-secret" not in repr(caught.value)
