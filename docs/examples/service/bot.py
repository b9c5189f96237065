"""A bot as a service: settings from the environment, a health page, and an end in order."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from aiohttp import web

from twitchvault import App, AuthFailure, TwitchVaultError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = logging.getLogger("bot")


async def work(app: App) -> None:
    """What the bot is for: here it asks Twitch for all its users, once a second."""
    fails = False
    while True:
        try:
            for user_id in [*app.users_scopes]:
                with suppress(AuthFailure):  # twitchvault has logged who has to sign in
                    await app.get_user_by_id(user_id).get_user()
            fails = False
        except TwitchVaultError as error:
            if not fails:
                log.warning("a round failed; trying on, each second: %s", error)
            fails = True
        await asyncio.sleep(1)


@asynccontextmanager
async def health_page(app: App, port: int) -> AsyncIterator[None]:
    """Answer GET /health, for this machine alone."""

    async def health(_: web.Request) -> web.Response:
        return web.json_response((await app.health()).as_dict())

    server = web.Application()
    server.router.add_get("/health", health)
    runner = web.AppRunner(server, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        await runner.cleanup()


async def main() -> None:
    """Run until SIGTERM or Ctrl-C cancels this task; leaving the blocks closes everything."""
    task = asyncio.current_task()
    if task is not None and sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    port = int(os.environ.get("BOT_HEALTH_PORT", "8081"))
    async with App.from_env() as app, health_page(app, port):
        log.info("%d users", len(app.users_scopes))
        await work(app)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    with suppress(asyncio.CancelledError, KeyboardInterrupt):
        asyncio.run(main())
