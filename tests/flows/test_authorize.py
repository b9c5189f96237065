"""The constructor, `authorize`, and what stands open when entering fails."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

import pytest

from tests.world import GARBAGE, within
from twitchvault import (
    App,
    AppAPI,
    AuthFailure,
    AuthorizationCodeGrantFlow,
    BadRequest,
    ClientException,
    CorruptRecord,
    DeviceCodeFlow,
    Unauthorized,
)

if TYPE_CHECKING:
    from tests.world import World


@pytest.mark.parametrize("kind", [App, DeviceCodeFlow, AuthorizationCodeGrantFlow])
def test_the_constructor(kind: type[App]) -> None:
    """The three take the same parameters with the documented defaults, in the documented order."""
    given = {p.name: p.default for p in inspect.signature(kind).parameters.values()}
    assert given == {
        "client_id": inspect.Parameter.empty,
        "client_secret": None,
        "store": None,
        "maintain": True,
        "lease_ttl": 60,
        "id_url": "https://id.twitch.tv/oauth2/",
        "api_url": "https://api.twitch.tv/helix/",
        "session": None,
        "connector": None,
        "proxy": None,
        "proxy_auth": None,
        "http_trace": None,
    }
    assert list(inspect.signature(kind).parameters)[:2] == ["client_id", "client_secret"]


async def test_a_confidential_client_gets_an_app_token(world: World) -> None:
    """One app token is fetched; it stands under the client id and counts as validated."""
    flow = world.device()
    assert flow.application is None
    await flow.authorize()
    client_id = world.client.client_id
    assert isinstance(flow.application, AppAPI)
    access, refresh = flow.tokens[client_id]
    assert world.twitch.is_live(access)
    assert refresh is None
    validated_at, expires_in = flow.tokens_validity[client_id]
    assert validated_at > 1e9
    assert expires_in > 50 * 86_400
    assert dict(flow.users_scopes) == {}
    await flow.authorize()
    assert world.twitch.counts.app_tokens == 1


async def test_a_public_client_has_no_app_token(world: World) -> None:
    """No app token is asked for, `application` is None, and no secret is ever sent."""
    world.twitch.auto_approve(world.alice)
    async with world.device(world.public) as flow:
        assert flow.application is None
        assert dict(flow.tokens) == {}
        code = await flow.request_device_code({"chat:read"})
        token = await flow.get_device_token(code.device_code)
        user = await flow.add_user(token.access_token, token.refresh_token)
        await user.refresh()
        await flow.validate_token(user.token)
        await user.get("users")
        await user.revoke()
    assert world.twitch.counts.app_tokens == 0
    assert all("client_secret" not in request.parameters for request in world.twitch.requests)


async def test_a_public_client_cannot_ask_for_an_app_token(small: World) -> None:
    """`credentials_grant_flow` of a public client says so before it asks Twitch."""
    async with small.device(small.public) as flow:
        with pytest.raises(ClientException, match="client secret"):
            await flow.credentials_grant_flow()
    assert small.twitch.requests == ()


async def test_credentials_grant_flow(world: World) -> None:
    """It returns a new app token each time and leaves the vault's own alone."""
    async with world.code() as flow:
        own = flow.get_token(world.client.client_id)
        answer = await flow.credentials_grant_flow()
        assert world.twitch.is_live(answer.access_token)
        assert answer.raw["access_token"] == answer.access_token
        assert answer.token_type == "bearer"
        assert answer.access_token not in repr(answer)
        assert flow.get_token(world.client.client_id) == own
    assert world.twitch.counts.app_tokens == 2


async def test_the_app_token_survives_a_restart(world: World) -> None:
    """The vault's own app token is validated and used again, not replaced."""
    async with world.device() as flow:
        first = flow.get_token(world.client.client_id)
    async with world.device() as flow:
        assert flow.get_token(world.client.client_id) == first
        assert flow.application is not None
    assert world.twitch.counts.app_tokens == 1
    assert world.twitch.counts.validations >= 1


async def test_a_dead_app_token_is_replaced(world: World) -> None:
    """One that does not validate any more makes way for a new one."""
    async with world.device() as flow:
        first = flow.get_token(world.client.client_id)
    world.twitch.kill_app_tokens(world.client)
    async with world.device() as flow:
        second = flow.get_token(world.client.client_id)
        assert second is not None
        assert second != first
        assert world.twitch.is_live(second[0])
    assert world.twitch.counts.app_tokens == 2


async def test_an_app_token_that_dies_while_in_use_is_replaced(world: World) -> None:
    """A Helix call of the application survives the death of its token."""
    async with world.device() as flow:
        world.twitch.kill_app_tokens(world.client)
        assert flow.application is not None
        assert (await flow.application.get_user(login="alice")).id == world.alice.user_id
        token = await flow.application.refresh()
        assert token.access_token == flow.application.token
    assert world.twitch.counts.app_tokens == 3


