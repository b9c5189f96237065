"""TwitchIO, as it is installed, with the vault's tokens."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
import twitchio
from twitchio import eventsub
from twitchio.eventsub import websockets
from twitchio.ext import commands
from twitchio.http import Route

from tests.environment import until, within
from tests.integrations.contract import Framework, FrameworkContract
from twitchvault.integrations.twitchio import bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.environment import Environment
    from twitchvault import App, UserAPI

STAMP = "2026-01-01T00:00:00Z"


class Bot(commands.Bot):
    """A bot that writes down what happens."""

    def __init__(self, app: App, client_secret: str | None, bot_id: str) -> None:
        client_id = app.http.client_id
        super().__init__(
            client_id=client_id, client_secret=client_secret or "", bot_id=bot_id, prefix="!"
        )
        self.refreshed: list[twitchio.TokenRefreshedPayload] = []
        self.streams: list[str] = []
        self.welcomes = 0
        self.revoked: list[str] = []

    async def event_token_refreshed(self, payload: twitchio.TokenRefreshedPayload) -> None:
        """A token was refreshed."""
        self.refreshed.append(payload)

    async def event_stream_online(self, payload: twitchio.StreamOnline) -> None:
        """A stream begins."""
        self.streams.append(payload.id)

    async def event_websocket_welcome(self, _: object) -> None:
        """A websocket stands."""
        self.welcomes += 1

    async def event_subscription_revoked(self, payload: twitchio.SubscriptionRevoked) -> None:
        """A subscription has ended."""
        self.revoked.append(payload.reason.value)


@pytest.fixture(autouse=True)
def at_the_double(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """TwitchIO sends everything to the double; what it advises about other packages is not read."""
    monkeypatch.setattr(Route, "BASE", env.twitch.api_url)
    monkeypatch.setattr(Route, "ID_BASE", f"{env.twitch.url}/")
    monkeypatch.setattr(websockets, "WSS", env.twitch.eventsub_url)
    logging.getLogger("twitchio").addHandler(logging.NullHandler())


@pytest.fixture
async def bot(env: Environment, app: App) -> AsyncIterator[Bot]:
    """A bound bot that runs as alice."""
    bot = Bot(app, env.client.client_secret, env.alice.user_id)
    bind(bot, app)
    await bot.login(load_tokens=False)
    yield bot
    await bot.close()


class TestTwitchIO(FrameworkContract):
    """The contract."""

    @pytest.fixture
    def framework(self, env: Environment, app: App, bot: Bot) -> Framework:
        """The bot."""

        async def ask() -> str:
            return (await bot.fetch_users(token_for=env.alice.user_id))[0].id

        return Framework(
            refusal=twitchio.HTTPException,
            warning=r"twitchio 9\.9\.9 .* 3\.3\.2",
            ask=ask,
            ask_as_app=lambda: bot.fetch_users(logins=["bob"]),
            bind=lambda: bind(Bot(app, "s", env.alice.user_id), app),
            refreshed=lambda: [payload.token for payload in bot.refreshed],
        )


async def _subscribe(bot: Bot, user_id: str) -> None:
    payload = eventsub.StreamOnlineSubscription(broadcaster_user_id=user_id)
    await bot.subscribe_websocket(payload, as_bot=True)


async def _hears(env: Environment, bot: Bot, stream: str) -> None:
    """An event gets to the bot."""
    names = {"broadcaster_user_login": "alice", "broadcaster_user_name": "Alice", "type": "live"}
    event = {"id": stream, "broadcaster_user_id": env.alice.user_id, "started_at": STAMP, **names}
    assert env.twitch.notify("stream.online", event) == 1
    await until(lambda: stream in bot.streams)


async def test_client_tokens_shows_the_vaults_users(
    env: Environment, app: App, alice: UserAPI, bot: Bot
) -> None:
    """Users that were added to the vault are the client's, without the app token."""
    await env.login(app, env.bob)
    assert set(bot.tokens) == {alice.id, env.bob.user_id}
    assert (bot.tokens[alice.id]["token"], bot.tokens[alice.id]["refresh"]) == env.live()


async def test_add_token_ends_in_the_vault(env: Environment, app: App, bot: Bot) -> None:
    """A pair that TwitchIO is given is the vault's; the error of a dead one is TwitchIO's."""
    pair = env.pair(user=env.bob, expired=True)
    answer = await bot.add_token(pair.access_token, pair.refresh_token)
    assert (answer.user_id, answer.login) == (env.bob.user_id, "bob")
    await env.expect(exchanges=1, user=env.bob)
    removed = await bot.remove_token(env.bob.user_id)
    assert removed is not None
    assert app.get_token(env.bob.user_id) is None
    pair = env.pair(user=env.bob)
    env.twitch.disconnect(env.client, env.bob)
    with pytest.raises(twitchio.InvalidTokenException) as error:
        await bot.add_token(pair.access_token, pair.refresh_token)
    assert not env.shows_secret(error.value)


async def test_refresh_and_revoke_go_through_the_vault(
    env: Environment, app: App, alice: UserAPI, bot: Bot
) -> None:
    """TwitchIO's own OAuth methods do not spend or kill a token behind the vault's back."""
    pair = app.get_token(alice.id)
    assert pair is not None
    assert pair[1] is not None
    answer = await bot.http.refresh_token(pair[1])
    assert (answer.access_token, answer.refresh_token) == app.get_token(alice.id)
    again = await bot.http.refresh_token(pair[1])
    assert again.access_token == answer.access_token
    await env.expect(exchanges=1)
    await bot.http.revoke_token(answer.access_token)
    assert app.get_token(alice.id) is None


