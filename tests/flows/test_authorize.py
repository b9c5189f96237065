"""The constructor, `authorize`, and the app token."""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import TYPE_CHECKING

import pytest

from tests.environment import on_each_store, within
from twitchvault import (
    App,
    AppAPI,
    AuthFailure,
    AuthorizationCodeGrantFlow,
    ClientException,
    DeviceCodeFlow,
    NotAuthorized,
    TokenError,
    Unauthorized,
)

if TYPE_CHECKING:
    from tests.environment import Environment

pytestmark = pytest.mark.usefixtures("confidential")


def application_of(flow: App) -> AppAPI:
    """The application of an authorized flow."""
    assert flow.application is not None
    return flow.application


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
        "trust_env": False,
        "on_metric": None,
    }
    assert list(inspect.signature(kind).parameters)[:2] == ["client_id", "client_secret"]


async def test_a_confidential_client_gets_an_app_token(env: Environment) -> None:
    """One app token is fetched; it stands under the client id and counts as validated."""
    flow = env.device()
    assert flow.application is None
    await flow.authorize()
    client_id = env.client.client_id
    assert isinstance(flow.application, AppAPI)
    access, refresh = flow.tokens[client_id]
    assert env.twitch.is_live(access)
    assert refresh is None
    validated_at, expires_in = flow.tokens_validity[client_id]
    assert validated_at > 1e9
    assert expires_in > 50 * 86_400
    assert dict(flow.users_scopes) == {}
    await flow.authorize()
    assert env.twitch.counts.app_tokens == 1
    answer = await flow.credentials_grant_flow()
    assert env.twitch.is_live(answer.access_token)
    assert answer.raw["access_token"] == answer.access_token
    assert answer.token_type == "bearer"
    assert flow.get_token(client_id) == (access, None), "it is only returned"


async def test_a_public_client_has_no_app_token(env: Environment) -> None:
    """No app token is asked for, `application` is None, and no secret is ever sent."""
    env.twitch.auto_approve(env.alice)
    async with env.device(env.public) as flow:
        assert flow.application is None
        assert dict(flow.tokens) == {}
        asked = env.asked()
        with pytest.raises(ClientException, match="client secret"):
            await flow.credentials_grant_flow()
        assert env.asked() == asked
        code = await flow.request_device_code({"chat:read"})
        token = await flow.get_device_token(code.device_code)
        user = await flow.add_user(token.access_token, token.refresh_token)
        await user.refresh()
        await flow.validate_token(user.token)
        await user.get("users")
        await user.revoke()
    assert env.twitch.counts.app_tokens == 0
    assert all("client_secret" not in request.parameters for request in env.twitch.requests)


@on_each_store
@pytest.mark.parametrize("dead", [False, True])
async def test_the_app_token_after_a_restart(env: Environment, dead: bool) -> None:
    """The vault's own app token is validated and used again; only a dead one is replaced."""
    async with env.device() as flow:
        first = flow.get_token(env.client.client_id)
    if dead:
        env.twitch.kill_app_tokens(env.client)
    async with env.device() as flow:
        second = flow.get_token(env.client.client_id)
        assert second is not None
        assert (second == first) is not dead
        assert env.twitch.is_live(second[0])
        assert (await application_of(flow).get_user(login="alice")).login == "alice"
    assert env.twitch.counts.app_tokens == 1 + dead
    assert env.twitch.counts.validations >= 1


@on_each_store
async def test_a_dead_owner_of_the_app_tokens_lease(env: Environment) -> None:
    """Whatever its request came to, another app token is fetched: there is nothing to spend."""
    async with env.app(lease_ttl=1) as app:
        application = application_of(app)
        await application.get("users", params={"login": "alice"})
        env.twitch.kill_app_tokens(env.client)
        await env.lease_of_a_dead_process(env.client.client_id)
        await application.get("users", params={"login": "alice"})
        assert app.needs_login == {}


async def test_an_app_token_that_was_given_up(env: Environment) -> None:
    """A process that finds such a record fetches another one."""
    async with env.app():
        pass
    key = env.key(env.client.client_id)
    record = json.loads(await env.storage.read(key) or b"")
    given_up = {"state": "needs_login", "access_refused": True}
    await env.storage.write(key, json.dumps(record | given_up).encode())
    async with env.app() as app:
        assert application_of(app).token != record["access_token"]
        assert app.needs_login == {}


