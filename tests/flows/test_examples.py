"""The reference's own examples: only the import line and where Twitch and the store are differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.environment import REDIRECT, on_each_store, our_tasks
from twitchvault import App, NotAuthorized, TokenError
from twitchvault.oauth import AuthorizationCodeGrantFlow, DeviceCodeFlow

if TYPE_CHECKING:
    from tests.environment import Environment
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


@on_each_store
async def test_from_existing_app_awaited(env: Environment) -> None:
    """`flow = await DeviceCodeFlow.from_app(app)` shares everything with the app."""
    app = env.app()
    await app.authorize()
    flow = await DeviceCodeFlow.from_app(app)
    assert type(flow) is DeviceCodeFlow
    assert flow.application is app.application
    assert flow.tokens is app.tokens
    assert flow.http is app.http
    assert (await flow.request_device_code()).user_code
    assert env.twitch.counts.app_tokens == 1


@on_each_store
async def test_from_existing_app_not_awaited(env: Environment) -> None:
    """`AuthorizationCodeGrantFlow.from_app(app)` works without `await`."""
    app = env.app()
    await app.authorize()
    flow = AuthorizationCodeGrantFlow.from_app(app)
    assert type(flow) is AuthorizationCodeGrantFlow
    assert env.client.client_id in flow.get_authorization_url(REDIRECT)


@on_each_store
async def test_from_existing_app_as_context(env: Environment) -> None:
    """`async with F.from_app(app) as flow` works, and leaving it leaves the app open."""
    app = env.app()
    await app.authorize()
    pair = env.pair()
    async with DeviceCodeFlow.from_app(app) as flow:
        user = await flow.add_user(pair.access_token, pair.refresh_token)
    assert app.application is not None
    assert app.get_token(env.alice.user_id) == (pair.access_token, pair.refresh_token)
    assert (await user.get_user()).login == "alice"
    app.add_token(env.bob.user_id, "a", "r")
    await app.flush()
    await flow.close()
    assert (await app.application.get_user(login="bob")).id == env.bob.user_id
    assert env.twitch.counts.app_tokens == 1


@pytest.mark.parametrize("kind", [DeviceCodeFlow, AuthorizationCodeGrantFlow])
async def test_from_app_takes_any_app(env: Environment, kind: type[DeviceCodeFlow]) -> None:
    """A flow can be made from a flow, and from one that was made from an app."""
    flow = env.code()
    await flow.authorize()
    second = kind.from_app(flow)
    third = await kind.from_app(second)
    assert third.application is flow.application
    assert isinstance(third, kind)


@pytest.mark.parametrize("kind", [DeviceCodeFlow, AuthorizationCodeGrantFlow])
async def test_from_app_needs_an_authorized_app(
    env: Environment, kind: type[DeviceCodeFlow]
) -> None:
    """Before `authorize()`, after `clear()`, after `close()`: a TokenError and IndexError."""
    app = env.app()
    for state in ("new", "cleared"):
        if state == "cleared":
            app.clear()
        with pytest.raises(IndexError) as caught:
            kind.from_app(app)
        assert isinstance(caught.value, TokenError)
        assert isinstance(caught.value, NotAuthorized)
        await app.authorize()
    await app.close()
    with pytest.raises(NotAuthorized, match=r"authorize\(\)"):
        kind.from_app(app)


async def test_from_app_of_a_public_client(env: Environment) -> None:
    """A public client has no app token, and its app is authorized all the same."""
    app = env.app(env.public)
    await app.authorize()
    flow = await DeviceCodeFlow.from_app(app)
    assert flow.application is None
    assert (await flow.request_device_code()).device_code


async def test_from_app_on_app_itself(env: Environment) -> None:
    """Every flow and App has `from_app`; `await App.from_app(app)` works like the others."""
    app = env.app()
    await app.authorize()
    async with App.from_app(app) as same:
        assert same.application is app.application
    other = await App.from_app(app)
    assert other.tokens is app.tokens


@on_each_store
async def test_authorize_with_the_token_that_is_there(env: Environment) -> None:
    """The reference's tip: `authorize(token=...)` with a flow's own token makes no new one."""
    flow = env.device()
    await flow.authorize()
    before = dict(flow.tokens)
    found = flow.get_token(flow.http.client_id)
    assert found is not None
    await flow.authorize(token=found[0])
    other = env.device()
    await other.authorize(token=found[0])
    assert dict(flow.tokens) == dict(other.tokens) == before
    assert env.twitch.counts.app_tokens == 1
    assert other.application is not None
    assert (await other.application.get_user(login="alice")).login == "alice"


async def test_the_flow_that_survives_its_app_being_reopened(env: Environment) -> None:
    """A flow made from an app follows the app through `close()` and a new `authorize()`."""
    app = env.app()
    await app.authorize()
    flow = await DeviceCodeFlow.from_app(app)
    await app.close()
    assert flow.application is None
    await app.authorize()
    assert flow.application is not None
