"""A request and an answer as the handlers see them, and the shapes of Twitch's bodies."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from multidict import MultiMapping

JSON: Final = "application/json"
TEXT: Final = "text/plain"
HTML: Final = "text/html"
DROPPED: Final = 0
"""The status of an answer that is never sent: the connection is cut instead."""


@dataclass(slots=True)
class Call:
    """A request whose body has been read. `params` has body and query; the body wins."""

    method: str
    path: str
    query: MultiMapping[str]
    form: Mapping[str, str]
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    base: str
    json: object = None
    endpoint: str = ""
    params: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.params = {**self.query, **self.form}


@dataclass(slots=True)
class Answer:
    """What goes back: status, body, content type, further headers."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


Handler: TypeAlias = "Callable[[Call], Answer]"


def encode(value: object) -> bytes:
    """Minimal JSON with a newline at the end, as the service sends it."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def identity_error(status: int, message: str) -> Answer:
    """The identity service's two-key error body."""
    return Answer(status, encode({"status": status, "message": message}))


def helix_error(status: int, message: str) -> Answer:
    """Helix's three-key error body."""
    reason = HTTPStatus(status).phrase
    return Answer(status, encode({"error": reason, "status": status, "message": message}))


def not_found() -> Answer:
    """The plain text that stands where no endpoint is, GET on /oauth2/token for one."""
    return Answer(404, b"404 page not found\n", TEXT)


def credentials(call: Call) -> tuple[str, str]:
    """The Authorization header as (scheme in lower case, value); empty if absent or unusable."""
    scheme, _, value = call.headers.get("Authorization", "").partition(" ")
    return scheme.lower(), value.strip()
