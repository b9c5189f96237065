"""The double as a process of its own, and its commands as coroutines."""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar, cast

import aiohttp

from . import control
from .commands import Addresses, Commands

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from typing import Self

    from .faults import When
    from .model import Counts, RequestLog

P = ParamSpec("P")
R = TypeVar("R")

MODULE: Final = "twitchvault.testing.fake"
READY_TIMEOUT: Final = 20.0


def _remote(
    command: Callable[Concatenate[Commands, P], R],
) -> Callable[Concatenate[RemoteTwitch, P], Coroutine[Any, Any, R]]:
    name = command.__name__

    @functools.wraps(command)
    async def call(self: RemoteTwitch, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return cast("R", await self.command(name, *args, **kwargs))

    return call


class RemoteTwitch(Addresses):
    """A double that runs elsewhere on this machine, by its root URL; `async with` it.

    The commands are those of `FakeTwitch`, as coroutines. What they return is a copy: a client's
    switches are changed by `switch`, settings by `configure`.
    """

    def __init__(self, url: str = "") -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the connection for commands."""
        if self._session is None:
            self._session = aiohttp.ClientSession(json_serialize=control.dumps)

    async def close(self) -> None:
        """Close the connection for commands; the double runs on."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def command(self, name: str, /, *args: object, **kwargs: object) -> object:
        """Run any command by its name."""
        if self._session is None:
            raise RuntimeError("not connected: 'async with' the double first")
        body = {"args": args, "kwargs": kwargs}
        async with self._session.post(f"{self.url}{control.PREFIX}{name}", json=body) as answer:
            content = await answer.json(loads=control.loads)
        if "error" in content:
            raise control.error_of(content["error"])
        result = content["result"]
        return tuple(result) if isinstance(result, list) else result

    register_client = _remote(Commands.register_client)
    switch = _remote(Commands.switch)
    configure = _remote(Commands.configure)
    rotate_secret = _remote(Commands.rotate_secret)
    add_user = _remote(Commands.add_user)
    rename = _remote(Commands.rename)
    issue = _remote(Commands.issue)
    issue_expired = _remote(Commands.issue_expired)
    live_pair = _remote(Commands.live_pair)
    is_live = _remote(Commands.is_live)
    validations_of = _remote(Commands.validations_of)
    expire_access = _remote(Commands.expire_access)
    kill_access_token = _remote(Commands.kill_access_token)
    kill_app_tokens = _remote(Commands.kill_app_tokens)
    disconnect = _remote(Commands.disconnect)
    change_password = _remote(Commands.change_password)
    approve = _remote(Commands.approve)
    deny = _remote(Commands.deny)
    auto_approve = _remote(Commands.auto_approve)
    auto_consent = _remote(Commands.auto_consent)
    add_resource = _remote(Commands.add_resource)
    fail = _remote(Commands.fail)
    delay = _remote(Commands.delay)
    clear_faults = _remote(Commands.clear_faults)
    now = _remote(Commands.now)
    advance = _remote(Commands.advance)

    notify = _remote(Commands.notify)
    say = _remote(Commands.say)
    reconnect_sockets = _remote(Commands.reconnect_sockets)
    drop_sockets = _remote(Commands.drop_sockets)

    async def subscriptions(self) -> tuple[dict[str, object], ...]:
        """The EventSub subscriptions that live, as Helix shows them."""
        return cast("tuple[dict[str, object], ...]", await self.command("subscriptions"))

    async def chatters(self) -> tuple[tuple[str, ...], ...]:
        """Who is in chat: the login, then the channels."""
        found = cast("tuple[list[str], ...]", await self.command("chatters"))
        return tuple(map(tuple, found))

    async def hold(
        self, endpoint: str, *, when: When = "before", match: Mapping[str, str] | None = None
    ) -> RemoteGate:
        """Hold every request to an endpoint; see `FakeTwitch.hold`."""
        number = await self.command("hold", endpoint, when=when, match=match)
        return RemoteGate(self, cast("int", number))

    async def counts(self) -> Counts:
        """A snapshot of the counters."""
        return cast("Counts", await self.command("counts"))

    async def requests(self) -> tuple[RequestLog, ...]:
        """The last 10 000 requests, oldest first."""
        return cast("tuple[RequestLog, ...]", await self.command("requests"))

    async def leaks(self) -> tuple[RequestLog, ...]:
        """The requests that brought a secret or a token in the query string."""
        return cast("tuple[RequestLog, ...]", await self.command("leaks"))

    async def secrets(self) -> frozenset[str]:
        """Every secret, token and code that was ever handed out: for leak tests."""
        return frozenset(cast("tuple[str, ...]", await self.command("secrets")))


class RemoteGate:
    """A gate in another process: as `Gate`, with coroutines."""

    def __init__(self, twitch: RemoteTwitch, number: int) -> None:
        self._twitch = twitch
        self.number = number

    async def reached(self, count: int = 1, timeout: float = 10) -> None:
        """Return once `count` requests have arrived; TimeoutError after `timeout` seconds."""
        await self._twitch.command("reached", self.number, count, timeout)

    async def release(self) -> None:
        """Let every request go, those that come later too."""
        await self._twitch.command("release", self.number)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.release()


class FakeTwitchProcess(RemoteTwitch):
    """The double as a process of its own; its commands are coroutines.

    port, seed: as for `FakeTwitch`. It ends with its context, and when this process dies.
    """

    def __init__(self, port: int = 0, *, seed: int | None = None) -> None:
        super().__init__()
        self._arguments = ["--port", str(port), "--exit-with-stdin"]
        if seed is not None:
            self._arguments += ["--seed", str(seed)]
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        if self._process is None:
            raise RuntimeError("the double is not running: 'async with' it first")
        return self._process.pid

    async def start(self) -> None:
        """Start the process; RuntimeError if it is not ready in time."""
        if self._process is not None:
            return
        pipe = asyncio.subprocess.PIPE
        command = [sys.executable, "-m", MODULE, *self._arguments]
        self._process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        try:
            self._url = await self._ready(self._process)
            await super().start()
        except BaseException:
            await self.close()
            raise

    async def _ready(self, process: asyncio.subprocess.Process) -> str:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(READY_TIMEOUT):
                line = await process.stdout.readline()
        except TimeoutError:
            raise RuntimeError(f"the double was not ready in {READY_TIMEOUT:.0f} s") from None
        if not line:
            raise RuntimeError("the double ended before it was ready; see its error output")
        return str(json.loads(line)["url"])

    async def close(self) -> None:
        """End the process; idempotent, and bounded in time."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            # First of all and without a wait, so that a cancelled close leaves no process behind.
            process.stdin.close()
            with suppress(ProcessLookupError):
                process.kill()
        await super().close()
        if process is not None:
            await process.wait()
