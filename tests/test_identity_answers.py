"""Reading answers: every malformed one is an error of the documented kind that leaks nothing."""

from __future__ import annotations

import json
import pickle
import time
import traceback
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from twitchvault.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    HTTPException,
    NoAnswer,
    NotFound,
    RateLimited,
    TwitchServerError,
    Unauthorized,
)
from twitchvault.http import Answer
from twitchvault.identity import parse, refused_grant
from twitchvault.models import AnswerModel, ClientCredentials, DeviceCode, Token, ValidateToken
from twitchvault.responses import error_of, message_of

CANARY = "canary-5ecret"
"""Stands for what is secret in an answer."""
SENT = "canary/sent=%20ä"
"""Stands for what is secret in a request."""

GOOD: dict[type[AnswerModel], dict[str, Any]] = {
    Token: {"access_token": CANARY},
    DeviceCode: {"device_code": CANARY, "user_code": "AB", "verification_uri": "https://x"},
    ValidateToken: {"client_id": "abc"},
    ClientCredentials: {"access_token": CANARY},
}


def answer(status: int, body: bytes | str | object, **headers: str) -> Answer:
    """An answer with these headers; a body that is no text is sent as JSON."""
    if not isinstance(body, bytes | str):
        body = json.dumps(body)
    raw = body.encode() if isinstance(body, str) else body
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Answer(status, CIMultiDictProxy(named), raw)


def visible(error: BaseException) -> str:
    """All that a log could show of an error."""
    text = "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
    assert error.__cause__ is None
    assert error.__context__ is None
    return text


@pytest.mark.parametrize("model", GOOD)
def test_good_answers(model: type[AnswerModel]) -> None:
    """A minimal answer is enough, whatever its content type, with or without a byte order mark."""
    text = json.dumps(GOOD[model])
    for body in (text, f"{text}\n", b"\xef\xbb\xbf" + text.encode()):
        for kind in ("application/json", "text/html", "text/plain; charset=latin-1"):
            assert parse(model, answer(200, body, Content_Type=kind)).raw == GOOD[model]


@pytest.mark.parametrize("model", GOOD)
@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (f'{{"access_token": "{CANARY}", "refre', "cut off or malformed JSON"),
        (f'{{"device_code": "{CANARY}"}} trailing', "cut off or malformed JSON"),
        (f'{{"access_token": "{CANARY}", "x": {"[" * 5000}}}', "cut off or malformed JSON"),
        (f'{{"access_token": "{CANARY}", "x": {"9" * 5000}', "cut off or malformed JSON"),
        ({"access_token": CANARY}.__repr__().encode("utf-16")[:-1], "text instead of JSON"),
        (f"<html>{CANARY}</html>", "an HTML page instead of JSON"),
        (CANARY.encode() + b"\xe4\xf6\xfc\xff", "text instead of JSON"),
        ([{"access_token": CANARY}], "JSON, but not an object"),
        ("", "is missing"),
        ({"status": 200, "message": CANARY}, "is missing"),
        ({"data": {"access_token": CANARY}}, "is missing"),
    ],
)
def test_unusable_answers(model: type[AnswerModel], body: object, problem: str) -> None:
    """A 200 that cannot be used says why in an error of that status, and quotes nothing."""
    bad = answer(200, body, Content_Type="text/plain", X_Echo=f"a {SENT} b")
    with pytest.raises(HTTPException) as caught:
        parse(model, bad, SENT, None)
    error = caught.value
    assert type(error) is HTTPException
    assert error.status == 200
    assert error.message.startswith("the answer cannot be used: ")
    assert error.message.endswith(problem)
    assert CANARY not in visible(error)
    assert SENT not in visible(error)


NEEDED = [(model, field) for model, fields in GOOD.items() for field in fields]


