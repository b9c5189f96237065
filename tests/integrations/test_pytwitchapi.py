"""pyTwitchAPI, as it is installed, with the vault's tokens."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from twitchAPI.chat import Chat, ChatMessage
from twitchAPI.eventsub.websocket import EventSubWebsocket
from twitchAPI.helper import first
from twitchAPI.oauth import UserAuthenticationStorageHelper, UserAuthenticator
from twitchAPI.type import (
    AuthScope,
    ChatEvent,
    InvalidTokenException,
    MissingAppSecretException,
    MissingScopeException,
    UnauthorizedException,
)
from yarl import URL

from tests.environment import REDIRECT, until, within
from tests.http_servers import sent_back
from tests.integrations.contract import Framework, FrameworkContract
from twitchvault.integrations import bridge
from twitchvault.integrations.pytwitchapi import VaultTwitch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twitchAPI.object.eventsub import StreamOnlineEvent

    from tests.environment import Environment
    from twitchvault import App, UserAPI

SCOPES = [AuthScope.CHAT_READ, AuthScope.CHAT_EDIT]
STAMP = "2026-01-01T00:00:00Z"

# The framework's own, on Python 3.14.
pytestmark = pytest.mark.filterwarnings("ignore:'asyncio.iscoroutinefunction':DeprecationWarning")


@pytest.fixture
async def twitch(app: App, alice: UserAPI) -> VaultTwitch:
    """A Twitch object for alice."""
    return await VaultTwitch(app, alice.id, SCOPES)


async def _login(twitch: VaultTwitch, env: Environment) -> tuple[str, str]:
    """A pair by pyTwitchAPI's own way, without a browser."""
    way = UserAuthenticator(twitch, SCOPES, url=REDIRECT, auth_base_url=env.twitch.id_url)
    query = await sent_back(URL(f"{env.twitch.id_url}authorize").with_query(_address(way).query))
    pair: tuple[str, str] = await way.authenticate(user_token=query["code"])
    return pair


async def _repeat(send: Callable[[], int], what: str, arrived: list[str]) -> None:
    """Send it until it arrives: a socket that is just connecting misses what comes meanwhile."""

    def has_arrived() -> bool:
        return what in arrived or send() < 0

    await until(has_arrived)


def _transports(env: Environment) -> list[object]:
    return [each["transport"] for each in env.twitch.subscriptions]


def _address(way: UserAuthenticator) -> URL:
    return URL(way.return_auth_url())  # type: ignore[no-untyped-call]


async def _stop(eventsub: EventSubWebsocket) -> None:
    await eventsub.stop()  # type: ignore[no-untyped-call]


async def _close(sockets: Chat | EventSubWebsocket) -> None:
    """Stop it, and close the loop of its thread, which pyTwitchAPI leaves open."""
    if isinstance(sockets, Chat):
        await asyncio.to_thread(sockets.stop)
        prefix = "_Chat__"
    else:
        await asyncio.to_thread(asyncio.run, _stop(sockets))
        prefix = "_"
    await asyncio.to_thread(getattr(sockets, f"{prefix}socket_thread").join)
    loop: asyncio.AbstractEventLoop = getattr(sockets, f"{prefix}socket_loop")
    for task in asyncio.all_tasks(loop):
        task.cancel()
    await asyncio.to_thread(loop.run_until_complete, asyncio.sleep(0))
    loop.close()


async def _asks(twitch: VaultTwitch) -> str:
    user = await first(twitch.get_users())
    return "" if user is None else user.id


class TestPyTwitchAPI(FrameworkContract):
    """The contract."""

    @pytest.fixture
    async def framework(self, env: Environment, app: App) -> Framework:
        """A Twitch object for alice."""
        twitch, refreshed = await VaultTwitch(app, env.alice.user_id, SCOPES), list[str]()

        async def report(token: str, _: str) -> None:
            refreshed.append(token)

        twitch.user_auth_refresh_callback = report
        return Framework(
            refusal=UnauthorizedException,
            warning=r"twitchAPI 9\.9\.9 .* 4\.5\.0",
            ask=lambda: _asks(twitch),
            ask_as_app=twitch.get_refreshed_app_token,
            bind=lambda: VaultTwitch(app, "1", []),
            refreshed=lambda: refreshed,
        )


async def test_the_second_page_is_asked_for_with_the_token_that_stands(
    env: Environment, alice: UserAPI, twitch: VaultTwitch
) -> None:
    """A rotation between two pages goes unnoticed."""
    env.twitch.add_resource("streams", [{"id": str(number)} for number in range(40)], needs="user")
    found = []
    async for stream in twitch.get_streams():
        found.append(stream.id)
        if len(found) == 20:
            await alice.refresh()
    assert found == [str(number) for number in range(40)]
    await env.expect(exchanges=1)


async def test_a_login_of_the_frameworks_own_way_lands_in_the_vault(
    env: Environment, app: App
) -> None:
    """`UserAuthenticator` gets a pair, and `set_user_authentication` gives it to the vault."""
    secret = env.client.client_secret
    twitch = await VaultTwitch(app, env.bob.user_id, SCOPES, app_secret=secret)
    assert twitch.get_user_auth_token() is None
    env.twitch.auto_consent(env.bob)
    token, refresh_token = await _login(twitch, env)
    await twitch.set_user_authentication(token, SCOPES, refresh_token)
    assert await _asks(twitch) == env.bob.user_id
    await env.expect(exchanges=0, user=env.bob)


