"""What the vault keeps for one user, and how it is stored.

A record never changes; `transitions` makes the next one from it.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from twitchvault.errors import CorruptRecord, DecryptionError
from twitchvault.stores.base import Unreadable, is_encrypted

__all__ = [
    "NO_TTL",
    "NewerRecord",
    "Record",
    "TokenPair",
    "decode",
    "encode",
    "fingerprint",
    "split_fingerprints",
    "visible",
]

SCHEMA: Final = 2
FINGERPRINT_LENGTH: Final = 12
_SCHEMA_1_LEASE_TTL: Final = 60.0
LONGEST_TTL: Final = 1e6
"""Seconds; more than that is damage, and nobody waits for it."""
NO_TTL: Final = 0.0
"""The very default: only that one is left out of the stored form."""


class TokenPair(NamedTuple):
    """(access token, refresh token or None); a tuple whose repr hides both."""

    access_token: str
    refresh_token: str | None

    def __repr__(self) -> str:
        return "('***', None)" if self.refresh_token is None else "('***', '***')"


class NewerRecord(CorruptRecord):
    """A record that a newer version of this library can read."""


class Record(
    msgspec.Struct,
    frozen=True,
    gc=False,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="schema",
    tag=SCHEMA,
):
    """The record of one user. None and empty values mean "not known".

    Refresh tokens are remembered by their fingerprints: `seeds` are those that came from outside
    and were exchanged, `exchanged` the last 16 that the vault got by itself, `given_up` those that
    a newer login has replaced or that were removed, `foreign` those that came under this user's id
    and are somebody else's.

    `generation` counts the user's pairs from 1: the larger one is newer, whoever wrote it.
    `last_validated` is wall clock time in epoch seconds, `expires_in` seconds as of then, 0 when
    Twitch did not say. `state` is "needs_login" once Twitch has refused the refresh token, and
    `reason` says how; a "removed" record holds no tokens, only what must be remembered.
    `access_refused`: the record needs a login and its access token must not be used any more.
    `lease` names who may exchange the refresh token now, for `lease_ttl` seconds.
    `replaced_lease` is (fingerprint, name, ttl) of a lease whose pair was replaced or removed while
    its exchange was under way: it holds again if that pair comes back.
    `seeded`: the pair came from outside and its refresh token was not exchanged yet.
    `restored`: so often the store had lost it; others may have met its refresh token as one from
    outside.
    `history` is what happened to it, in the form of `history`.
    `extra` is a JSON object with the fields of a newer version; they are passed on unread.
    """

    access_token: str
    refresh_token: str | None = None
    generation: int = 1
    scopes: tuple[str, ...] | None = None
    login: str | None = None
    last_validated: float | None = None
    expires_in: float = 0.0
    state: Literal["live", "needs_login", "removed"] = "live"
    reason: str = ""
    access_refused: bool = False
    lease: str | None = None
    lease_ttl: Annotated[float, msgspec.Meta(le=LONGEST_TTL)] = NO_TTL
    replaced_lease: tuple[str, str, float] | None = None
    seeded: bool = True
    restored: int = 0
    seeds: str = ""
    exchanged: str = ""
    given_up: str = ""
    foreign: str = ""
    history: str = ""
    extra: str = ""

    def __repr__(self) -> str:
        leased = self.lease is not None
        return f"Record(generation={self.generation}, state={self.state!r}, leased={leased})"

    @property
    def pair(self) -> TokenPair:
        """Both tokens."""
        return TokenPair(self.access_token, self.refresh_token)

    @property
    def order(self) -> tuple[int, bool]:
        """Grows with every decision about a user: a smaller one in a store is lost data."""
        return self.generation, self.state == "needs_login"

    def seconds_left(self, now: float) -> float | None:
        """Until the access token ends, by the clocks of whoever validated it; None: not known."""
        if self.last_validated is None or not self.expires_in:
            return None
        return self.last_validated + self.expires_in - now

    def follows(self, base: Record) -> bool:
        """Whether this is a newer pair than that of `base`, or the one that stands in its place."""
        if self.generation != base.generation:
            return self.generation > base.generation
        return self.access_token != base.access_token

    def has_spent(self, mark: str) -> bool:
        """Whether the refresh token with this fingerprint was exchanged by the vault before."""
        return mark in self.seeds or mark in self.exchanged

    def remembers(self, mark: str) -> bool:
        """Whether the refresh token with this fingerprint was exchanged or replaced before."""
        return self.has_spent(mark) or mark in self.given_up

    def outlived(self, mark: str) -> bool:
        """As `remembers`, but of a removed record the last pair may come back."""
        returns = self.state == "removed" and self.given_up.endswith(mark)
        return self.has_spent(mark) if returns else self.remembers(mark)


_FIELDS: Final = frozenset(Record.__struct_fields__) - {"extra"}
_HEAD: Final = b'{"schema":%d,' % SCHEMA
_decoder: Final = msgspec.json.Decoder(Record)
_encoder: Final = msgspec.json.Encoder()


def visible(record: Record | None) -> Record | None:
    """The record of a user who is there, None of one who was removed."""
    return None if record is None or record.state == "removed" else record


def fingerprint(token: str) -> str:
    """12 characters of the token's SHA-256: enough to recognise it, useless to whoever reads it."""
    digest = hashlib.sha256(token.encode(errors="replace")).digest()  # no error may hold it
    return base64.urlsafe_b64encode(digest[:9]).decode()


