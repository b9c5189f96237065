"""What an HTTP response says: its JSON, or the exception it stands for. Pure functions.

An error's text can echo what we sent: whatever is secret is cut out of it here. Of an answer that
cannot be used nothing is quoted.
"""

from __future__ import annotations

import json
import re
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, quote_plus

from twitchvault.errors import HTTPException, http_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from twitchvault.http import Answer

_TEXT: Final = "text instead of JSON"
_MESSAGE_LENGTH: Final = 200
_MOST_READ: Final = 2_000
"""Characters of a text that are looked at, so that a huge one does not hold up the loop."""

_MOST_SECRETS: Final = 50
"""Of an answer with more tokens than that no text is shown: to look for each of them takes long."""

_LEAST_CUT: Final = 8
"""Characters: so long a beginning of a secret is cut out of a text as the whole secret is."""

_DEEPEST: Final = 100
"""Levels of nesting that are read of an answer that Python cannot read as it is."""
_TEXT_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]+|\\.?)*"?|[\[{\]}]', re.DOTALL)

TOKEN_FIELDS: Final = frozenset(
    {"access_token", "client_secret", "device_code", "id_token", "refresh_token", "token"}
)
"""Fields whose values are secret wherever they stand in an answer."""
_CODES: Final = {
    code: code
    for code in (
        "access_denied", "authorization_pending", "expired_token", "invalid_client",
        "invalid_grant", "invalid_request", "invalid_scope", "slow_down", "unauthorized_client",
        "unsupported_grant_type",
    )
} | {"invalid refresh token": "invalid_grant"}  # fmt: skip
"""The error codes of RFC 6749 and RFC 8628, and what Twitch says in place of one."""


def json_of(answer: Answer, *secrets: str | None, salvage: bool = False) -> Any:  # noqa: ANN401
    """The JSON value of a good answer, None for an empty one.

    `salvage`: tokens may be in it, which must not be lost for an absurd value beside them. Errors:
    `error_of` for a status other than 2xx; a plain `HTTPException` with the answer's status if it
    is not JSON. `secrets` are cut out of both.
    """
    if not is_good(answer):
        raise error_of(answer, *secrets)
    if not answer.body.strip():
        return None
    readable, value = _decoded(answer, salvage=salvage)
    if not readable:
        raise unusable(answer, _kind(answer), secrets)
    return value


def error_of(answer: Answer, *secrets: str | None) -> HTTPException:
    """The exception for an answer that is not good.

    Reads Twitch's form, RFC 6749's (`error`, `error_description`) and plain text. `secrets`, and
    any token in the answer itself, are cut out of message and headers.
    """
    text, value = _text_and_value(answer)
    hide = _hide(secrets, value)
    # Of a code nothing is cut out, or somebody's token called "token" would hide a refusal.
    message = _one_line(text if text.casefold() in _CODES else hide(text))
    headers = {name: hide(field) for name, field in answer.headers.items()}
    error = http_error(answer.status, message, headers)
    error.error_code = _error_code(value)
    return error


def message_of(answer: Answer) -> str:
    """The text of `error_of` with whatever is secret still in it: to compare, never to show."""
    return _one_line(_text_and_value(answer)[0])


def is_good(answer: Answer) -> bool:
    """True for a status of 2xx."""
    return 200 <= answer.status < 300  # noqa: PLR2004


def refuses_token(answer: Answer) -> bool:
    """Whether a 401 is Twitch's own, of which a proxy or gateway in between knows nothing.

    It has Twitch's form or RFC 6749's, or speaks of a token. Twitch's mock API sends an empty one.
    """
    _, value = _decoded(answer)
    if not isinstance(value, dict):
        return not answer.body.strip()
    message, error, _ = _error_fields(value)
    return value.get("status") == answer.status or bool(error) or "token" in message.casefold()


def looks_like_json(answer: Answer) -> bool:
    """By the first byte alone, or empty: a page of a proxy's says nothing about a token."""
    return answer.body.lstrip()[:1] in {b"", b"{", b"["}


