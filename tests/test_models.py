"""Token models and scopes: what they accept. `tests/leaks` shows that models hide secrets."""

from __future__ import annotations

import copy
import json
import operator
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from fastapi.encoders import jsonable_encoder
from pydantic import ValidationError

from twitchvault.models import (
    AnswerModel,
    ClientCredentials,
    DeviceCode,
    RawAnswer,
    Token,
    ValidateToken,
)
from twitchvault.scopes import Scopes, scope_names

if TYPE_CHECKING:
    from collections.abc import Callable

ACCESS = "canary-access"
REFRESH = "canary-refresh"
DEVICE = "canary-device"

TOKEN: dict[str, Any] = {
    "access_token": ACCESS,
    "expires_in": 14124,
    "refresh_token": REFRESH,
    "scope": ["chat:read", "chat:edit"],
    "token_type": "bearer",
    "extra": {"nested": [ACCESS]},
}
DEVICE_CODE: dict[str, Any] = {
    "device_code": DEVICE,
    "expires_in": 1800,
    "interval": 5,
    "user_code": "ABCDEFGH",
    "verification_uri": "https://www.twitch.tv/activate?device-code=ABCDEFGH",
}
VALIDATE: dict[str, Any] = {
    "client_id": "abc",
    "login": "somebody",
    "user_id": "12345",
    "scopes": ["chat:read"],
    "expires_in": 15013,
}
CREDENTIALS: dict[str, Any] = {
    "access_token": ACCESS,
    "expires_in": 5011271,
    "token_type": "bearer",
}
ALL: list[tuple[type[AnswerModel], dict[str, Any]]] = [
    (Token, TOKEN),
    (DeviceCode, DEVICE_CODE),
    (ValidateToken, VALIDATE),
    (ClientCredentials, CREDENTIALS),
]
ORDER: dict[type[AnswerModel], tuple[str, ...]] = {
    Token: ("access_token", "refresh_token", "expires_in", "scopes", "token_type", "raw"),
    DeviceCode: ("device_code", "user_code", "verification_uri", "expires_in", "interval", "raw"),
    ValidateToken: ("client_id", "login", "user_id", "scopes", "expires_in", "raw"),
    ClientCredentials: ("access_token", "expires_in", "token_type", "raw"),
}


