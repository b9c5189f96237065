"""The commands as JSON over HTTP: POST /control/<command> with {"args": [...], "kwargs": {...}}.

The answer is {"result": ...}, or 400 {"error": {"type": ..., "message": ...}}. A client or user is
named by its id. Only loopback gets in, and only with a JSON content type, which no web page can
send unasked.
"""

from __future__ import annotations

import inspect
import ipaddress
from dataclasses import fields, is_dataclass
from json import JSONDecodeError
from typing import TYPE_CHECKING, Final

from aiohttp import web

from .commands import Commands
from .faults import Gate
from .messages import JSON, encode
from .model import Client, Counts, Leak, Pair, RequestLog, Switches, User

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX: Final = "/control/"
COMMANDS: Final = frozenset(name for name in vars(Commands) if not name.startswith("_"))

_TYPE: Final = "$"
_TYPES: Final[dict[str, Callable[..., object]]] = {
    shape.__name__: shape for shape in (Client, Counts, Leak, Pair, RequestLog, Switches, User)
}
_ERRORS: Final[dict[str, type[Exception]]] = {
    error.__name__: error for error in (TypeError, ValueError, TimeoutError, RuntimeError)
}


def pack(value: object) -> object:
    """A result as JSON: a value object becomes an object that names its shape."""
    if isinstance(value, Gate):
        return value.number
    if is_dataclass(value) and not isinstance(value, type):
        parts = {item.name: pack(getattr(value, item.name)) for item in fields(value)}
        return {_TYPE: type(value).__name__, **parts}
    if isinstance(value, list | tuple | set | frozenset):
        return [pack(item) for item in value]
    return value


def unpack(value: object) -> object:
    """The reverse of `pack`; lists come back as tuples."""
    if isinstance(value, list):
        return tuple(unpack(item) for item in value)
    if isinstance(value, dict) and _TYPE in value:
        parts = {name: unpack(item) for name, item in value.items() if name != _TYPE}
        return _TYPES[value[_TYPE]](**parts)
    return value


def pack_argument(value: object) -> object:
    """An argument as JSON: a client or user becomes its id."""
    if isinstance(value, Client):
        return value.client_id
    if isinstance(value, User):
        return value.user_id
    if isinstance(value, dict):
        return {name: pack_argument(item) for name, item in value.items()}
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        return value
    return [pack_argument(item) for item in value]


def failure(error: object) -> Exception:
    """The exception that an error answer stands for."""
    if not isinstance(error, dict):
        return RuntimeError("the double's control answer cannot be read")
    kind = _ERRORS.get(str(error.get("type")), RuntimeError)
    return kind(str(error.get("message")))


async def serve(commands: Commands, request: web.BaseRequest) -> web.StreamResponse:
    """Answer one control request."""
    if not _is_loopback(request.remote) or request.content_type != JSON:
        return _error(403, PermissionError("control: JSON from loopback only"))
    name = request.path.removeprefix(PREFIX)
    if request.method != "POST" or name not in COMMANDS:
        return _error(404, ValueError(f"no command {name!r}"))
    try:
        body = await request.json() if request.can_read_body else {}
        result = await _run(commands, name, body)
    except JSONDecodeError:
        return _error(400, ValueError("the body is not JSON"))
    except (TypeError, ValueError, TimeoutError) as error:
        return _error(400, error)
    return web.Response(body=encode({"result": pack(result)}), content_type=JSON)


async def _run(commands: Commands, name: str, body: object) -> object:
    if not isinstance(body, dict):
        raise TypeError("expected a JSON object with 'args' and 'kwargs'")
    result = getattr(commands, name)
    if callable(result):
        result = result(*body.get("args", []), **body.get("kwargs", {}))
    return await result if inspect.isawaitable(result) else result


def _error(status: int, error: Exception) -> web.Response:
    text = {"type": type(error).__name__, "message": str(error)}
    return web.Response(status=status, body=encode({"error": text}), content_type=JSON)


def _is_loopback(remote: str | None) -> bool:
    return remote is not None and ipaddress.ip_address(remote).is_loopback