async def test_another_users_pair_is_a_value_error(env: Environment, twitch: VaultTwitch) -> None:
    """Nothing of it is stored or shown; a dead one is the framework's `InvalidTokenException`.

    Only an exchange shows whose an expired one is, so its new pair is kept, as that user's.
    """
    pair = env.pair(user=env.bob)
    with pytest.raises(ValueError, match=env.bob.user_id) as error:
        await twitch.set_user_authentication(pair.access_token, SCOPES, pair.refresh_token)
    assert not env.shows_secret(error.value)
    assert await env.stored(env.bob) is None
    env.twitch.disconnect(env.client, env.bob)
    with pytest.raises(InvalidTokenException):
        await twitch.set_user_authentication(pair.access_token, SCOPES, pair.refresh_token)
    pair = env.pair(user=env.bob, expired=True)
    with pytest.raises(ValueError, match=env.bob.user_id):
        await twitch.set_user_authentication(pair.access_token, SCOPES, pair.refresh_token)
    await env.expect(exchanges=1, user=env.bob)


async def test_the_file_of_before_comes_into_the_vault(
    env: Environment, app: App, tmp_path: Path
) -> None:
    """`UserAuthenticationStorageHelper` goes on working with a pair that is spent by now."""
    pair = env.pair(scopes=["chat:read", "chat:edit"], expired=True)
    file = tmp_path / "user_token.json"
    file.write_text(f'{{"token": "{pair.access_token}", "refresh": "{pair.refresh_token}"}}')
    for _ in range(2):
        twitch = await VaultTwitch(app, env.alice.user_id, SCOPES)
        helper = UserAuthenticationStorageHelper(twitch, SCOPES, file)
        await helper.bind()  # type: ignore[no-untyped-call]
        assert await _asks(twitch) == env.alice.user_id
    await env.expect(exchanges=1)


async def test_missing_scopes_are_said_at_once(app: App, alice: UserAPI) -> None:
    """The vault knows what the user has granted."""
    with pytest.raises(MissingScopeException, match="bits:read"):
        await VaultTwitch(app, alice.id, [AuthScope.BITS_READ])


async def test_a_login_name_is_no_user_id(app: App, alice: UserAPI) -> None:
    """It is a `ValueError` that says so; whatever the vault has as an id goes on working."""
    assert alice.login is not None
    with pytest.raises(ValueError, match="a number, and no login name: 'alice'"):
        await VaultTwitch(app, alice.login, SCOPES)
    app.add_token("alice", "another-token", None)
    await VaultTwitch(app, alice.login, SCOPES)


async def test_a_public_client_has_no_app_token(env: Environment) -> None:
    """A user's calls work; whoever asks for an app token is told why there is none."""
    async with env.app(env.public) as app:
        await env.login(app, env.alice, env.public)
        twitch = await VaultTwitch(app, env.alice.user_id, [AuthScope.CHAT_READ])
        assert await _asks(twitch) == env.alice.user_id
        with pytest.raises(MissingAppSecretException, match="public client"):
            await twitch.authenticate_app([])


async def test_chat_survives_rotations_and_a_cut_with_a_dead_token(
    env: Environment, alice: UserAPI, twitch: VaultTwitch
) -> None:
    """Five rotations; then the connection is cut, and the token has expired meanwhile."""
    texts: list[str] = []

    async def hear(message: ChatMessage) -> None:
        texts.append(message.text)

    async def hears(text: str) -> None:
        await _repeat(lambda: env.twitch.say("bob", env.bob, text), text, texts)

    chat = await Chat(twitch, connection_url=env.twitch.irc_url, initial_channel=["bob"])
    chat.register_event(ChatEvent.MESSAGE, hear)
    await within(asyncio.to_thread(chat.start))
    try:
        for number in range(5):
            await alice.refresh()
            await hears(f"after rotation {number}")
        env.twitch.expire_access(alice.token)
        env.twitch.drop_sockets()
        await hears("after the cut")
    finally:
        await within(_close(chat))
    assert env.twitch.counts.chat_refusals == 0
    await env.expect(exchanges=6)


async def test_a_blocked_loop_is_not_waited_for(
    twitch: VaultTwitch,
    alice: UserAPI,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`chat.start()` on the vault's own loop: Chat gets the token that stands, and a warning."""
    monkeypatch.setattr(bridge, "LONGEST_START", 0.1)
    with ThreadPoolExecutor(1) as chat:
        token = chat.submit(asyncio.run, twitch.get_refreshed_user_auth_token()).result()
    assert token == alice.token
    assert "asyncio.to_thread(chat.start)" in caplog.text
    assert token not in caplog.text


async def test_eventsub_survives_rotations_and_a_cut_with_a_dead_token(
    env: Environment, alice: UserAPI, twitch: VaultTwitch
) -> None:
    """Its thread subscribes anew, with a token that the vault has renewed."""
    streams: list[str] = []

    async def online(event: StreamOnlineEvent) -> None:
        streams.append(event.event.id)

    async def hears(stream: str) -> None:
        event = {"id": stream, "broadcaster_user_id": alice.id, "started_at": STAMP}
        await _repeat(lambda: env.twitch.notify("stream.online", event), stream, streams)

    eventsub = EventSubWebsocket(twitch, connection_url=env.twitch.eventsub_url)
    await asyncio.to_thread(eventsub.start)
    try:
        await within(eventsub.listen_stream_online(alice.id, online))
        await alice.refresh()
        await hears("after a rotation")
        before = _transports(env)
        env.twitch.reconnect_sockets()
        await until(lambda: _transports(env) != before)
        await hears("after the reconnect")
        env.twitch.expire_access(alice.token)
        env.twitch.drop_sockets()
        await hears("after the cut")
    finally:
        await within(_close(eventsub))
    await env.expect(exchanges=2)