def without(answer: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The answer without some keys."""
    return {key: value for key, value in answer.items() if key not in keys}


def test_documented_answers() -> None:
    """They come out as documented, and unpack in that order; `raw` is the whole of them."""
    token = Token.from_answer(TOKEN)
    assert (token.access_token, token.refresh_token) == (ACCESS, REFRESH)
    assert (token.expires_in, token.token_type) == (14124, "bearer")
    assert token.scopes == ("chat:read", "chat:edit")
    device = DeviceCode.from_answer(DEVICE_CODE)
    assert device.model_dump(exclude={"raw"}) == DEVICE_CODE
    assert ValidateToken.from_answer(VALIDATE).model_dump(exclude={"raw"}) == VALIDATE | {
        "scopes": ("chat:read",)
    }
    assert ClientCredentials.from_answer(CREDENTIALS).model_dump(exclude={"raw"}) == CREDENTIALS
    for model, answer in ALL:
        made = model.from_answer(answer)
        assert made.raw == answer
        assert tuple(model.model_fields) == ORDER[model]
        assert list(made) == [getattr(made, name) for name in ORDER[model]]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("a b", ("a", "b")),
        ("", ()),
        ([""], ()),
        (["a", "a", "b"], ("a", "b")),
        (["a", 5, None], ("a",)),
        ({"a": 1}, ()),
        (["a\ud800", "b"], ("a?", "b")),
        ("\udfff", ("?",)),
    ],
)
def test_scopes_in_every_shape(scope: object, expected: tuple[str, ...]) -> None:
    """A list, a string, null and [""] are read; what is no scope never costs the tokens."""
    assert Token.from_answer(TOKEN | {"scope": scope}).scopes == expected
    assert ValidateToken.from_answer(VALIDATE | {"scopes": scope}).scopes == expected


def test_a_login_that_could_not_be_stored() -> None:
    """A lone surrogate is replaced."""
    assert ValidateToken.from_answer(VALIDATE | {"login": "a\ud800lice"}).login == "a?lice"


def test_absent_fields_have_defaults() -> None:
    """What the service is known to leave out may be absent, null or empty."""
    for gap in ({}, {"refresh_token": None, "scope": None, "token_type": None, "expires_in": None}):
        token = Token.from_answer({"access_token": ACCESS} | gap)
        assert (token.refresh_token, token.scopes) == (None, ())
        assert (token.expires_in, token.token_type) == (0, "bearer")
    assert Token.from_answer(TOKEN | {"refresh_token": "", "token_type": ""}).refresh_token is None
    for login in ({}, {"login": None, "user_id": None}, {"login": "", "user_id": ""}):
        app = ValidateToken.from_answer(without(VALIDATE, "login", "user_id", "scopes") | login)
        assert (app.login, app.user_id, app.scopes) == (None, None, ())
    assert DeviceCode.from_answer(without(DEVICE_CODE, "interval")).interval == 5
    assert DeviceCode.from_answer(DEVICE_CODE | {"interval": None}).interval == 5


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (14124, 14124),
        (14124.9, 14124),
        ("14124", 14124),
        (-5, 0),
        ("soon", 0),
        (True, 0),
        ([], 0),
        (float("inf"), 2**31 - 1),
        (float("nan"), 0),
        (10**400, 2**31 - 1),
        ("9" * 5000, 2**31 - 1),
        ("९", 0),
    ],
)
def test_seconds_in_every_shape(stated: object, expected: int) -> None:
    """A number of seconds that cannot be read is not stated; it never costs the tokens."""
    assert Token.from_answer(TOKEN | {"expires_in": stated}).expires_in == expected
    assert ValidateToken.from_answer(VALIDATE | {"expires_in": stated}).expires_in == expected
    assert (
        ClientCredentials.from_answer(CREDENTIALS | {"expires_in": stated}).expires_in == expected
    )


@pytest.mark.parametrize(
    "user_id", [5, True, ["1"], "abc", "1:2", " 1", "1\x00", "\ud800", "9" * 600]
)
def test_what_is_no_user_id(user_id: object) -> None:
    """A user id is a string of digits: what is none could not be told from other keys."""
    with pytest.raises(ValidationError, match="user_id"):
        ValidateToken.from_answer(VALIDATE | {"user_id": user_id})


def test_repr_shows_the_rest() -> None:
    """What is no secret helps when debugging."""
    assert repr(Token.from_answer(TOKEN)) == (
        "Token(expires_in=14124, scopes=('chat:read', 'chat:edit'), token_type='bearer')"
    )
    assert repr(RawAnswer({"a": 1, "b": 2})) == "RawAnswer(a=..., b=...)"


@pytest.mark.parametrize(("model", "answer"), ALL)
def test_models_are_values(model: type[AnswerModel], answer: dict[str, Any]) -> None:
    """Equal answers give equal models with equal hashes, which survive copies and pickling."""
    made, same = model.from_answer(answer), model.from_answer(copy.deepcopy(answer))
    other = model.from_answer(answer | {"unknown": 1})
    assert made == same
    assert hash(made) == hash(same)
    assert made != other
    assert len({made, same, other}) == 2
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301
    assert copy.deepcopy(made) == made
    assert model.model_validate(made.model_dump()) == made
    assert model.model_validate_json(made.model_dump_json()) == made


def test_models_are_frozen() -> None:
    """Neither a field nor `raw` can be changed."""
    token = Token.from_answer(TOKEN)
    with pytest.raises(ValidationError):
        token.access_token = "x"  # type: ignore[misc]
    change: list[Callable[[], object]] = [
        lambda: operator.setitem(token.raw, "access_token", "x"),
        lambda: operator.delitem(token.raw, "access_token"),
        lambda: operator.ior(token.raw, {"a": 1}),  # type: ignore[no-untyped-call]
        lambda: token.raw.update(access_token="x"),
        lambda: token.raw.setdefault("a", 1),
        lambda: token.raw.pop("access_token"),
        token.raw.popitem,
        token.raw.clear,
    ]
    for attempt in change:
        with pytest.raises(TypeError, match="read-only"):
            attempt()
    assert token.raw == TOKEN


def test_a_model_made_by_hand() -> None:
    """What was not stated has its default."""
    made = Token(access_token="a", refresh_token=None, expires_in=1, scopes=("b",), raw=RawAnswer())
    assert made == Token(access_token="a", expires_in=1, scopes=("b",))
    assert Token.model_validate({"access_token": "a"}).raw == {}
    with pytest.raises(ValidationError):
        Token.model_validate({"access_token": 5})


def test_fastapi_serialises_raw_and_models() -> None:
    """An endpoint may return `raw`, or a model: the whole of it arrives as JSON."""
    token = Token.from_answer(TOKEN)
    assert jsonable_encoder(token.raw) == json.loads(json.dumps(token.raw)) == TOKEN
    assert jsonable_encoder(token)["raw"] == TOKEN
    app = FastAPI()
    app.get("/token", response_model=Token)(lambda: token)
    assert "properties" in app.openapi()["components"]["schemas"]["Token"]


def test_members_are_strings() -> None:
    """A member, named as the scope, can be used wherever one is expected as a string."""
    assert len(Scopes) == 85
    assert all(scope.name == scope.value.upper().replace(":", "_") for scope in Scopes)
    assert str(Scopes.CHANNEL_READ_SUBSCRIPTIONS) == "channel:read:subscriptions"
    assert f"{Scopes.CHANNEL_SUBSCRIPTIONS}" == "channel_subscriptions"
    assert Scopes.CHAT_READ in {"chat:read", "chat:edit"}
    assert Scopes("chat:read") is Scopes.CHAT_READ


def test_names_are_sorted_and_unique_plain_strings() -> None:
    """Members and strings, known or not, in any order and repeated, give one order."""
    names = scope_names(["new:thing", Scopes.CHAT_READ, "bits:read", "chat:read"])
    assert names == ("bits:read", "chat:read", "new:thing")
    assert {type(name) for name in names} == {str}
    assert scope_names(scope for scope in names) == names
    assert scope_names(()) == ()


@pytest.mark.parametrize("scopes", ["chat:read", Scopes.CHAT_READ, b"chat:read"[0], None])
def test_what_is_no_collection_is_refused(scopes: Any) -> None:  # noqa: ANN401
    """A string would be a set of letters, white space two scopes, and an empty one none at all."""
    with pytest.raises(TypeError, match=r"'scopes' must be a set or list of scopes, like \{'chat"):
        scope_names(scopes)
    for scope in ("", "chat:read chat:edit", "a\u2003b", "a\x00", "a\ud800", 5, None):
        with pytest.raises(ValueError, match="'scopes' must be"):
            scope_names([scope])  # type: ignore[list-item]
    assert scope_names([" chat:read\n"]) == ("chat:read",)
