"""The commands as JSON over HTTP: POST /control/<command> with {"args": [...], "kwargs": {...}}.

The answer is {"result": ...}, or 400 {"error": {"type": ..., "message": ...}}. A client or user is
named by its id. Only loopback gets in, and only with a JSON content type, which no web page can
send unasked.

    python -m twitchvault.testing.fake --port 8080 --user alice
    curl -H 'content-type: application/json' -d '{"kwargs": {"public": true}}' \\
         http://127.0.0.1:8080/control/register_client
"""

from __future__ import annotations

import inspect
import ipaddress
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from aiohttp import web

from .commands import Commands
from .faults import Faults, Gate
from .messages import JSON
from .model import Client, Counts, Pair, RequestLog, Switches, User

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX: Final = "/control/"
COMMANDS: Final = frozenset(name for name in {**vars(Commands), **vars(Faults)} if name[0] != "_")

_TYPE: Final = "$"
_TYPES: Final[dict[str, Callable[..., object]]] = {
    kind.__name__: kind for kind in (Client, Counts, Pair, RequestLog, Switches, User)
}
_ERRORS: Final[dict[str, type[Exception]]] = {
    error.__name__: error for error in (TypeError, ValueError, TimeoutError, RuntimeError)
}


def dumps(value: object) -> str:
    """JSON in which a dataclass is an object that names its type, and a gate is its number."""
    return json.dumps(value, default=_pack)


def loads(text: str) -> object:
    """The reverse of `dumps`; lists in a dataclass come back as tuples."""
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


def error_of(answer: Mapping[str, str]) -> Exception:
    """The exception that an error answer stands for."""
    return _ERRORS.get(answer["type"], RuntimeError)(answer["message"])


async def serve(commands: Commands, request: web.BaseRequest) -> web.StreamResponse:
    """Answer one control request."""
    local = request.remote is not None and ipaddress.ip_address(request.remote).is_loopback
    if not local or request.content_type != JSON:
        return _error(403, PermissionError("control: JSON from loopback only"))
    name = request.path.removeprefix(PREFIX)
    if request.method != "POST" or name not in COMMANDS:
        return _error(404, ValueError(f"no command {name!r}"))
    try:
        body = await request.json(loads=loads) if request.can_read_body else {}
        result = await _run(commands, name, body)
    except json.JSONDecodeError:
        return _error(400, ValueError("the body is not JSON"))
    except (TypeError, ValueError, TimeoutError) as error:
        return _error(400, error)
    return web.json_response({"result": result}, dumps=dumps)


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
