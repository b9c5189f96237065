"""What holds for every framework that is bound to the vault."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.environment import until, within
from twitchvault.integrations import bridge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.environment import Environment
    from twitchvault import App, UserAPI


@dataclass
class Framework:
    """A client of the framework for alice, and what it does and says."""

    refusal: type[Exception]
    """Its error for a 401."""
    warning: str
    """What it says of a version that was never tested."""
    ask: Callable[[], Awaitable[str]]
    """Call Helix in alice's name: whose it was."""
    ask_as_app: Callable[[], Awaitable[object]]
    bind: Callable[[], object]
    """Bind one more client."""
    refreshed: Callable[[], list[str]]
    """The tokens of the refreshes that it told of."""


class FrameworkContract:
    """The tests; a subclass has a fixture `framework`."""

    async def test_a_refused_token_is_renewed_once(
        self, env: Environment, alice: UserAPI, framework: Framework
    ) -> None:
        """Many calls at once on a dead token: one exchange, every call is answered, all hear it."""
        env.twitch.expire_access(alice.token)
        answers = await within(asyncio.gather(*(framework.ask() for _ in range(20))))
        assert set(answers) == {alice.id}
        await env.expect(exchanges=1)
        await until(lambda: framework.refreshed()[-1:] == [alice.token])

    async def test_the_app_token_is_the_vaults(
        self, env: Environment, app: App, framework: Framework
    ) -> None:
        """The framework asks for none, and a dead one is replaced by the vault."""
        assert env.twitch.counts.app_tokens == 1
        env.twitch.kill_app_tokens(env.client)
        await framework.ask_as_app()
        assert env.twitch.counts.app_tokens == 2
        assert env.twitch.is_live(app.tokens[app.http.client_id][0])

    async def test_a_user_who_has_to_sign_in_again(
        self, env: Environment, app: App, alice: UserAPI, framework: Framework
    ) -> None:
        """It is the framework's own error, with the vault's as its cause; nothing is sent twice."""
        env.twitch.disconnect(env.client, env.alice)
        for _ in range(2):
            with pytest.raises(framework.refusal) as error:
                await framework.ask()
            assert "sign in again" in str(error.value.__cause__)
            assert not env.shows_secret(error.value)
        assert alice.id in app.needs_login
        assert env.refreshes_sent() == 1

    async def test_somebody_elses_token_is_not_sent(
        self, env: Environment, app: App, framework: Framework
    ) -> None:
        """The vault has found out whose it is: nobody acts in that name."""
        pair = env.pair(user=env.bob)
        app.add_token(env.alice.user_id, pair.access_token, pair.refresh_token)
        await app.validate_token(pair.access_token)
        asked = env.asked()
        with pytest.raises(framework.refusal, match="sign in again"):
            await framework.ask()
        assert env.asked() == asked

    async def test_an_unknown_version_is_told_on_bind(
        self, framework: Framework, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At once, with the versions that were tested, not in the middle of a stream."""
        monkeypatch.setattr(bridge, "version", lambda _: "9.9.9")
        with pytest.warns(UserWarning, match=framework.warning):
            framework.bind()
