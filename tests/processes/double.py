"""The double as a process of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from twitchvault.testing import FakeTwitch

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def live(channel: Connection) -> None:
    """Tell the root URL, then serve until the other end of the channel is closed."""
    asyncio.run(_serve(channel))


async def _serve(channel: Connection) -> None:
    closed = asyncio.Event()
    async with FakeTwitch(seed=7, control=True) as twitch:
        channel.send(twitch.url)
        asyncio.get_running_loop().add_reader(channel.fileno(), closed.set)
        await closed.wait()
