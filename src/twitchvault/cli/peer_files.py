"""The files in which other libraries and programs keep users' tokens."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from twitchvault import inputs
from twitchvault.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

_ACCESS: Final = ("token", "accessToken", "access_token")
_REFRESH: Final = ("refresh", "refreshToken", "refresh_token")
_USER: Final = ("user_id", "userId")
_TWURPLE_NAME: Final = re.compile(r"tokens\.(\d+)\.json")
_CLI_LINE: Final = re.compile(r"^([A-Za-z_]+)=(.*)", re.MULTILINE)
_CLI_ACCESS: Final = "ACCESSTOKEN"
_LONGEST: Final = 64 * 1024 * 1024
_EXPECTED: Final = (
    "expected TwitchIO's .tio.tokens.json, pyTwitchAPI's user_token.json, twurple's "
    "tokens.<user id>.json or twitch-cli's .twitch-cli.env"
)


@dataclass(frozen=True)
class FoundPair:
    """A pair in a file. None as user or client id: the file does not say."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    user_id: str | None = None
    client_id: str | None = None


def read_pairs(file: Path) -> list[FoundPair]:
    """All pairs in a file; `StoreError` names the file and the fault, and quotes nothing of it."""
    try:
        with file.open("rb") as opened:
            content = opened.read(_LONGEST + 1)
        if len(content) > _LONGEST:
            raise ValueError(f"is longer than {_LONGEST} bytes")
        pairs = _parse(content.decode("utf-8-sig"), file.name)
    except (ValueError, TypeError, RecursionError) as error:
        known = type(error) is not json.JSONDecodeError and not isinstance(error, UnicodeError)
        fault = f": {error}" if known else " is neither JSON nor lines of NAME=value"
    else:
        if pairs:
            return pairs
        fault = " holds no tokens"
    raise StoreError(f"{str(file)!r}{fault}; {_EXPECTED}")


def _parse(text: str, name: str) -> list[FoundPair]:
    settings = {m[1].upper(): m[2].strip("\"' ") for m in _CLI_LINE.finditer(text)}
    if _CLI_ACCESS in settings:
        return [_from_cli(settings)]
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("holds JSON, but no object")
    if _first(content, _ACCESS) is not None:
        found = _TWURPLE_NAME.fullmatch(name)
        return [_from_object(content, found and found[1])]
    return [_from_object(value, key) for key, value in content.items() if isinstance(value, dict)]


def _from_cli(settings: dict[str, str]) -> FoundPair:
    """Of twitch-cli: the settings of one application, and the token that was got last."""
    return FoundPair(
        inputs.token("ACCESSTOKEN", settings[_CLI_ACCESS]),
        inputs.optional_token("REFRESHTOKEN", settings.get("REFRESHTOKEN")),
        client_id=settings.get("CLIENTID") or None,
    )


def _from_object(content: dict[str, Any], user_id: str | None) -> FoundPair:
    """Of TwitchIO (one of many, by user id), pyTwitchAPI or twurple."""
    user_id = _first(content, _USER) or user_id
    return FoundPair(
        inputs.token("token", _first(content, _ACCESS)),
        inputs.optional_token("refresh", _first(content, _REFRESH)),
        None if user_id is None else _number(user_id),
    )


def _number(user_id: object) -> str:
    """The user id as the file gives it; Twitch's are numbers."""
    text = inputs.user_id(user_id)
    if not text.isdecimal():
        raise ValueError("holds a user id that is not a number")
    return text


def _first(content: dict[str, Any], names: tuple[str, ...]) -> Any:  # noqa: ANN401 - of a file
    return next((content[name] for name in names if name in content), None)
