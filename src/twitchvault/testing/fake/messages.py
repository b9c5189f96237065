"""Requests and answers as the handlers see them, and the bodies that Twitch sends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from multidict import MultiMapping

JSON: Final = "application/json"
HELIX_JSON: Final = "application/json; charset=utf-8"
TEXT: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html"
DROPPED: Final = 0
"""The status of an answer that is never sent: the connection is cut instead."""
HTML_PAGE: Final = (
    "<html><head><title>503 Backend fetch failed</title></head>"
    "<body><h1>Error 503 Backend fetch failed</h1><p>Guru Meditation</p></body></html>\n"
)
"""The body of a 502 or 503 that a cache layer sends."""
_429: Final = {"error": "Too Many Requests", "status": 429}
TOO_MANY_CALLS: Final = _429 | {
    "message": "The application exceeded the number of calls it may make."
    " For details, see Rate Limits in the Twitch API documentation."
}
"""The body of a 429 of Helix that comes while the bucket has points left."""
TOO_MANY_SUBSCRIPTIONS: Final = _429 | {
    "message": "maximum subscriptions with type and condition exceeded"
}
"""The body of a 429 of Helix after which waiting does not help."""


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

    @property
    def credentials(self) -> tuple[str, str]:
        """The Authorization header as (scheme in lower case, value); empty where it is missing."""
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        return scheme.lower(), value.strip()


@dataclass(slots=True)
class Answer:
    """What goes back. An empty body is sent without a content type."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


Handler: TypeAlias = "Callable[[Call], Answer]"


def encode(value: object, end: str = "\n") -> bytes:
    """Minimal JSON; the identity service ends it with a newline, Helix does not."""
    return (json.dumps(value, separators=(",", ":")) + end).encode()


def identity_error(status: int, message: str) -> Answer:
    """The identity service's two-key error body."""
    return Answer(status, encode({"status": status, "message": message}))


def helix_answer(status: int, value: object) -> Answer:
    """A JSON answer of Helix."""
    return Answer(status, encode(value, end=""), HELIX_JSON)


def helix_error(status: int, message: str) -> Answer:
    """Helix's three-key error body."""
    reason = HTTPStatus(status).phrase
    return helix_answer(status, {"error": reason, "status": status, "message": message})


def not_found() -> Answer:
    """The plain text of a path that does not exist, and of GET on /oauth2/token."""
    return Answer(404, b"404 page not found\n", TEXT)


def fault_answer(endpoint: str, status: int, body: str | Mapping[str, object] | None) -> Answer:
    """The answer of a fault; without a body it is what that service sends with that status."""
    helix = endpoint.startswith("helix")
    if isinstance(body, Mapping):
        return helix_answer(status, body) if helix else Answer(status, encode(body))
    answer = _usual_answer(status, helix=helix)
    if body is not None:
        answer.body = body.encode()
        answer.content_type = HTML if body.lstrip().startswith("<") else answer.content_type
    return answer


def _usual_answer(status: int, *, helix: bool) -> Answer:
    limited = status == HTTPStatus.TOO_MANY_REQUESTS
    if status < HTTPStatus.BAD_REQUEST or (limited and not helix):
        return Answer(status, content_type=HELIX_JSON if helix else JSON)
    if helix:
        return helix_error(status, "Request limit exceeded" if limited else "")
    return not_found() if status == HTTPStatus.NOT_FOUND else identity_error(status, "")
