"""When tokens expire: some two seconds after all processes have them.

Not by the clock alone: on a machine that stalls for longer than a token lives, a token could expire
between its exchange and its first use, and a call would fail that no library can save.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from twitchvault.cli.demo.bot import fingerprint
from twitchvault.cli.demo.crew import PATIENCE, Crew
from twitchvault.cli.demo.place import DemoError

if TYPE_CHECKING:
    from twitchvault.testing.fake import Client, RemoteTwitch, User

__all__ = ["LIFETIME", "Expiry"]

LIFETIME: Final = 2.0
_POLL: Final = 0.02


class Expiry:
    """Lets access tokens expire until told to stop; `count` says how many."""

    def __init__(self, twitch: RemoteTwitch, client: Client, crew: Crew) -> None:
        self.count = 0
        self._twitch = twitch
        self._client = client
        self._crew = crew
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let no more expire; `run` returns once every process has the newest token."""
        self._stopping.set()

    async def run(self, user: User, delay: float = 0.0) -> None:
        """One token of this user after the other; the first one lives `delay` seconds longer."""
        await self._stopped_within(delay)
        mark = await self._renewed(user, "")
        while True:
            await self._crew.until_all_see(user.user_id, mark)
            if await self._stopped_within(LIFETIME):
                return
            self.count += await self._twitch.expire_access(user)
            mark = await self._renewed(user, mark)

    async def _renewed(self, user: User, old: str) -> str:
        """The fingerprint of the user's newest access token, once it is another than `old`."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            pair = await self._twitch.live_pair(self._client, user)
            if pair is None:
                msg = f"the double has cut off {user.login}: a spent refresh token was presented"
                raise DemoError(msg)
            mark = fingerprint(pair.access_token)
            if mark != old:
                return mark
            await asyncio.sleep(_POLL)
        msg = f"nobody has renewed the expired token of {user.login} within {PATIENCE:.0f} s"
        raise DemoError(msg)

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True
