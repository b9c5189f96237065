"""The reference's own examples: only the import line and where Twitch and the store are differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.world import REDIRECT, our_tasks
from twitchvault import App, NotAuthorized, TokenError
from twitchvault.oauth import AuthorizationCodeGrantFlow, DeviceCodeFlow

if TYPE_CHECKING:
    from tests.world import World
    from twitchvault.oauth import Token


async def _sign_in(flow: DeviceCodeFlow) -> Token:
    device_code = await flow.request_device_code({"user:read:email"})
    print(f"Go to: {device_code.verification_uri}")  # noqa: T201
    print(f"Enter code: {device_code.user_code}")  # noqa: T201
    return await flow.wait_for_device_token(device_code.device_code, interval=0.1)


async def test_context_manager(world: World) -> None:
    """`async with DeviceCodeFlow(...) as flow` signs a user in."""
    world.twitch.device_interval = 0
    world.twitch.auto_approve(world.alice)
    place = {
        "id_url": world.twitch.id_url,
        "api_url": world.twitch.api_url,
        "store": world.place.store(),
    }
    client_id, client_secret = world.client.client_id, world.client.client_secret
    async with DeviceCodeFlow(client_id, client_secret, **place) as flow:  # type: ignore[arg-type]
        assert type(flow) is DeviceCodeFlow
        token = await _sign_in(flow)
        assert token.scopes == ("user:read:email",)
        user = await flow.add_user(token.access_token, token.refresh_token)
        assert (await user.get_user()).login == "alice"
    assert our_tasks() == []


async def test_manual(world: World) -> None:
    """`authorize()` and `close()` by hand do the same."""
    world.twitch.device_interval = 0
    world.twitch.auto_approve(world.alice)
    flow = DeviceCodeFlow(**world.arguments())
    await flow.authorize()
    token = await _sign_in(flow)
    await flow.close()
    assert world.twitch.is_live(token.access_token)
    assert our_tasks() == []


async def test_from_existing_app_awaited(world: World) -> None:
    """`flow = await DeviceCodeFlow.from_app(app)` shares everything with the app."""
    app = world.app()
    await app.authorize()
    flow = await DeviceCodeFlow.from_app(app)
    assert type(flow) is DeviceCodeFlow
    assert flow.application is app.application
    assert flow.tokens is app.tokens
    assert flow.http is app.http
    assert (await flow.request_device_code()).user_code
    assert world.twitch.counts.app_tokens == 1


async def test_from_existing_app_not_awaited(world: World) -> None:
    """`AuthorizationCodeGrantFlow.from_app(app)` works without `await`."""
    app = world.app()
    await app.authorize()
    flow = AuthorizationCodeGrantFlow.from_app(app)
    assert type(flow) is AuthorizationCodeGrantFlow
    assert world.client.client_id in flow.get_authorization_url(REDIRECT)


async def test_from_existing_app_as_context(world: World) -> None:
    """`async with F.from_app(app) as flow` works, and leaving it leaves the app open."""
    app = world.app()
    await app.authorize()
    pair = world.pair()
    async with DeviceCodeFlow.from_app(app) as flow:
        user = await flow.add_user(pair.access_token, pair.refresh_token)
    assert app.application is not None
    assert app.get_token(world.alice.user_id) == (pair.access_token, pair.refresh_token)
    assert (await user.get_user()).login == "alice"
    app.add_token(world.bob.user_id, "a", "r")
    await app.flush()
    await flow.close()
    assert (await app.application.get_user(login="bob")).id == world.bob.user_id
    assert world.twitch.counts.app_tokens == 1


@pytest.mark.parametrize("kind", [DeviceCodeFlow, AuthorizationCodeGrantFlow])
async def test_from_app_takes_any_app(small: World, kind: type[DeviceCodeFlow]) -> None:
    """A flow can be made from a flow, and from one that was made from an app."""
    flow = small.code()
    await flow.authorize()
    second = kind.from_app(flow)
    third = await kind.from_app(second)
    assert third.application is flow.application
    assert isinstance(third, kind)


@pytest.mark.parametrize("kind", [DeviceCodeFlow, AuthorizationCodeGrantFlow])
async def test_from_app_needs_an_authorized_app(small: World, kind: type[DeviceCodeFlow]) -> None:
    """Before `authorize()`, after `clear()`, after `close()`: a TokenError and IndexError."""
    app = small.app()
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


async def test_from_app_of_a_public_client(small: World) -> None:
    """A public client has no app token, and its app is authorized all the same."""
    app = small.app(small.public)
    await app.authorize()
    flow = await DeviceCodeFlow.from_app(app)
    assert flow.application is None
    assert (await flow.request_device_code()).device_code


async def test_from_app_on_app_itself(small: World) -> None:
    """Every flow and App has `from_app`; `await App.from_app(app)` works like the others."""
    app = small.app()
    await app.authorize()
    async with App.from_app(app) as same:
        assert same.application is app.application
    other = await App.from_app(app)
    assert other.tokens is app.tokens


async def test_authorize_with_the_token_that_is_there(world: World) -> None:
    """The reference's tip: `authorize(token=...)` with a flow's own token makes no new one."""
    flow = world.device()
    await flow.authorize()
    before = dict(flow.tokens)
    found = flow.get_token(flow.http.client_id)
    assert found is not None
    await flow.authorize(token=found[0])
    other = world.device()
    await other.authorize(token=found[0])
    assert dict(flow.tokens) == dict(other.tokens) == before
    assert world.twitch.counts.app_tokens == 1
    assert other.application is not None
    assert (await other.application.get_user(login="alice")).login == "alice"


async def test_the_flow_that_survives_its_app_being_reopened(small: World) -> None:
    """A flow made from an app follows the app through `close()` and a new `authorize()`."""
    app = small.app()
    await app.authorize()
    flow = await DeviceCodeFlow.from_app(app)
    await app.close()
    assert flow.application is None
    await app.authorize()
    assert flow.application is not None
