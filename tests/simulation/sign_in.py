"""`ensure_user` over a simulated process: one process shows a code, the others wait for the login.

Of the flow there is only what `ensure_user` asks of one. The user approves after a while, or never.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from tests.simulation.twitch import SCOPES
from twitchvault.models import DeviceCode, Token
from twitchvault.oauth.ensure import ensure_user

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.simulation.acts import Scene
    from tests.simulation.facts import Pair
    from tests.simulation.host import Host
    from twitchvault.models import ValidateToken
    from twitchvault.oauth.device import DeviceCodeFlow
    from twitchvault.vault.vault import Vault

__all__ = ["sign_in"]

LIFETIME: Final = 10
"""Seconds for which a code can be approved, at most."""


@dataclass(slots=True)
class Prompt:
    """A code that a process shows to a user."""

    user: str
    host: Host
    since: float


class User:
    """Who is signed in, as far as `ensure_user` asks."""

    def __init__(self, vault: Vault, user_id: str) -> None:
        record = vault.record(user_id)
        self._vault = vault
        self.user_id = user_id
        self.scopes = (record and record.scopes) or ()
        self.token = record.access_token if record else ""

    async def renew(self, refused: str) -> str:
        """As of a user."""
        return await self._vault.renew_refused(self.user_id, refused)


async def sign_in(scene: Scene, delay: float) -> None:
    """Have the scene's user signed in; who is asked approves so many seconds later."""
    flow = cast("DeviceCodeFlow", Flow(scene, delay))
    lease_of = scene.process.vault.login_lease
    wait = cast("Flow", flow).wait
    await ensure_user(flow, SCOPES, lambda _code: None, scene.user, lease_of, wait)


class Flow:
    """What `ensure_user` needs of a flow."""

    def __init__(self, scene: Scene, delay: float) -> None:
        self._scene = scene
        self._world = scene.world
        self._process = scene.process
        self._vault = scene.process.vault
        self._host = scene.process.host
        self._delay = delay
        self.http = scene.process.http
        self._pairs: dict[str, Pair] = {}

    @property
    def users_scopes(self) -> Mapping[str, tuple[str, ...]]:
        """As of a flow."""
        return self._vault.mirror.scopes

    @property
    def tokens(self) -> Mapping[str, tuple[str, str | None]]:
        """As of a flow."""
        return self._vault.mirror.tokens

    @property
    def needs_login(self) -> Mapping[str, str]:
        """As of a flow."""
        return self._vault.mirror.needs_login

    def get_user_by_id(self, user_id: str) -> User:
        """As of a flow."""
        return User(self._vault, user_id)

    async def sync(self) -> None:
        """As of a flow."""
        await self._vault.sync()

    async def request_device_code(self, scopes: object) -> DeviceCode:
        """A code that can be approved for a while."""
        del scopes
        await asyncio.sleep(self._process.weather.latency())
        answer = {
            "device_code": "code",
            "user_code": "CODE",
            "verification_uri": "https://id.test/activate",
            "expires_in": min(LIFETIME, int(self._process.ttl)),
            "interval": 1,
        }
        return DeviceCode.from_answer(answer)

    async def wait(self, code: str, interval: float, timeout: float, idle: asyncio.Event) -> Token:
        """What comes when the user has approved."""
        del code, interval
        shown = Prompt(self._scene.user, self._host, self._world.loop.now)
        self._world.shows_code(shown)
        try:
            await asyncio.sleep(min(self._delay, timeout))
        finally:
            self._world.codes.remove(shown)
        if self._delay > timeout:
            raise TimeoutError
        idle.clear()
        pair = self._world.twitch.consent(self._scene.user)
        self._world.note("Twitch", "the user signs in", pair)
        self._pairs[pair.access] = pair
        return Token.from_answer(
            {
                "access_token": pair.access,
                "refresh_token": pair.refresh,
                "expires_in": int(self._world.profile.lifetime),
                "scope": list(SCOPES),
                "token_type": "bearer",
            }
        )

    async def validate_token(self, token: str) -> ValidateToken:
        """As of a flow."""
        return await self._vault.validate_token(token)

    async def add_user(self, access_token: str, refresh_token: str) -> User:
        """As of a flow."""
        del refresh_token
        pair = self._pairs[access_token]

        async def login() -> None:
            await self._process.login("add_user", pair)

        await self._world.decide(self._process, pair.user, pair, login, "add_user")()
        return self.get_user_by_id(pair.user)