def split_fingerprints(memory: str) -> tuple[str, ...]:
    """The fingerprints in a record's memory, the oldest first."""
    size = FINGERPRINT_LENGTH
    return tuple(memory[start : start + size] for start in range(0, len(memory), size))


def encode(record: Record) -> bytes:
    """The stored form: a JSON object, the schema number first, without defaults."""
    if not record.extra:
        return _encoder.encode(record)
    known = msgspec.to_builtins(msgspec.structs.replace(record, extra=""))
    return _encoder.encode({**known, **msgspec.json.decode(record.extra)})


def decode(value: bytes, user_id: str) -> Record:
    """Read a stored record; the error of one that cannot be read names the user, never the content.

    It is a `DecryptionError` where the bytes are encrypted, else a `CorruptRecord`.
    """
    if value.startswith(_HEAD):
        try:
            record = _decoder.decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
        else:
            if not record.extra:
                return record
    return _decode_unusual(value, user_id)


def _decode_unusual(value: bytes, user_id: str) -> Record:
    """A record of the schema before, or one with fields that this version does not know."""
    if isinstance(value, Unreadable):
        raise value.error
    if is_encrypted(value):
        raise DecryptionError(
            f"the record of user {user_id!r} is encrypted, and this process opened the store "
            "without its keys: open it with them"
        )
    schema: object = None
    with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        fields = msgspec.json.decode(value, type=dict[str, Any])
        schema = fields.pop("schema", None)
        if isinstance(schema, bool):
            schema = None
        if schema == 1:
            fields = _from_schema_1(fields)
        if schema in (1, SCHEMA):
            known = {name: fields.pop(name) for name in _FIELDS & fields.keys()}
            extra = msgspec.json.encode(fields).decode() if fields else ""
            return msgspec.convert({"schema": SCHEMA, **known, "extra": extra}, Record)
    if isinstance(schema, int) and schema > SCHEMA:
        raise NewerRecord(
            f"the record of user {user_id!r} was written by a newer twitchvault (schema {schema}, "
            f"this version reads up to {SCHEMA}); upgrade twitchvault in this process"
        )
    raise CorruptRecord(
        f"the record of user {user_id!r} is damaged; a new login of the user replaces it"
    )


def _from_schema_1(fields: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 had no generation: the number of tokens it remembers takes its place."""
    spent = len(str(fields.get("seeds", ""))) + len(str(fields.get("exchanged", "")))
    fields["generation"] = 1 + spent // FINGERPRINT_LENGTH
    fields["access_refused"] = fields.pop("dead", False)
    if fields.get("lease") is not None:
        fields["lease_ttl"] = _SCHEMA_1_LEASE_TTL
    return fields
