"""A bot that shares tokens with others through Valkey, and ends in order when it is stopped."""

from __future__ import annotations

import asyncio
import signal
import sys

from twitchvault import App


async def main() -> None:
    """Run until SIGTERM."""
    stop = asyncio.Event()
    if sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with App.from_env() as app:
        print(f"{len(app.users_scopes)} users")  # begin your bot's tasks here
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
