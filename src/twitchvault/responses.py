"""What an HTTP response says: its JSON, or the exception it stands for. Pure functions.

An error's text comes from the service and can echo what we sent: whatever is secret is cut out of
it here. Of an answer that cannot be used nothing is quoted at all.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, quote_plus

from twitchvault.errors import HTTPException, http_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from twitchvault.http import Answer

__all__ = [
    "NO_OBJECT",
    "TOKEN_FIELDS",
    "error_of",
    "is_good",
    "is_page",
    "json_of",
    "message_of",
    "unusable",
]

NO_OBJECT: Final = "JSON, but not an object"
_TEXT: Final = "text instead of JSON"
_CUT: Final = "[secret]"
_MESSAGE_LENGTH: Final = 200

TOKEN_FIELDS: Final = frozenset(
    {"access_token", "client_secret", "device_code", "id_token", "refresh_token", "token"}
)
"""Fields whose values are secret wherever they stand in an answer."""
_LABELLED_SECRET: Final = re.compile(
    # "invalid_token: ..." is an error code of RFC 6750, and what follows it no secret.
    r"""((?:access_token|client_secret|device_code|(?<!inval)id_token|refresh_token)"""
    r"""["']?\s*[:=]\s*["']?)[^\s"',;&}]+""",
    re.IGNORECASE,
)
_IN_WORDS: Final = {"invalid refresh token": "invalid_grant"}
"""What Twitch says where the RFC has an error code."""
_ERROR_CODES: Final = frozenset(
    {
        "access_denied",
        "authorization_pending",
        "expired_token",
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "slow_down",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)
_PROTOCOL_WORDS: Final = _ERROR_CODES | _IN_WORDS.keys()
"""Never taken for a secret, even if somebody's token is called "token"."""


def json_of(answer: Answer, *secrets: str | None) -> Any:  # noqa: ANN401
    """The JSON value of a good answer, None for an empty one. Serves Helix answers too.

    Errors: `error_of` for a status other than 2xx; a plain `HTTPException` with the answer's
    status if it is not JSON. `secrets` are cut out of both.
    """
    if not is_good(answer):
        raise error_of(answer, *secrets)
    if not answer.body.strip():
        return None
    readable, data = _decoded(answer.body)
    if not readable:
        raise unusable(answer, _kind(answer), secrets)
    return data


def error_of(answer: Answer, *secrets: str | None) -> HTTPException:
    """The exception for an answer that is not good. Serves Helix answers too.

    Reads Twitch's form (`status`, `message`), RFC 6749's (`error`, `error_description`) and plain
    text. `secrets`, and any token in the answer itself, are cut out of message and headers.
    """
    text, data = _text_and_data(answer)
    hide = _Scrubber(secrets, data)
    error = http_error(answer.status, _one_line(hide(text)), hide.headers(answer))
    error.error_code = _error_code(data)
    return error


def message_of(answer: Answer) -> str:
    """The text of `error_of` with whatever is secret still in it: to compare, never to show."""
    return _one_line(_text_and_data(answer)[0])


def is_good(answer: Answer) -> bool:
    """True for a status of 2xx."""
    return 200 <= answer.status < 300  # noqa: PLR2004


def is_page(answer: Answer) -> bool:
    """True for a body that is not JSON: Twitch's identity service sends none."""
    return bool(answer.body.strip()) and not _decoded(answer.body)[0]


def unusable(answer: Answer, problem: str, secrets: Iterable[str | None]) -> HTTPException:
    """The exception for a 2xx answer that cannot be used; `problem` says why."""
    hide = _Scrubber(secrets, _decoded(answer.body)[1])
    message = f"the answer cannot be used: {problem}"
    return HTTPException(answer.status, message, hide.headers(answer))


def _text_and_data(answer: Answer) -> tuple[str, Any]:
    readable, data = _decoded(answer.body)
    return (_message(data) if readable else _plain(answer)), data


def _decoded(body: bytes) -> tuple[bool, Any]:
    try:
        return True, json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return False, None


def _message(data: object) -> str:
    if not isinstance(data, dict):
        return NO_OBJECT
    message, *rfc = _error_fields(data)
    return message or ": ".join(field for field in rfc if field)


def _error_code(data: object) -> str:
    for field in _error_fields(data) if isinstance(data, dict) else ():
        code = _IN_WORDS.get(field.casefold(), field.casefold())
        if code in _ERROR_CODES:
            return code
    return ""


def _error_fields(data: dict[str, Any]) -> list[str]:
    """Twitch's `message`, RFC 6749's `error` and `error_description`; "" for what is not there."""
    fields = [data.get(name) for name in ("message", "error", "error_description")]
    return [field.strip() if isinstance(field, str) else "" for field in fields]


def _kind(answer: Answer) -> str:
    start = answer.body[:64].removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start == b"<" or "html" in answer.headers.get("Content-Type", "").lower():
        return "an HTML page instead of JSON"
    return "cut off or malformed JSON" if start in {b"{", b"["} else _TEXT


def _plain(answer: Answer) -> str:
    kind = _kind(answer) if answer.body.strip() else ""
    return answer.body.decode(errors="replace") if kind == _TEXT else kind


def _one_line(text: str) -> str:
    line = text.strip().partition("\n")[0]
    if not line.isprintable():
        line = "".join(char if char.isprintable() else " " for char in line)
    line = " ".join(line.split())
    return line if len(line) <= _MESSAGE_LENGTH else f"{line[:_MESSAGE_LENGTH]}..."


class _Scrubber:
    """Cuts secrets out of texts: the ones given, and the tokens in an answer."""

    def __init__(self, secrets: Iterable[str | None], answer: object) -> None:
        known = {text for text in (*secrets, *_tokens_in(answer)) if text}
        spellings = {spelt for text in known for spelt in _spellings(text)}
        # Longest first, so that no part of a secret is left because another is its beginning.
        ordered = sorted(spellings, key=len, reverse=True)
        self._known = (
            re.compile("|".join(map(re.escape, ordered)), re.IGNORECASE) if ordered else None
        )

    def __call__(self, text: str) -> str:
        if text.strip().casefold() in _PROTOCOL_WORDS:
            return text
        if self._known is not None:
            text = self._known.sub(_CUT, text)
        return _LABELLED_SECRET.sub(rf"\1{_CUT}", text)

    def headers(self, answer: Answer) -> dict[str, str]:
        return {name: self(value) for name, value in answer.headers.items()}


def _spellings(text: str) -> set[str]:
    in_url = {quote(text, safe=safe, errors="replace") for safe in ("", "/")}
    return {text, quote_plus(text, errors="replace"), json.dumps(text)[1:-1], *in_url}


def _tokens_in(answer: object) -> Iterator[str]:
    todo: list[tuple[object, bool]] = [(answer, False)]
    while todo:
        value, secret = todo.pop()
        if isinstance(value, dict):
            todo += [(item, secret or key in TOKEN_FIELDS) for key, item in value.items()]
        elif isinstance(value, list):
            todo += [(item, secret) for item in value]
        elif secret and isinstance(value, str):
            yield value
