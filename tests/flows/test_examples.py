"""The reference's own examples: only the import line and where Twitch and the store are differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.environment import on_each_store, our_tasks
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
