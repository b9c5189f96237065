"""The reference's own examples: only the import line and where Twitch and the store are differ.

Its FastAPI example runs under uvicorn, with a browser that follows the redirects.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from tests.environment import Environment, on_each_store, our_tasks
from tests.http_servers import asgi_server
from twitchvault import App, NotAuthorized, TokenError
from twitchvault.oauth import AuthorizationCodeGrantFlow, DeviceCodeFlow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yarl import URL

    from twitchvault.oauth import Token

pytestmark = pytest.mark.usefixtures("confidential")


async def _sign_in(flow: DeviceCodeFlow) -> Token:
    device_code = await flow.request_device_code({"user:read:email"})
    print(f"Go to: {device_code.verification_uri}")  # noqa: T201
    print(f"Enter code: {device_code.user_code}")  # noqa: T201
    return await flow.wait_for_device_token(device_code.device_code, interval=0.1)


@on_each_store
async def test_context_manager(env: Environment) -> None:
    """`async with DeviceCodeFlow(...) as flow` signs a user in."""
    env.twitch.device_interval = 0
    env.twitch.auto_approve(env.alice)
    storage = {
        "id_url": env.twitch.id_url,
        "api_url": env.twitch.api_url,
        "store": env.storage.store(),
    }
    client_id, client_secret = env.client.client_id, env.client.client_secret
    async with DeviceCodeFlow(client_id, client_secret, **storage) as flow:  # type: ignore[arg-type]
        assert type(flow) is DeviceCodeFlow
        token = await _sign_in(flow)
        assert token.scopes == ("user:read:email",)
        user = await flow.add_user(token.access_token, token.refresh_token)
        assert (await user.get_user()).login == "alice"
    assert our_tasks() == []


@on_each_store
async def test_manual(env: Environment) -> None:
    """`authorize()` and `close()` by hand do the same."""
    env.twitch.device_interval = 0
    env.twitch.auto_approve(env.alice)
    flow = DeviceCodeFlow(**env.arguments())
    await flow.authorize()
    token = await _sign_in(flow)
    await flow.close()
    assert env.twitch.is_live(token.access_token)
    assert our_tasks() == []


@pytest.mark.parametrize("kind", [App, DeviceCodeFlow, AuthorizationCodeGrantFlow])
async def test_from_app(env: Environment, kind: type[App]) -> None:
    """Awaited, as it is or as a context, of any app: all is shared, and leaving it closes nothing.

    Not authorized, cleared or closed: an error that is a TokenError and an IndexError.
    """
    app = env.code()
    with pytest.raises(NotAuthorized):
        kind.from_app(app)
    await app.authorize()
    flow = kind.from_app(app)
    async with kind.from_app(flow) as entered:
        pass
    await entered.close()
    for each in (flow, entered, await kind.from_app(flow)):
        assert type(each) is kind
        assert each.application is app.application is not None
        assert each.http is app.http
        assert each.tokens is app.tokens
    app.add_token(env.bob.user_id, "a", "r")
    await app.flush()
    assert app.application is not None
    assert (await app.application.get_user(login="bob")).id == env.bob.user_id
    app.clear()
    with pytest.raises(IndexError):
        kind.from_app(app)
    await app.authorize()
    assert flow.application is not None
    await app.close()
    with pytest.raises(TokenError, match=r"authorize\(\)"):
        kind.from_app(app)
    with pytest.raises(NotAuthorized):
        await flow.authorize()
    with pytest.raises(NotAuthorized):
        await flow.__aenter__()
    assert env.twitch.counts.app_tokens == 1


async def test_from_app_of_a_public_client(env: Environment) -> None:
    """A public client has no app token, and its app is authorized all the same."""
    app = env.app(env.public)
    await app.authorize()
    flow = await DeviceCodeFlow.from_app(app)
    assert flow.application is None
    assert (await flow.request_device_code()).device_code


def example(env: Environment, base: URL) -> FastAPI:
    """The example as the reference has it."""
    callback_url = str(base / "callback")
    client = env.twitch.register_client(redirect_uris=[callback_url])
    flow = AuthorizationCodeGrantFlow(**env.arguments(client, store="memory://", maintain=True))

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


async def test_the_fastapi_example(env: Environment) -> None:
    """The browser comes back from Twitch, and the callback answers with `token.raw`."""
    env.twitch.auto_consent(env.alice)
    async with asgi_server(partial(example, env)) as base, aiohttp.ClientSession() as browser:
        async with browser.get(base / "login") as page:
            assert page.status == 200
            answer = await page.json()
        assert set(answer) >= {"access_token", "refresh_token", "expires_in", "token_type"}
        assert answer["scope"] == ["user:read:email"]
        assert env.twitch.is_live(answer["access_token"])
        pair = {name: answer[name] for name in ("access_token", "refresh_token")}
        async with browser.get(base / "keep", params=pair) as page:
            assert await page.json() == "alice"
    assert env.twitch.leaks == ()


@pytest.mark.parametrize(
    "uri", [None, 7, b"http://localhost", "", " ", "http://a b", "http://a\x00", "\ud800"]
)
async def test_what_is_no_redirect_uri(uri: Any) -> None:  # noqa: ANN401
    """It is a ValueError that names the argument, before anything is shown or sent."""
    flow = AuthorizationCodeGrantFlow("client-id", "secret", id_url="http://127.0.0.1:1")
    with pytest.raises(ValueError, match="'redirect_uri' must be"):
        flow.get_authorization_url(uri)
    with pytest.raises(ValueError, match="'redirect_uri' must be"):
        await flow.get_authorization_token("code", uri)


def test_a_pasted_redirect_uri() -> None:
    """White space around it is taken off; everything else stays, byte for byte."""
    flow = AuthorizationCodeGrantFlow("client-id", "secret")
    plain = flow.get_authorization_url("http://localhost:3000/back/?a=%20b")
    assert flow.get_authorization_url(" http://localhost:3000/back/?a=%20b\n") == plain
    assert "redirect_uri=http%3A%2F%2Flocalhost%3A3000%2Fback%2F%3Fa%3D%2520b&" in plain