async def test_one_app_token_for_all(env: Environment) -> None:
    """Two flows that open, or many calls that meet a dead app token, ask for one new one."""
    one, two = env.device(), env.device()
    await within(asyncio.gather(two.authorize(), *(one.authorize() for _ in range(5))))
    assert one.tokens == two.tokens
    before = env.twitch.counts.app_tokens
    env.twitch.kill_app_tokens(env.client)
    apps = [application_of(one), application_of(two)]
    await within(asyncio.gather(*(app.get_user(login="bob") for app in apps * 10)))
    assert env.twitch.counts.app_tokens == before + 1
    assert one.tokens == two.tokens
    env.twitch.kill_app_tokens(env.client)
    three, four = env.device(), env.device()
    await within(asyncio.gather(three.authorize(), four.authorize()))
    assert env.twitch.counts.app_tokens == before + 2
    assert three.tokens == four.tokens


async def test_the_methods_of_an_application(env: Environment) -> None:
    """An AppAPI validates, refreshes, renews and revokes the app token."""
    async with env.device() as flow:
        app = application_of(flow)
        assert app.id == app.user_id == env.client.client_id
        assert app.needs_login is None
        assert (await app.validate()).user_id is None
        first = app.token
        token = await app.refresh()
        assert (token.access_token, token.refresh_token) == (app.token, None)
        assert app.token != first
        env.twitch.kill_app_tokens(env.client)
        assert await app.renew(token.access_token) == app.token != token.access_token
        last = app.token
        await app.revoke()
        assert not env.twitch.is_live(last)
        with pytest.raises(TokenError):
            await app.get_user(login="alice")
        await flow.authorize()
        assert (await application_of(flow).get_user(login="alice")).login == "alice"


@on_each_store
async def test_a_token_that_is_brought_along(env: Environment) -> None:
    """`authorize(token=...)` validates and uses it, also without a secret; it is stored."""
    async with env.device(store=None) as helper:
        token = (await helper.credentials_grant_flow()).access_token
    asked = env.twitch.counts.app_tokens
    for secret in (env.client.client_secret, None):
        flow = env.device(client_secret=secret)
        await flow.authorize(token=token)
        assert flow.get_token(env.client.client_id) == (token, None)
        assert env.client.client_id in flow.tokens_validity
        assert (await application_of(flow).get_user(login="bob")).login == "bob"
        await flow.close()
    async with env.device(client_secret=None) as flow:
        assert application_of(flow).token == token
    assert env.twitch.counts.app_tokens == asked


async def test_a_dead_app_token_without_a_secret(env: Environment) -> None:
    """Such a process opens without it, and stops none that has the secret and renews it."""
    async with env.device():
        pass
    async with env.device(client_secret=None) as flow:
        env.twitch.kill_app_tokens(env.client)
        with pytest.raises(AuthFailure):
            await application_of(flow).get_user(login="alice")
    async with env.device() as flow:
        token = flow.tokens[env.client.client_id][0]
        env.twitch.kill_app_tokens(env.client)
        async with env.device(client_secret=None) as bare:
            with pytest.raises(Unauthorized):
                await bare.authorize(token=token)
        assert (await application_of(flow).get_user(login="alice")).login == "alice"
    env.twitch.kill_app_tokens(env.client)
    async with env.device(client_secret=None) as flow:
        assert flow.application is None
        assert (await flow.request_device_code()).device_code
    async with env.device() as flow:
        assert (await application_of(flow).get_user(login="alice")).login == "alice"


async def test_a_foreign_token_is_refused(env: Environment) -> None:
    """`token=` of another client, of a user, and a dead one: each error says what it is."""
    other = env.twitch.register_client()
    async with env.device(other, store=None) as helper:
        foreign = (await helper.credentials_grant_flow()).access_token
    flow = env.device()
    with pytest.raises(AuthFailure, match="another client id"):
        await flow.authorize(token=foreign)
    with pytest.raises(AuthFailure, match="user's access token"):
        await flow.authorize(token=env.pair().access_token)
    with pytest.raises(Unauthorized):
        await flow.authorize(token="dead")
    assert flow.application is None
    assert env.client.client_id not in flow.tokens
    await flow.authorize()
    assert flow.application is not None


@pytest.mark.parametrize("revoke", [True, False])
async def test_an_app_token_that_has_gone(env: Environment, revoke: bool) -> None:
    """Nobody can sign an application in: its calls name `authorize()`, which brings a new one."""
    async with env.app() as app:
        application = application_of(app)
        if revoke:
            await application.revoke()
        else:
            app.remove_token(env.client.client_id)
        calls = (application.refresh, application.validate, lambda: application.get("users"))
        for call in (*calls, lambda: application.renew("refused")):
            with pytest.raises(NotAuthorized, match=r"authorize\(\)"):
                await call()
        await app.authorize()
        await application.get_user(login="alice")
