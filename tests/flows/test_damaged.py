"""Records of another version, or that cannot be read: the others go on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.environment import GARBAGE, NEWER_SCHEMA, on_each_store, text_of, until, within
from twitchvault import CorruptRecord

if TYPE_CHECKING:
    from tests.environment import Environment
    from twitchvault import App

SECRET = "from-the-future"
DAMAGE = [
    pytest.param(GARBAGE, "damaged", id="garbage"),
    pytest.param(NEWER_SCHEMA, "newer twitchvault", id="newer schema"),
    pytest.param(b"", "damaged", id="empty"),
    pytest.param(b'{"schema":1,"access_token":7}', "damaged", id="wrong type"),
    pytest.param(b'{"schema":1,"access_token":"' + SECRET.encode(), "damaged", id="cut off"),
    pytest.param(b"[" * 5000, "damaged", id="deep"),
]


def expect_damage(app: App, user_id: str, text: str) -> None:
    """The user is in `damaged` and in no other view, and reading it raises."""
    error = app.damaged[user_id]
    assert isinstance(error, CorruptRecord)
    assert repr(user_id) in str(error)
    assert text in str(error)
    assert SECRET not in text_of(error)
    for view in (app.tokens, app.tokens_validity, app.users_scopes):
        assert user_id not in view
    for call in (app.get_token, app.get_user_by_id):
        with pytest.raises(CorruptRecord, match=text):
            call(user_id)


@pytest.mark.parametrize(("value", "text"), DAMAGE)
async def test_damage_from_before(env: Environment, value: bytes, text: str) -> None:
    """The flow opens, the others load and are kept up; that user's calls raise, its row stays."""
    pair = env.pair()
    async with env.app() as app:
        app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    await env.storage.write(env.key(env.bob), value)
    async with env.app(maintain=True) as app:
        await until(lambda: env.alice.user_id in app.users_scopes)
        expect_damage(app, env.bob.user_id, text)
        assert app.get_token(env.alice.user_id) == (pair.access_token, pair.refresh_token)
        assert list(app.damaged) == [env.bob.user_id]
        assert (await app.get_user_by_id(env.alice.user_id).get_user()).login == "alice"
    assert await env.storage.read(env.key(env.bob)) == value, "somebody has overwritten it"


@on_each_store
@pytest.mark.parametrize(("value", "text"), DAMAGE[:2])
async def test_damage_that_comes_later(env: Environment, value: bytes, text: str) -> None:
    """Written while the flow is open: event, view, and every call of a UserAPI from before."""
    async with env.app() as app:
        user = await env.login(app)
        stream = app.events()
        await env.storage.write(env.key(env.alice), value)
        event = await within(anext(stream))
        assert (event.kind, event.user_id) == ("damaged", env.alice.user_id)
        assert (event.origin, event.reason) == ("remote", str(app.damaged[user.user_id]))
        expect_damage(app, user.user_id, text)
        calls: list[Any] = [user.get_user, user.refresh, user.validate, user.revoke]
        for call in calls:
            with pytest.raises(CorruptRecord, match=text):
                await call()
        for name in ("token", "login", "scopes"):
            with pytest.raises(CorruptRecord, match=text):
                getattr(user, name)
        assert app.get_token_quota(user.user_id) is None
        await within(app.flush())
    assert await env.storage.read(env.key(env.alice)) == value
    assert (env.twitch.counts.helix_calls, env.twitch.counts.exchanges) == (0, 0)


