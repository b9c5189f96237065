"""What the identity service answers, as frozen models.

Each model has the documented fields and `raw`, all of the answer. Reprs and validation errors hide
secrets; attributes, `model_dump()` and `raw[...]` give the real values. Only what an answer cannot
do without has to be there: new tokens must not be lost for a side note.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BEARER: Final = "bearer"
_DEFAULT_INTERVAL: Final = 5
"""Seconds between polls when the answer names none (RFC 8628, section 3.2)."""
_LONGEST: Final = 2**31 - 1
"""No stated number of seconds counts for more; keeps an absurd answer from overflowing a clock."""


class RawAnswer(dict[str, Any]):
    """A read-only mapping of a complete answer, as a dict, which every JSON encoder takes.

    Its repr shows the keys only, for the values are secrets.
    """

    def _refuse(self: Any, *_: object, **__: object) -> NoReturn:
        raise TypeError("an answer is read-only: copy it with dict(...)")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self))

    def __repr__(self) -> str:
        return f"RawAnswer({', '.join(f'{key}=...' for key in self)})"

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:
        yield from ((key, ...) for key in self)

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, Any]]]:
        return type(self), (dict(self),)


def _number(value: object) -> float | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return max(0, min(value, _LONGEST))  # of NaN this makes 0


def _seconds(value: object) -> int:
    return math.floor(_number(value) or 0)


def _interval(value: object) -> int:
    stated = _number(value)
    # Rounded up: asking a fraction of a second too early may be held against us.
    return _DEFAULT_INTERVAL if stated is None else math.ceil(stated)


def _scopes(value: object) -> tuple[str, ...]:
    # A list, one string, null, absent and [""] all occur in the wild.
    items = value if isinstance(value, list | tuple) else [value]
    names = (name for item in items if isinstance(item, str) for name in _storable(item).split())
    return tuple(dict.fromkeys(names))


def _storable(value: Any) -> Any:  # noqa: ANN401
    """A text with "?" for lone surrogates, which could not be stored; else the value itself."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _text(value: object) -> str | None:
    return _storable(value) if isinstance(value, str) else None


def _plain(raw: RawAnswer) -> dict[str, Any]:
    return dict(raw)


_Word = Annotated[str, Field(strict=True, pattern=r"^[^\s\p{Cc}\x{FFFD}]+$")]
"""No white space and no control character: it has to fit into a header. Nor what was no UTF-8."""
_Secret = Annotated[_Word, Field(repr=False)]
_Seconds = Annotated[int, BeforeValidator(_seconds)]
_Scopes = Annotated[tuple[str, ...], BeforeValidator(_scopes)]
_Raw = Annotated[dict[str, Any], AfterValidator(RawAnswer), PlainSerializer(_plain)]
_TokenType = Annotated[str, BeforeValidator(lambda value: _text(value) or _BEARER)]
_UserId = Annotated[str, Field(strict=True, pattern="^[0-9]{1,20}$")]
_Text = Annotated[str | None, BeforeValidator(_text)]


class AnswerModel(BaseModel):
    """A frozen model of an answer; iterating or unpacking one gives its values in their order."""

    # Built on first use: the import would take half a millisecond more for each model.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, defer_build=True)

    if TYPE_CHECKING:
        raw: dict[str, Any]  # made by each model, so that it is the last field

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return (getattr(self, name) for name in type(self).model_fields)

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> Self:
        """The model of an answer's JSON object; pydantic's `ValidationError` if it cannot be.

        Null and "" are absent. Token answers spell it `scope`, validations `scopes`.
        """
        named = {"scopes": answer.get("scope")} | dict(answer)
        stated = {
            name: value
            for name, value in named.items()
            if name in cls.model_fields and value is not None and value != ""
        }
        return cls.model_validate(stated | {"raw": RawAnswer(answer)})


class Token(AnswerModel):
    """A user's token pair.

    `refresh_token` is None where the service gave none. `expires_in`: seconds from the answer on, 0
    if not stated. `scopes` were granted, perhaps fewer than were asked for. The answer does not say
    whose token it is: `validate_token` does.
    """

    access_token: _Secret
    refresh_token: _Word | None = Field(default=None, repr=False)
    expires_in: _Seconds = 0
    scopes: _Scopes = ()
    token_type: _TokenType = _BEARER
    raw: _Raw = Field(default_factory=RawAnswer, repr=False)


class DeviceCode(AnswerModel):
    """The start of a device code flow: show the user `verification_uri` and `user_code`.

    `expires_in` (0: not stated) and `interval`, the least time between two polls, are in seconds.
    `device_code` is a secret: whoever has it can get the tokens.
    """

    device_code: _Secret
    user_code: _Word
    verification_uri: _Word
    expires_in: _Seconds = 0
    interval: Annotated[int, BeforeValidator(_interval)] = _DEFAULT_INTERVAL
    raw: _Raw = Field(default_factory=RawAnswer, repr=False)


class ValidateToken(AnswerModel):
    """What the service says about an access token.

    `login` and `user_id` are None for an app access token. `expires_in` is the seconds left, 0 if
    not stated; several hundred more than `Token.expires_in` said are normal.
    """

    client_id: _Word
    login: Annotated[str | None, BeforeValidator(_storable)] = None
    user_id: _UserId | None = None
    scopes: _Scopes = ()
    expires_in: _Seconds = 0
    raw: _Raw = Field(default_factory=RawAnswer, repr=False)


class ClientCredentials(AnswerModel):
    """An app access token. It cannot be refreshed: ask for a new one.

    `expires_in`: seconds from the answer on, 0 if not stated.
    """

    access_token: _Secret
    expires_in: _Seconds = 0
    token_type: _TokenType = _BEARER
    raw: _Raw = Field(default_factory=RawAnswer, repr=False)


class IdToken(AnswerModel):
    """The claims of an id token that has been checked: who has signed in (OpenID Connect).

    `sub` is the user id. What was not asked for by `claims` is None; Twitch gives `email` only
    together with the scope `user:read:email`, and it is the user's if `email_verified`. `raw` holds
    all claims.
    """

    sub: _UserId
    preferred_username: _Text = None
    email: _Text = Field(default=None, repr=False)
    email_verified: Annotated[bool, BeforeValidator(lambda value: value is True)] = False
    picture: _Text = None
    raw: _Raw = Field(default_factory=RawAnswer, repr=False)