def unusable(answer: Answer, problem: str, secrets: Iterable[str | None]) -> HTTPException:
    """The exception for a 2xx answer that cannot be used; `problem` says why."""
    hide = _hide(secrets, _decoded(answer, salvage=True)[1])
    headers = {name: hide(field) for name, field in answer.headers.items()}
    return HTTPException(answer.status, f"the answer cannot be used: {problem}", headers)


def _decoded(answer: Answer, *, salvage: bool = False) -> tuple[bool, Any]:
    try:
        return True, json.loads(answer.body, object_pairs_hook=_object if salvage else None)
    except (ValueError, RecursionError):
        return _salvaged(answer) if salvage else (False, None)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a name that stands twice, the last text counts: a token, and not the null after it."""
    texts = {name: value for name, value in pairs if value and isinstance(value, str)}
    return dict(pairs) | texts


def _salvaged(answer: Answer) -> tuple[bool, Any]:
    """What is no UTF-8 becomes U+FFFD, a number too long for Python infinity, and what is nested
    too deep null; control characters stay.
    """
    text = _shallow(answer.body.decode("utf-8-sig", errors="replace"))
    try:
        return True, json.loads(text, strict=False, parse_int=_int, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return False, None


def _int(digits: str) -> float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _shallow(text: str) -> str:
    parts, depth, end = [""], 0, 0
    for found in _TEXT_OR_BRACKET.finditer(text):
        if found[0] in "[{":
            depth += 1
            if depth == _DEEPEST:
                parts += [text[end : found.start()], "null"]
        elif found[0] in "]}":
            if depth == _DEEPEST:
                end = found.end()
            depth -= 1
    return "".join([*parts, text[end:]])


def _text_and_value(answer: Answer) -> tuple[str, Any]:
    readable, value = _decoded(answer)
    if not readable:
        kind = _kind(answer)
        text = answer.body[:_MOST_READ].decode(errors="replace") if kind == _TEXT else kind
    elif isinstance(value, dict):
        message, *rfc = _error_fields(value)
        text = message or ": ".join(filter(None, rfc))
    else:
        text = "JSON, but not an object"
    return text[:_MOST_READ].strip(), value


def _kind(answer: Answer) -> str:
    start = answer.body[:64].removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start == b"<" or "html" in answer.headers.get("Content-Type", "").lower():
        return "an HTML page instead of JSON"
    return "cut off or malformed JSON" if start in {b"{", b"["} else _TEXT


def _error_code(value: object) -> str:
    fields = _error_fields(value) if isinstance(value, dict) else []
    return next((_CODES[field.casefold()] for field in fields if field.casefold() in _CODES), "")


def _error_fields(value: dict[str, Any]) -> list[str]:
    """Twitch's `message`, RFC 6749's `error` and `error_description`; "" for what is not there."""
    fields = [value.get(name) for name in ("message", "error", "error_description")]
    return [field.strip() if isinstance(field, str) else "" for field in fields]


def _one_line(text: str) -> str:
    line = text.strip().partition("\n")[0]
    line = " ".join("".join(char if char.isprintable() else " " for char in line).split())
    return line if len(line) <= _MESSAGE_LENGTH else f"{line[:_MESSAGE_LENGTH]}..."


def _hide(secrets: Iterable[str | None], answer: object) -> Callable[[str], str]:
    """A function that cuts secrets, and beginnings of secrets, out of a text.

    They are the ones given, and the tokens in an answer.
    """
    known = {text for text in (*secrets, *_tokens_in(answer)) if text}
    if len(known) > _MOST_SECRETS:
        return lambda _: "[secret]"
    spellings = {spelling for text in known for spelling in _spellings(text)}
    starts = "|".join(re.escape(spelling[:_LEAST_CUT]) for spelling in spellings)
    pattern = re.compile(starts or r"(?!)", re.IGNORECASE)

    def hide(text: str) -> str:
        parts, end = "", 0
        while found := pattern.search(text, end):
            parts += f"{text[end : found.start()]}[secret]"
            rest = text[found.start() :]
            end = max(found.end(), found.start() + max(_alike(rest, each) for each in spellings))
        return parts + text[end:]

    return hide


def _alike(text: str, secret: str) -> int:
    """How many characters both begin with, in upper or lower case."""
    pairs = zip(text, secret, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0].casefold() == pair[1].casefold(), pairs))


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