@pytest.mark.parametrize(("model", "field"), NEEDED)
def test_missing_field_is_named(model: type[AnswerModel], field: str) -> None:
    """What is missing or of a wrong type is named, not shown."""
    missing: list[dict[str, Any]] = [{}, {field: None}, {field: ""}]
    wrong: list[dict[str, Any]] = [
        {field: value} for value in (5, True, [CANARY], {"a": CANARY}, "\ud800", "\ufffd")
    ]
    rest = {name: value for name, value in GOOD[model].items() if name != field}
    for given in missing + wrong:
        with pytest.raises(HTTPException) as caught:
            parse(model, answer(200, rest | given))
        problem = "is missing" if given in missing else "is not as documented"
        assert str(caught.value) == f"200: the answer cannot be used: {field!r} {problem}"
        assert CANARY not in visible(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (418, HTTPException),
        (429, RateLimited),
        (500, TwitchServerError),
        (599, TwitchServerError),
    ],
)
def test_status_decides_the_kind(status: int, kind: type[HTTPException]) -> None:
    """Every status that is not 2xx is its own kind of error, for every parser."""
    for model in GOOD:
        with pytest.raises(kind) as caught:
            parse(model, answer(status, {"status": 400, "message": "said"}))
        assert type(caught.value) is kind
        assert (caught.value.status, caught.value.message) == (status, "said")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"status": 400, "message": "invalid client"}, "invalid client"),
        ({"error": "Bad Request", "status": 400, "message": "why"}, "why"),
        ({"error": "Internal Server Error", "status": 500, "message": ""}, "Internal Server Error"),
        ({"error": "invalid_grant", "error_description": "gone"}, "invalid_grant: gone"),
        ({"message": {"refresh_token": CANARY}, "error": 5}, ""),
        ({"message": ["a"], "error": "b"}, "b"),
        (5, "JSON, but not an object"),
        ("", ""),
        ("404 page not found\n", "404 page not found"),
        ("first line\nsecond line", "first line"),
        ("tab\tand\x1b[31mred\x07", "tab and [31mred"),
        ("x" * 1000, "x" * 200 + "..."),
        (b"caf\xe9", "caf\ufffd"),
        ("<html><body>503</body></html>", "an HTML page instead of JSON"),
        ('{"status":400,"mess', "cut off or malformed JSON"),
        (b'\xef\xbb\xbf{"message": "marked"}', "marked"),
    ],
)
def test_message_of_an_error(body: object, message: str) -> None:
    """Both documented forms and plain text are read; anything else is described in a few words."""
    assert error_of(answer(400, body)).message == message
    assert message_of(answer(400, body)) == message


def test_html_by_content_type() -> None:
    """A page that does not look like one is known by its content type."""
    error = error_of(answer(503, "Service Unavailable", Content_Type="Text/HTML; charset=x"))
    assert error.message == "an HTML page instead of JSON"


ECHOES: list[object] = [
    {"message": f"bad value {SENT}!"},
    {"message": f"{SENT}"},
    {"message": f"in a URL: x?token={SENT}&y"},
    {"error": SENT, "error_description": f"twice {SENT}{SENT}"},
    {"message": "encoded canary%2Fsent%3D%2520%C3%A4"},
    {"message": "encoded canary/sent%3D%2520%C3%A4"},
    {"message": f"new {CANARY}", "access_token": CANARY},
    {"message": f"new {CANARY}", "a": [{"refresh_token": {"value": [CANARY]}}]},
    f"wrong {SENT}",
    f'{{"refresh_token": "{CANARY}", "message": "{SENT}',
    "x" * 190 + SENT,
]


@pytest.mark.parametrize("body", ECHOES)
def test_secrets_are_cut_out_of_messages_and_headers(body: object) -> None:
    """A secret that we sent, or that came with the answer, is in no part of the error."""
    bad = answer(400, body, X_Echo=f"a {SENT} b", Location=f"/x?access_token={SENT}")
    error = error_of(bad, None, "", SENT)
    text = visible(error)
    for secret in (SENT, CANARY, "canary"):
        assert secret not in text
    assert error.headers["X-Echo"] == "a [secret] b"


def test_the_beginning_of_a_secret_is_cut_out() -> None:
    """A service that echoes the first part of a secret, of 8 characters or more, shows none."""
    secret = "0123456789abcdef+ghi"
    words = (
        f"Got more: b'Bearer {secret[:15]}', {secret[:8].upper()}, {secret[:16]}%2Bg {secret}ghi"
    )
    error = error_of(answer(400, {"message": words}), secret)
    assert error.message == "Got more: b'Bearer [secret]', [secret], [secret] [secret]ghi"
    assert error_of(answer(400, {"message": "0123456"}), secret).message == "0123456"
    overlapping = error_of(answer(400, {"message": "abcdef abc"}), "abc", "abcdef")
    assert overlapping.message == "[secret] [secret]"


