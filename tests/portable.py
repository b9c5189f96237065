"""A process without what only POSIX systems have: uses each store or, with arguments, the command.

Nothing of ours is imported before those names are gone; other packages are, as they look for what
there is. What our loggers warn of is printed.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from cryptography.fernet import Fernet
from fakeredis import FakeAsyncRedis

if TYPE_CHECKING:
    from twitchvault import TokenStore

PACKAGES: Final = (
    "aiohttp.web aiosqlite pydantic redis.asyncio rich.live rich.progress rich.table segno typer"
)
OS: Final = (
    "O_CLOEXEC O_DIRECTORY O_NOFOLLOW chown fchdir fchmod fchown fork forkpty getegid "
    "geteuid getgid getpgid getsid getuid killpg lchown mkfifo nice openpty pipe2 posix_spawn "
    "pread pwrite register_at_fork setsid statvfs sync sysconf uname wait3 wait4"
)
SIGNAL: Final = (
    "ITIMER_REAL SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGUSR1 SIGUSR2 "
    "alarm pause pthread_kill pthread_sigmask setitimer siginterrupt sigwait"
)
TIME: Final = "CLOCK_BOOTTIME CLOCK_MONOTONIC CLOCK_REALTIME clock_gettime clock_settime tzset"
MODULES: Final = "fcntl grp pty pwd resource syslog termios tty"
LOOP: Final = "add_signal_handler create_unix_connection create_unix_server remove_signal_handler"


def _refuse(*_: object, **__: object) -> NoReturn:
    raise NotImplementedError


def take_away() -> None:
    """Leave no name in place that Windows lacks."""
    for package in PACKAGES.split():
        import_module(package)
    socket.socketpair = partial(socket.socketpair, socket.AF_UNIX)
    for module, names in ((os, OS), (signal, SIGNAL), (time, TIME), (socket, "AF_UNIX")):
        for name in names.split():
            vars(module).pop(name, None)
    for name in MODULES.split():
        sys.modules[name] = None  # type: ignore[assignment]
    multiprocessing.get_all_start_methods = lambda: ["spawn"]
    for name in LOOP.split():
        setattr(asyncio.SelectorEventLoop, name, _refuse)


async def use_stores(folder: Path) -> None:
    """On each store: a user signs in and is refreshed, and another flow sees the new pair."""
    import twitchvault as tv  # noqa: PLC0415 - the names are gone by now

    (folder / "open.db").touch(0o666)  # all files look so there
    for store in (
        tv.MemoryStore(),
        tv.SQLiteStore(folder / "new.db"),
        tv.open_store(f"sqlite:///{folder.as_posix()}/open.db"),
        tv.FernetStore(tv.SQLiteStore(folder / "secret.db"), [Fernet.generate_key()]),
        tv.RedisStore(FakeAsyncRedis()),
    ):
        await sign_in(store)
        await store.close()


async def sign_in(store: TokenStore) -> None:
    """One user, two flows."""
    from twitchvault import App, DeviceCodeFlow  # noqa: PLC0415
    from twitchvault.testing import FakeTwitch  # noqa: PLC0415

    async with FakeTwitch() as twitch:
        client = twitch.register_client(public=True)
        pair = twitch.issue_expired(client, twitch.add_user("alice"), ["chat:read"])
        flow, other = (
            kind(client.client_id, store=store, id_url=twitch.id_url, api_url=twitch.api_url)
            for kind in (DeviceCodeFlow, App)
        )
        async with flow, other:
            user = await flow.add_user(pair.access_token, pair.refresh_token)
            await other.sync()
            assert other.tokens[user.id] == flow.tokens[user.id]
            assert (await other.get_user_by_id(user.id).get_user()).login == "alice"
        assert twitch.counts.replays == 0


if __name__ == "__main__":
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # its debug mode says what is slow
    logging.getLogger("twitchvault").addHandler(logging.StreamHandler(sys.stdout))
    take_away()
    if sys.argv[1:]:
        import_module("twitchvault.cli").main()
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(use_stores(Path(name)))
