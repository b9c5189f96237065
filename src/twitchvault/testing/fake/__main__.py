"""Run the double until SIGINT, SIGTERM, or (if wished) until stdin closes."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from .server import FakeTwitch


def main() -> None:
    """Parse the arguments and serve."""
    asyncio.run(_run(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m twitchvault.testing.fake", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--seed", type=int, help="makes tokens repeat")
    parser.add_argument("--ready-file", type=Path, help="also write the ready line to this file")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when stdin closes")
    parser.add_argument("--user", action="append", default=[], metavar="LOGIN", help="add a user")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if arguments.exit_with_stdin:
        _watch_stdin(loop, stop)
    twitch = FakeTwitch(arguments.port, seed=arguments.seed, host=arguments.host, control=True)
    for login in arguments.user:
        twitch.add_user(login)
    async with twitch:
        _print_ready_line(twitch, arguments.ready_file)
        await stop.wait()


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    descriptor = sys.stdin.fileno()

    def read() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            stop.set()

    loop.add_reader(descriptor, read)


def _print_ready_line(twitch: FakeTwitch, ready_file: Path | None) -> None:
    addresses = {"url": twitch.url, "id_url": twitch.id_url, "api_url": twitch.api_url}
    line = json.dumps({**addresses, "control_url": f"{twitch.url}/control/", "pid": os.getpid()})
    if ready_file is not None:
        partial = ready_file.with_suffix(".partial")
        partial.write_text(line + "\n", encoding="utf-8")
        partial.replace(ready_file)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