async def test_eventsub_survives_rotations_and_reconnects(
    env: Environment, alice: UserAPI, bot: Bot
) -> None:
    """Five rotations, a reconnect that Twitch asks for, and a cut connection with a dead token."""
    await within(_subscribe(bot, alice.id))
    for number in range(5):
        await alice.refresh()
        await _hears(env, bot, f"after rotation {number}")
    env.twitch.reconnect_sockets()
    await until(lambda: bot.welcomes == 2)
    await _hears(env, bot, "after the reconnect")
    env.twitch.expire_access(alice.token)
    env.twitch.drop_sockets()
    await until(lambda: bot.welcomes == 3 and env.twitch.subscriptions)
    await _hears(env, bot, "after the cut")
    await env.expect(exchanges=6)
    await until(lambda: len(bot.refreshed) == 6)


async def test_a_revoked_subscription_tells_the_vault(
    env: Environment, alice: UserAPI, bot: Bot
) -> None:
    """The user disconnects the bot: TwitchIO says so, and one call makes all processes know."""
    await within(_subscribe(bot, alice.id))
    async with env.app() as other:
        env.twitch.disconnect(env.client, env.alice)
        await until(lambda: bot.revoked == ["authorization_revoked"])
        with pytest.raises(twitchio.HTTPException):
            await bot.fetch_users(token_for=alice.id)
        await other.sync()
        assert alice.id in other.needs_login
    assert env.refreshes_sent() == 1


async def test_nobody_acts_as_somebody_else(env: Environment) -> None:
    """Without a secret a call for a user who is not there is refused, also one for the bot."""
    async with env.app(env.public) as app:
        await env.login(app, env.alice, env.public)
        bot = twitchio.Client(client_id=env.public.client_id, bot_id=env.bob.user_id)
        bind(bot, app)
        for token_for in (env.bob.user_id, None):
            with pytest.raises(twitchio.HTTPException, match="not in the vault"):
                await bot.fetch_users(ids=[1], token_for=token_for)
        assert not env.log("GET helix/users")


async def test_the_device_code_mode_needs_no_token_for(env: Environment) -> None:
    """A public client: calls that name no user are made as the vault's user."""
    async with env.app(env.public) as app:
        client = twitchio.Client(client_id=env.public.client_id, scopes=_scopes())
        bind(client, app)
        env.twitch.auto_approve(env.alice)
        code = await client.login_dcf(load_token=False)
        assert code is not None
        await client.start_dcf(device_code=code["device_code"], interval=0, block=False)
        assert client.bot_id == env.alice.user_id
        alice = app.get_user_by_id(env.alice.user_id)
        env.twitch.expire_access(alice.token)
        assert (await client.fetch_users(logins=["bob"]))[0].id == env.bob.user_id
        await client.close()
    await env.expect(exchanges=1, client=env.public)


async def test_the_device_code_mode_starts_with_the_vaults_user(env: Environment) -> None:
    """Nobody has to sign in who is in the vault already."""
    async with env.app(env.public) as app:
        await env.login(app, env.bob, env.public)
        await env.login(app, env.alice, env.public)
        client = twitchio.Client(client_id=env.public.client_id, bot_id=env.alice.user_id)
        bind(client, app)
        assert await client.login_dcf(load_token=False) is None
        await client.start_dcf(block=False)
        assert client.bot_id == env.alice.user_id
        await client.close()


async def test_the_file_of_before_comes_into_the_vault(
    env: Environment,
    app: App,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,  # noqa: ANN401
) -> None:
    """TwitchIO's file of tokens is read at login, and no file is written at the end."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / ".tio.tokens.json"
    pair = env.pair(expired=True)
    content = f'{{"x": {{"token": "{pair.access_token}", "refresh": "{pair.refresh_token}"}}}}'
    file.write_text(content)
    for _ in range(2):
        bot = Bot(app, env.client.client_secret, env.alice.user_id)
        bind(bot, app)
        await bot.login()
        await bot.close()
    assert file.read_text() == content
    await env.expect(exchanges=1)


async def test_another_threads_loop_hops_to_the_vaults(
    env: Environment, app: App, alice: UserAPI
) -> None:
    """A client on a loop of its own: its calls are answered, and renewed on the vault's loop."""
    env.twitch.expire_access(alice.token)

    async def elsewhere() -> tuple[str, int]:
        bot = Bot(app, env.client.client_secret, alice.id)
        bind(bot, app)
        await bot.login(load_tokens=False)
        users = await bot.fetch_users(ids=[alice.id], token_for=alice.id)
        await until(lambda: bot.refreshed)
        await bot.close()
        return users[0].id, len(bot.refreshed)

    assert await asyncio.to_thread(asyncio.run, elsewhere()) == (alice.id, 1)
    await env.expect(exchanges=1)


async def test_bind_says_what_is_wrong(env: Environment, app: App, bot: Bot) -> None:
    """Another application, another kind of client, one that is logged in; no app token yet."""
    other = twitchio.Client(client_id="another", client_secret="s")
    with pytest.raises(ValueError, match="'another' must be that of the vault"):
        bind(other, app)
    with pytest.raises(TypeError, match=r"must be a twitchio\.Client, not str"):
        bind("client", app)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="before login"):
        bind(bot, app)
    early = Bot(app, "s", env.alice.user_id)
    bind(early, env.app(env.confidential))
    with pytest.raises(LookupError, match=r"await app\.authorize"):
        await early.login(load_tokens=False)
    await early.close()


def _scopes() -> twitchio.Scopes:
    return twitchio.Scopes(chat_read=True)
