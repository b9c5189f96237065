"""The commands as JSON over HTTP, and as coroutines for a double in a process of its own.

POST /control/<command> takes {"args": [...], "kwargs": {...}}. The answer is {"result": ...}, or
400 {"error": {"type": ..., "message": ...}}. A client or user is named by its id. Only loopback
gets in, and only with a JSON content type, which no web page can send unasked.

    python -m twitchvault.testing.fake --port 8080 --user alice
    curl -H 'content-type: application/json' -d '{"kwargs": {"public": true}}' \\
         http://127.0.0.1:8080/control/register_client
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import ipaddress
import json
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar, cast

import aiohttp
from aiohttp import web

from .commands import Addresses, Commands
from .faults import Faults, Gate
from .messages import JSON
from .model import Client, Counts, Pair, RequestLog, Switches, User

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from typing import Self

    from .faults import When

P = ParamSpec("P")
R = TypeVar("R")

MODULE: Final = "twitchvault.testing.fake"
READY_TIMEOUT: Final = 20.0
PREFIX: Final = "/control/"
COMMANDS: Final = frozenset(name for name in {**vars(Commands), **vars(Faults)} if name[0] != "_")

_TYPE: Final = "$"
_TYPES: Final[dict[str, Callable[..., object]]] = {
    kind.__name__: kind for kind in (Client, Counts, Pair, RequestLog, Switches, User)
}
_ERRORS: Final[dict[str, type[Exception]]] = {
    error.__name__: error for error in (TypeError, ValueError, TimeoutError, RuntimeError)
}


def _dumps(value: object) -> str:
    """JSON in which a dataclass is an object that names its type, and a gate is its number."""
    return json.dumps(value, default=_pack)


def _loads(text: str) -> object:
    """The reverse of `_dumps`; lists in a dataclass come back as tuples."""
    value: object = json.loads(text, object_hook=_unpack)
    return value


def _pack(value: object) -> object:
    if isinstance(value, Gate):
        return value.number
    if type(value).__name__ in _TYPES:
        return {_TYPE: type(value).__name__, **vars(value)}
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"the double's commands take no {type(value).__name__}")


def _unpack(value: dict[str, object]) -> object:
    if _TYPE not in value:
        return value
    parts = {name: tuple(v) if isinstance(v, list) else v for name, v in value.items()}
    return _TYPES[str(parts.pop(_TYPE))](**parts)


async def serve(commands: Commands, request: web.BaseRequest) -> web.StreamResponse:
    """Answer one control request."""
    local = request.remote is not None and ipaddress.ip_address(request.remote).is_loopback
    if not local or request.content_type != JSON:
        return _error(403, PermissionError("control: JSON from loopback only"))
    name = request.path.removeprefix(PREFIX)
    if request.method != "POST" or name not in COMMANDS:
        return _error(404, ValueError(f"no command {name!r}"))
    try:
        body = await request.json(loads=_loads) if request.can_read_body else {}
        result = await _run(commands, name, body)
    except json.JSONDecodeError:
        return _error(400, ValueError("the body is not JSON"))
    except (TypeError, ValueError, TimeoutError) as error:
        return _error(400, error)
    return web.json_response({"result": result}, dumps=_dumps)


async def _run(commands: Commands, name: str, body: object) -> object:
    if not isinstance(body, dict):
        raise TypeError("expected a JSON object with 'args' and 'kwargs'")
    result = getattr(commands, name)
    if callable(result):
        result = result(*body.get("args", []), **body.get("kwargs", {}))
    return await result if inspect.isawaitable(result) else result


def _error(status: int, error: Exception) -> web.Response:
    text = {"type": type(error).__name__, "message": str(error)}
    return web.json_response({"error": text}, status=status)


def _remote(
    command: Callable[Concatenate[Commands, P], R],
) -> Callable[Concatenate[RemoteTwitch, P], Coroutine[Any, Any, R]]:
    name = command.__name__

    @functools.wraps(command)
    async def call(self: RemoteTwitch, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return cast("R", await self.command(name, *args, **kwargs))

    return call


def _attribute(
    name: str, kind: Callable[[Any], R]
) -> Callable[[RemoteTwitch], Coroutine[Any, Any, R]]:
    @functools.wraps(vars(Commands)[name].fget)
    async def read(self: RemoteTwitch) -> R:
        return kind(await self.command(name))

    return read


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
            self._session = aiohttp.ClientSession(json_serialize=_dumps)

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
        async with self._session.post(f"{self.url}{PREFIX}{name}", json=body) as answer:
            content = await answer.json(loads=_loads)
        if "error" in content:
            error = content["error"]
            raise _ERRORS.get(error["type"], RuntimeError)(error["message"])
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
    subscriptions = _attribute("subscriptions", tuple[dict[str, object], ...])
    chatters = _attribute("chatters", lambda found: tuple(map(tuple[str, ...], found)))
    requests = _attribute("requests", tuple[RequestLog, ...])
    leaks = _attribute("leaks", tuple[RequestLog, ...])
    secrets = _attribute("secrets", frozenset[str])

    async def hold(
        self, endpoint: str, *, when: When = "before", match: Mapping[str, str] | None = None
    ) -> RemoteGate:
        """Hold every request to an endpoint; see `FakeTwitch.hold`."""
        number = await self.command("hold", endpoint, when=when, match=match)
        return RemoteGate(self, cast("int", number))

    async def counts(self) -> Counts:
        """A snapshot of the counters."""
        return cast("Counts", await self.command("counts"))


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
