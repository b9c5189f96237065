"""twitch.py, as it is installed, with the vault's tokens; it needs Python 3.12."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import twitch
from twitch.eventsub import ClientUser
from twitch.eventsub.gateway import EventSubWebSocket
from twitch.http import Route

from tests.environment import until
from tests.integrations.contract import Framework, FrameworkContract
from twitchvault.integrations.twitchpy import bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.environment import Environment
    from twitchvault import App, UserAPI

# Both are the framework's own, the first on Python 3.14.
pytestmark = [
    pytest.mark.filterwarnings("ignore:'asyncio.iscoroutinefunction':DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*float.*:DeprecationWarning"),
]


class Bot(ClientUser):  # type: ignore[misc]
    """A client that writes down what happens."""

    def __init__(self, app: App, client_secret: str | None) -> None:
        super().__init__(app.http.client_id, client_secret)
        self.updates: list[tuple[str, str]] = []

    async def on_token_update(self, user_id: str, access_token: str, _: str | None) -> None:
        """A token was refreshed."""
        self.updates.append((user_id, access_token))


@pytest.fixture(autouse=True)
def at_the_double(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """twitch.py sends everything to the double."""
    monkeypatch.setattr(Route, "BASE", env.twitch.api_url)
    monkeypatch.setattr(Route, "OAUTH2", env.twitch.id_url)
    monkeypatch.setattr(EventSubWebSocket, "DEFAULT_GATEWAY", env.twitch.eventsub_url)


@pytest.fixture
async def bot(env: Environment, app: App) -> AsyncIterator[Bot]:
    """A bound client, authorized."""
    bot = Bot(app, env.client.client_secret)
    bind(bot, app)
    await bot.authorize()
    yield bot
    await bot.close()


class TestTwitchPy(FrameworkContract):
    """The contract."""

    @pytest.fixture
    def framework(self, env: Environment, app: App, bot: Bot) -> Framework:
        """The bot."""

        async def ask() -> str:
            answer = await bot.http.request(Route("GET", "users"), user_id=env.alice.user_id)
            return str(answer["data"][0]["id"])

        return Framework(
            refusal=twitch.Unauthorized,
            warning=r"twitch\.py 9\.9\.9 .* 4\.0\.4",
            ask=ask,
            ask_as_app=lambda: bot.application.get_users(user_logins={"bob"}),
            bind=lambda: bind(Bot(app, env.client.client_secret), app),
            refreshed=lambda: [token for user, token in bot.updates if user == env.alice.user_id],
        )


async def test_adding_a_user_ends_in_the_vault(env: Environment, app: App, bot: Bot) -> None:
    """Validated or not; a dead pair is renewed by the vault, and a bad one is twitch.py's error."""
    pair = env.pair(user=env.bob, expired=True)
    assert (await bot.add_user(pair.access_token, pair.refresh_token)).id == env.bob.user_id
    await env.expect(exchanges=1, user=env.bob)
    bot.remove_token(env.bob.user_id)
    assert app.get_token(env.bob.user_id) is None
    other = env.pair()
    bot.add_token(env.alice.user_id, other.access_token, other.refresh_token)
    assert app.get_token(env.alice.user_id) == env.live()
    env.twitch.disconnect(env.client, env.bob)
    with pytest.raises(twitch.AuthFailure):
        await bot.add_user("0" * 30, "1" * 50)


async def test_refresh_and_revoke_go_through_the_vault(
    env: Environment, app: App, alice: UserAPI, bot: Bot
) -> None:
    """twitch.py's own OAuth calls do not spend or kill a token behind the vault's back."""
    pair = app.get_token(alice.id)
    assert pair is not None
    answer: dict[str, Any] = await bot.http.refresh_token(pair[1])
    assert (answer["access_token"], answer["refresh_token"]) == app.get_token(alice.id)
    await bot.http.refresh_token(pair[1])
    await env.expect(exchanges=1)
    await bot.http.revoke_token(answer["access_token"])
    assert app.get_token(alice.id) is None


async def test_eventsub_survives_a_rotation_and_a_reconnect(
    env: Environment, app: App, alice: UserAPI, bot: Bot
) -> None:
    """The websocket goes on, and what it subscribes to next is asked for with a live token."""
    streams: list[str] = []

    async def on_stream_online_v1(event: Any) -> None:  # noqa: ANN401
        streams.append(event.event.id)

    pair = app.get_token(alice.id)
    assert pair is not None
    bot.event(on_stream_online_v1)
    env.twitch.expire_access(alice.token)
    await bot.login(*pair)
    connection = asyncio.create_task(bot.connect())
    await until(lambda: env.twitch.subscriptions)
    await alice.refresh()
    env.twitch.reconnect_sockets()
    names = {"broadcaster_user_login": "alice", "broadcaster_user_name": "Alice", "type": "live"}
    event = {"broadcaster_user_id": alice.id, "started_at": "2026-01-01T00:00:00Z", **names}

    def has_arrived() -> bool:
        return "9" in streams or env.twitch.notify("stream.online", {"id": "9", **event}) < 0

    await until(has_arrived)
    connection.cancel()
    await env.expect(exchanges=2)


async def test_bind_says_what_is_wrong(env: Environment, app: App, bot: Bot) -> None:
    """A public client, another application, another kind of client, one that has tokens."""
    public = env.app(env.public)
    with pytest.raises(ValueError, match="a public client has none"):
        bind(Bot(public, "s"), public)
    with pytest.raises(ValueError, match="must be that of the vault"):
        bind(twitch.App("another", "s"), app)
    with pytest.raises(TypeError, match=r"twitch\.py client, not str"):
        bind("client", app)
    bot.http.__class__ = twitch.http.HTTPClient
    bot.http.add_token(user_id="1", access_token="a", refresh_token=None)
    with pytest.raises(RuntimeError, match=r"before authorize"):
        bind(bot, app)