async def test_one_new_app_token_for_all(world: World) -> None:
    """Two flows and many calls meet one dead app token: one new one is asked for."""
    async with world.device() as one, world.device() as two:
        assert one.tokens == two.tokens
        before = world.twitch.counts.app_tokens
        world.twitch.kill_app_tokens(world.client)
        apps = [app for app in (one.application, two.application) if app is not None]
        await within(asyncio.gather(*(app.get_user(login="bob") for app in apps * 10)), 10)
        assert world.twitch.counts.app_tokens == before + 1
        assert one.tokens == two.tokens
    world.twitch.kill_app_tokens(world.client)
    one, two = world.device(), world.device()
    await within(asyncio.gather(one.authorize(), two.authorize()))
    assert world.twitch.counts.app_tokens == before + 2
    assert one.tokens == two.tokens


async def test_two_flows_that_open_an_empty_store_at_once(world: World) -> None:
    """Both end up with the same app token."""
    one, two = world.device(), world.device()
    await within(asyncio.gather(one.authorize(), two.authorize()))
    assert dict(one.tokens) == dict(two.tokens)
    assert world.twitch.is_live(one.tokens[world.client.client_id][0])


async def test_a_token_that_is_brought_along(world: World) -> None:
    """`authorize(token=...)` validates and uses it; no other is asked for."""
    async with world.device() as helper:
        token = (await helper.credentials_grant_flow()).access_token
        helper.remove_token(world.client.client_id)
    flow = world.device()
    await flow.authorize(token=token)
    assert flow.get_token(world.client.client_id) == (token, None)
    assert world.client.client_id in flow.tokens_validity
    assert world.twitch.counts.app_tokens == 2
    await flow.close()
    async with world.device() as again:
        assert again.get_token(world.client.client_id) == (token, None)


async def test_a_public_client_uses_a_token_that_is_brought_along(world: World) -> None:
    """A public client's app token can only come from outside; then `application` works."""
    async with world.device() as helper:
        token = (await helper.credentials_grant_flow()).access_token
        helper.remove_token(world.client.client_id)
    flow = world.device(client_secret=None)
    await flow.authorize(token=token)
    assert flow.application is not None
    assert (await flow.application.get_user(login="bob")).login == "bob"
    await flow.close()
    async with world.device(client_secret=None) as again:
        assert again.application is not None


async def test_a_public_client_goes_on_without_a_dead_app_token(world: World) -> None:
    """Its own app token being dead does not keep a public client from opening."""
    async with world.device():
        pass
    world.twitch.kill_app_tokens(world.client)
    async with world.device(client_secret=None) as flow:
        assert flow.application is None
        assert (await flow.request_device_code()).device_code


async def test_a_secret_given_later_replaces_a_dead_app_token(world: World) -> None:
    """An app token that died while the client had no secret is replaced once it has one."""
    async with world.device():
        pass
    flow = world.device(client_secret=None)
    await flow.authorize()
    world.twitch.kill_app_tokens(world.client)
    assert flow.application is not None
    with pytest.raises(AuthFailure):
        await flow.application.get_user(login="alice")
    await flow.close()
    async with world.device() as again:
        assert again.application is not None
        assert (await again.application.get_user(login="alice")).login == "alice"


async def test_a_foreign_token_is_refused(world: World) -> None:
    """`token=` of another client, of a user, and a dead one: each error says what it is."""
    other = world.twitch.register_client()
    async with world.device(other, store=None) as helper:
        foreign = (await helper.credentials_grant_flow()).access_token
    flow = world.device()
    with pytest.raises(AuthFailure, match="another client id"):
        await flow.authorize(token=foreign)
    with pytest.raises(AuthFailure, match="user's access token"):
        await flow.authorize(token=world.pair().access_token)
    with pytest.raises(Unauthorized):
        await flow.authorize(token="dead")
    assert flow.application is None
    assert world.client.client_id not in flow.tokens
    await flow.authorize()
    assert flow.application is not None


async def test_a_damaged_app_token_does_not_keep_the_flow_from_opening(world: World) -> None:
    """Damaged bytes under the client id itself: the flow opens and gets a new app token."""
    await world.place.write(world.key(world.client.client_id), GARBAGE)
    async with world.device() as flow:
        assert flow.application is not None
        assert (await flow.application.get_user(login="alice")).login == "alice"
        assert dict(flow.damaged) == {}


async def test_an_app_token_of_a_newer_version_is_no_obstacle_for_users(world: World) -> None:
    """A public client with an unreadable app token opens, and its users load."""
    await world.place.write(world.key(world.client.client_id), GARBAGE)
    async with world.device(client_secret=None) as flow:
        pair = world.pair()
        flow.add_token(world.alice.user_id, pair.access_token, pair.refresh_token)
        assert isinstance(flow.damaged[world.client.client_id], CorruptRecord)


async def test_an_unknown_client_is_a_bad_request(small: World) -> None:
    """Twitch's own text reaches the caller."""
    flow = small.device(client_id="nobody-knows-this-client", client_secret="s")
    with pytest.raises(BadRequest, match="invalid client"):
        await flow.authorize()