@pytest.mark.parametrize("secret", ["token", "Invalid refresh token", "e", "refresh", "a"])
def test_odd_secrets_do_not_hide_a_refusal(secret: str) -> None:
    """The service's own words are never mistaken for a secret."""
    refused = error_of(answer(400, {"status": 400, "message": "Invalid refresh token"}), secret)
    assert refused_grant(refused)
    assert refused.message == "Invalid refresh token"
    waiting = error_of(answer(400, {"message": "authorization_pending"}), secret)
    assert waiting.error_code == waiting.message == "authorization_pending"


REFUSALS: list[dict[str, object]] = [
    {"status": 400, "message": "Invalid refresh token"},
    {"message": " invalid Refresh token\n"},
    {"error": "Bad Request", "status": 400, "message": "Invalid refresh token"},
    {"error": "invalid_grant"},
    {"error": "Invalid_Grant", "error_description": "Token has been expired or revoked."},
    {"error": "Bad Request", "error_description": "Invalid refresh token"},
    {"message": "invalid_grant"},
]
WORDS: list[object] = [
    *({"message": text} for text in ("", "invalid client", "missing client secret", "whatever")),
    {"message": "missing refresh token"},
    {"message": "invalid scope requested: 'Invalid refresh token'"},
    {"message": "Invalid refresh tokens"},
    {"error": "invalid_client"},
    {"error": "invalid_client", "error_description": "Invalid refresh token"},
    {"error": "unauthorized_client", "error_description": "not for this grant"},
    {"error": ["invalid_grant"], "message": {"a": "invalid_grant"}},
    ["invalid_grant"],
    "invalid_grant",
    "Invalid refresh token",
    "<html>Invalid refresh token, invalid_grant</html>",
    '{"error": "invalid_grant"',
    "",
]


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 429, 500, 502, 503])
@pytest.mark.parametrize("body", REFUSALS)
def test_refused_grants(status: int, body: object) -> None:
    """Only these say that the refresh token is no good, and only with a 400 or 401."""
    error = error_of(answer(status, body))
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert refused_grant(error) == refused_grant(copied) == (status in {400, 401})
    assert error.error_code == "invalid_grant"
    assert not refused_grant(NoAnswer("Invalid refresh token"))


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize("body", WORDS)
def test_no_other_words_are_a_refusal(status: int, body: object) -> None:
    """Other words, pages of a proxy and plain text leave the stored pair alone."""
    error = error_of(answer(status, body))
    assert not refused_grant(error)
    assert error.error_code != "invalid_grant"


@pytest.mark.parametrize("code", ["authorization_pending", "slow_down", "access_denied"])
def test_polling_words(code: str) -> None:
    """The words of RFC 8628 are known in both error forms, and in upper case."""
    for body in (
        {"message": code},
        {"error": code, "error_description": "x"},
        {"error": code.title()},
    ):
        assert error_of(answer(400, body)).error_code == code
    assert error_of(answer(400, {"message": f"{code} or so"})).error_code == ""


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_other_encodings(encoding: str) -> None:
    """JSON in another Unicode encoding is read; what is no Unicode says nothing of a token."""
    body = '{"message": "Invalid refresh token"}'.encode(encoding)
    assert refused_grant(error_of(answer(400, body)))
    body = '{"message": "Invalid refresh token", "more": "\xe4"}'.encode("latin-1")
    error = error_of(answer(400, body, Content_Type="application/json; charset=latin-1"))
    assert not refused_grant(error)
    assert error.message == "cut off or malformed JSON"


def test_an_answer_full_of_tokens_shows_no_text() -> None:
    """To look for each of them in the text would hold the loop up for minutes."""
    tokens = [f"{CANARY}{number}" for number in range(50_000)]
    body = {"status": 400, "message": tokens[0], "token": tokens}
    began = time.process_time()
    error = error_of(answer(400, body))
    assert CANARY not in visible(error)
    assert time.process_time() - began < 5