@on_each_store
@pytest.mark.parametrize("how", ["add_user", "add_token", "expired"])
async def test_a_new_login_replaces_it(env: Environment, how: str) -> None:
    """Signing in again is all it takes, by whichever way, and shows at once."""
    await env.storage.write(env.key(env.alice), GARBAGE)
    async with env.app() as app, env.app() as other:
        for each in (app, other):
            assert env.alice.user_id in each.damaged
        pair = env.pair(expired=how == "expired")
        if how == "add_token":
            user = app.add_token(env.alice.user_id, pair.access_token, pair.refresh_token)
            assert app.tokens[user.user_id] == (pair.access_token, pair.refresh_token)
            assert user.user_id not in app.damaged
            await app.flush()
        else:
            user = await app.add_user(pair.access_token, pair.refresh_token)
        for each in (app, other):
            assert env.alice.user_id not in each.damaged
            assert env.alice.user_id in each.tokens
        assert (await user.get_user()).login == "alice"
        other.remove_token(user.user_id)
        await other.flush()
        assert (dict(app.tokens), dict(app.damaged)) == ({}, {})


async def test_a_damaged_app_token(env: Environment) -> None:
    """It does not keep the flow from opening: a new one is fetched, if there is a secret."""
    for client in (env.confidential, env.public):
        await env.storage.write(env.key(client.client_id, client), GARBAGE)
        async with env.app(client) as app:
            user = await env.login(app, client=client)
            assert (await user.get_user()).login == "alice"
            assert (app.application is None) == client.public
            assert (client.client_id in app.damaged) == client.public
            if app.application is not None:
                assert (await app.application.get_user(login="bob")).login == "bob"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "-5", '"inf"', "[1]", "true"])
@pytest.mark.parametrize("name", ["expires_in", "last_validated"])
async def test_numbers_that_are_none(env: Environment, name: str, number: str) -> None:
    """A stored number that is none is damage or does no harm, never an error of another kind."""
    pair = env.pair()
    async with env.app() as app:
        app.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    stored = await env.storage.read(env.key(env.alice))
    assert stored is not None
    await env.storage.write(env.key(env.alice), stored[:-1] + f',"{name}":{number}}}'.encode())
    async with env.app(maintain=True) as app:
        if env.alice.user_id in app.damaged:
            expect_damage(app, env.alice.user_id, "damaged")
            return
        user = app.get_user_by_id(pair.user_id)
        assert (await user.get_user()).login == "alice"
        await app.refresh_token(pair.refresh_token)
        assert json.dumps(dict(app.tokens_validity), allow_nan=False)


async def test_a_record_of_the_former_schema(env: Environment) -> None:
    """What the version before this one has stored is read, shown and refreshed."""
    pair = env.pair(expired=True)
    old = {
        "schema": 1,
        "access_token": pair.access_token,
        "refresh_token": pair.refresh_token,
        "scopes": ["chat:read"],
        "login": "alice",
        "last_validated": 1_790_000_000.5,
        "expires_in": 14_000.0,
    }
    await env.storage.write(env.key(env.alice), json.dumps(old, separators=(",", ":")).encode())
    async with env.app() as app:
        assert app.get_token(pair.user_id) == (pair.access_token, pair.refresh_token)
        assert app.users_scopes[pair.user_id] == ("chat:read",)
        assert app.tokens_validity[pair.user_id] == (1_790_000_000.5, 14_000.0)
        user = app.get_user_by_id(pair.user_id)
        assert user.login == "alice"
        assert (await user.get_user()).login == "alice"
    await env.expect(exchanges=1)


async def test_fields_of_a_later_version_are_passed_on(env: Environment) -> None:
    """A field that this version does not know survives a refresh and a validation."""
    async with env.app() as app:
        user = await env.own_pair(app)
    stored = await env.storage.read(env.key(env.alice))
    assert stored is not None
    content = json.loads(stored) | {"of_tomorrow": {"level": 7}}
    await env.storage.write(env.key(env.alice), json.dumps(content).encode())
    async with env.app() as app:
        user = app.get_user_by_id(user.user_id)
        await user.refresh()
        await user.validate()
    stored = await env.storage.read(env.key(env.alice))
    assert stored is not None
    assert json.loads(stored)["of_tomorrow"] == {"level": 7}
    await env.expect(exchanges=2)
