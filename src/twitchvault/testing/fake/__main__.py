"""Run the double until SIGINT, SIGTERM, or (if wished) until stdin closes."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from .server import FakeTwitch

if TYPE_CHECKING:
    from collections.abc import Callable


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m twitchvault.testing.fake", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--seed", type=int, help="makes tokens repeat")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when stdin closes")
    parser.add_argument("--user", action="append", default=[], metavar="LOGIN", help="add a user")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def end(*_: object) -> None:
        with suppress(RuntimeError):  # the loop may have ended already
            loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    if arguments.exit_with_stdin:
        threading.Thread(target=_watch_stdin, args=(end,), daemon=True).start()
    twitch = FakeTwitch(arguments.port, seed=arguments.seed, host=arguments.host, control=True)
    for login in arguments.user:
        twitch.add_user(login)
    async with twitch:
        ready = {"url": twitch.url, "id_url": twitch.id_url, "api_url": twitch.api_url}
        ready["control_url"] = f"{twitch.url}/control/"
        print(json.dumps(ready | {"pid": os.getpid()}), flush=True)  # noqa: T201 - its output
        await stop.wait()


def _watch_stdin(end: Callable[[], None]) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    end()


if __name__ == "__main__":
    asyncio.run(_run(_arguments()))
