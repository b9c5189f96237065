"""What the vault keeps for one user, and how it is stored.

Refresh tokens that were exchanged are remembered as fingerprints, never by value: `seeds` holds
those that came from outside and `exchanged` the last 16 that the vault had got by itself. So a pair
from an old configuration file is recognised, however long ago it was spent. How a record changes is
told in `changes`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from pydantic import ConfigDict, TypeAdapter, ValidationError

from twitchvault.errors import CorruptRecord
from twitchvault.stores.base import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from twitchvault.errors import StoreError

__all__ = [
    "SCHEMA",
    "Decoder",
    "Record",
    "TokenPair",
    "decode",
    "encode",
    "fingerprint",
    "marks",
    "quoted",
]

SCHEMA: Final = 1
FINGERPRINT_LENGTH: Final = 12


class TokenPair(NamedTuple):
    """(access token, refresh token or None); a tuple whose repr hides both."""

    access_token: str
    refresh_token: str | None

    def __repr__(self) -> str:
        return "('***', None)" if self.refresh_token is None else "('***', '***')"


@dataclass(frozen=True, slots=True)
class Record:
    """The record of one user; `None` and empty values mean "not known".

    `last_validated` is wall clock time in epoch seconds, `expires_in` seconds as of then, 0 when
    Twitch did not say. `state` needs_login: Twitch refused the refresh token, `reason` says how.
    "removed" holds no tokens any more, only what was spent: see `changes.removed`. `dead`: it needs
    a login and its access token was refused as well.
    `lease` names the one who may exchange the refresh token now. `seeded`: the pair came from
    outside and its refresh token was not exchanged yet.
    """

    # No token stays in pydantic's own cache of strings, which would also be slower: all differ.
    __pydantic_config__ = ConfigDict(
        extra="forbid", hide_input_in_errors=True, cache_strings="keys"
    )

    access_token: str
    refresh_token: str | None = None
    scopes: tuple[str, ...] | None = None
    login: str | None = None
    last_validated: float | None = None
    expires_in: float = 0.0
    state: Literal["live", "needs_login", "removed"] = "live"
    reason: str = ""
    dead: bool = False
    lease: str | None = None
    seeded: bool = True
    seeds: str = ""
    exchanged: str = ""

    def __repr__(self) -> str:
        return (
            f"Record(login={self.login!r}, state={self.state!r}, leased={self.lease is not None})"
        )

    @property
    def shown(self) -> Record | None:
        """The record as users of the vault see it: None once it is removed."""
        return None if self.state == "removed" else self

    @property
    def pair(self) -> TokenPair:
        """Both tokens."""
        return TokenPair(self.access_token, self.refresh_token)

    def has_spent(self, mark: str) -> bool:
        """Whether the refresh token with this fingerprint was exchanged by the vault before."""
        return mark in marks(self.seeds) or mark in marks(self.exchanged)


@cache
def _reader() -> Callable[[bytes], Record]:
    """Made on first use: making it takes milliseconds that the import would need."""
    read: Callable[[bytes], Record] = TypeAdapter(Record).validator.validate_json
    return read


_FIELDS: Final = tuple(field.name for field in fields(Record))
_DEFAULTS: Final = {field.name: field.default for field in fields(Record)}


def fingerprint(token: str) -> str:
    """12 characters of the token's SHA-256: enough to recognise it, useless to whoever reads it."""
    digest = hashlib.sha256(token.encode(errors="replace")).digest()  # no error may hold it
    return base64.urlsafe_b64encode(digest[:9]).decode()


def encode(record: Record) -> bytes:
    """The stored form: a JSON object, the schema number first, without defaults."""
    values: dict[str, object] = {"schema": SCHEMA}
    for name, default in _DEFAULTS.items():
        value = getattr(record, name)
        if value != default:
            values[name] = value
    return json.dumps(values, separators=(",", ":")).encode()


def quoted(text: str) -> bytes:
    """How `encode` writes a piece of text, without the quotation marks."""
    return json.dumps(text)[1:-1].encode()


_HEAD: Final = b'{"schema":%d,' % SCHEMA
_HEAD_LENGTH: Final = len(_HEAD)


def decode(value: bytes, user_id: str) -> Record:
    """Read a stored record; `CorruptRecord` names the user, never the content."""
    if not value.startswith(_HEAD):
        raise _unreadable(value, user_id)
    try:
        return _reader()(b"{" + value[_HEAD_LENGTH:])
    except ValidationError as error:
        what = ", ".join(sorted({_field_of(detail["loc"]) for detail in error.errors()}))
    # Raised out here, it carries no trace of the original, which quotes the bytes.
    msg = f"the record of user {user_id!r} is damaged (at: {what}); sign the user in again"
    raise CorruptRecord(msg)


class Decoder:
    """`decode` that knows the record it read last: who makes a call looks at it several times."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Hold no record any more."""
        self._last: tuple[bytes, Record] | None = None

    def __call__(self, value: bytes, user_id: str) -> Record:
        """As `decode`. The same bytes object is the same record, and neither ever changes."""
        last = self._last
        if last is None or last[0] is not value:
            last = self._last = (value, decode(value, user_id))
        return last[1]


def _field_of(location: tuple[int | str, ...]) -> str:
    # An unknown field's name comes from the damaged bytes themselves and may hold anything.
    name = str(location[0]) if location else ""
    return name if name in _FIELDS else "the whole text"


def _unreadable(value: bytes, user_id: str) -> StoreError:
    if isinstance(value, Unreadable):
        return value.error
    try:
        schema = json.loads(value)["schema"]
    except (ValueError, KeyError, TypeError, RecursionError):
        schema = None
    if isinstance(schema, int) and schema > SCHEMA:
        return CorruptRecord(
            f"the record of user {user_id!r} was written by a newer twitchvault (schema {schema}, "
            f"this version reads up to {SCHEMA}); upgrade twitchvault in this process"
        )
    return CorruptRecord(
        f"the record of user {user_id!r} is damaged (at: the whole text); sign the user in again"
    )


def marks(memory: str) -> tuple[str, ...]:
    """The fingerprints in a record's memory, the oldest first."""
    size = FINGERPRINT_LENGTH
    return tuple(memory[start : start + size] for start in range(0, len(memory), size))
