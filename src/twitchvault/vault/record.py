"""What the vault keeps for one user, how it is stored, and every way in which it can change.

A record changes only through the functions below. They are pure: from the record that stands (or
None) and what has happened they make the record that should stand. Returning the very record that
was passed in means "nothing to write".

Refresh tokens that were exchanged are remembered as fingerprints, never by value: `seeds` holds
those that came from outside and `exchanged` the last 16 that the vault had got by itself. So a pair
from an old configuration file is recognised, however long ago it was spent.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from pydantic import ConfigDict, TypeAdapter, ValidationError

from twitchvault.errors import CorruptRecord
from twitchvault.stores.base import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from twitchvault.errors import StoreError
    from twitchvault.models import ClientCredentials, Token, ValidateToken

__all__ = [
    "SCHEMA",
    "Record",
    "TokenPair",
    "app_record",
    "decode",
    "encode",
    "exchanged",
    "fingerprint",
    "login",
    "mourned",
    "moved",
    "quoted",
    "refused",
    "released",
    "removed",
    "removed_with",
    "restored",
    "settled",
    "validated",
]

SCHEMA: Final = 1
FINGERPRINT_LENGTH: Final = 12
SEEDS_KEPT: Final = 1000
EXCHANGED_KEPT: Final = 16


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
    "removed" holds no tokens any more, only what was spent: see `removed`. `dead`: it needs a login
    and its access token was refused as well.
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
        return mark in _marks(self.seeds) or mark in _marks(self.exchanged)


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


def login(
    current: Record | None, pair: TokenPair, answer: ValidateToken | None, now: float
) -> Record:
    """A pair came from outside, with Twitch's validation of its access token if it was asked.

    A new pair replaces the record. One whose refresh token was exchanged before is old news: the
    record stands, unless it needs a login and the access token was seen to work.
    """
    fresh = Record(access_token=pair.access_token, refresh_token=pair.refresh_token)
    if answer is not None:
        fresh = validated(fresh, answer, now)
    if current is None:
        return fresh
    if pair.refresh_token is None and pair.access_token == current.access_token:
        pair = current.pair
    if pair == current.pair:
        return current if answer is None else validated(current, answer, now)
    if pair.refresh_token is not None and pair.refresh_token == current.refresh_token:
        return _same_refresh_token(current, fresh, answer)
    old_news = pair.refresh_token is not None and current.has_spent(fingerprint(pair.refresh_token))
    if old_news and (current.state == "live" or answer is None):
        return current
    if old_news:
        # Its access token lives, but its refresh token must not be sent once more.
        fresh = replace(fresh, refresh_token=None)
    return replace(fresh, seeds=current.seeds, exchanged=current.exchanged)


def _same_refresh_token(current: Record, fresh: Record, answer: ValidateToken | None) -> Record:
    """A pair with another access token: older than ours, unless Twitch has just confirmed it.

    A confidential client's refresh token may stay the same when it is exchanged.
    """
    if answer is None and current.state == "live" and not current.seeded:
        return current
    return replace(fresh, seeded=current.seeded, seeds=current.seeds, exchanged=current.exchanged)


def validated(current: Record, answer: ValidateToken, now: float) -> Record:
    """Twitch confirmed the record's access token."""
    return replace(
        current,
        login=answer.login or current.login,
        scopes=answer.scopes,
        last_validated=now,
        expires_in=float(answer.expires_in),
        dead=False,
    )


def exchanged(current: Record | None, sent: str, token: Token, now: float) -> Record | None:
    """The refresh token `sent` was exchanged for `token`: the refresh token is the fence.

    If the record is gone or holds another login by now, that decision stands.
    """
    if current is None or current.refresh_token != sent:
        return current
    successor = token.refresh_token or sent
    return replace(
        _spent(current, sent, successor, now),
        access_token=token.access_token,
        refresh_token=successor,
        scopes=token.scopes or current.scopes,
        expires_in=float(token.expires_in),
    )


def moved(current: Record | None, sent: str, parked: Record, now: float) -> Record | None:
    """Like `exchanged`, for a pair that was exchanged before its user was known."""
    if current is None or current.refresh_token != sent:
        return current
    return replace(
        _spent(current, sent, parked.refresh_token, now),
        access_token=parked.access_token,
        refresh_token=parked.refresh_token,
        scopes=parked.scopes or current.scopes,
        expires_in=parked.expires_in,
    )


def settled(
    current: Record | None, sent: str, parked: Record, answer: ValidateToken, now: float
) -> Record:
    """A parked pair, validated, comes to its user: like `login`, and `sent` is remembered."""
    if current is not None and current.state == "live" and current.has_spent(fingerprint(sent)):
        held = current.refresh_token
        ours = held is None or held in {sent, parked.refresh_token}
        if ours or not parked.has_spent(fingerprint(held or "")):
            return current
        # What the user has was moved in by somebody slow, and renewed meanwhile where it lay.
        current = replace(current, exchanged=current.exchanged + parked.exchanged)
    pair = TokenPair(parked.access_token, parked.refresh_token)
    fresh = replace(login(current, pair, answer, now), seeded=True)
    return _spent(fresh, sent, parked.refresh_token, now)


def _spent(current: Record, sent: str, successor: str | None, now: float) -> Record:
    """`current`, live again, with `sent` in its memory, unless it is its own successor."""
    mark = fingerprint(sent)
    seeds, own = current.seeds, current.exchanged
    if sent == successor:
        pass
    elif current.seeded:
        seeds = _remember(seeds, mark, SEEDS_KEPT)
    else:
        own = _remember(own, mark, EXCHANGED_KEPT)
    return replace(
        current,
        last_validated=None if current.last_validated is None else now,
        state="live",
        reason="",
        dead=False,
        lease=None,
        seeded=False,
        seeds=seeds,
        exchanged=own,
    )


def refused(current: Record | None, former: Record, reason: str) -> Record | None:
    """Twitch refused to renew the pair of `former`; another pair wins."""
    if current is None or current.pair != former.pair:
        return current
    return replace(current, state="needs_login", reason=reason, lease=None)


def mourned(current: Record | None, access_token: str) -> Record | None:
    """Twitch refused the access token of a record that needs a login: nothing is left to ask."""
    if current is None or current.access_token != access_token or current.state != "needs_login":
        return current
    return replace(current, dead=True)


def restored(current: Record | None, ours: Record) -> Record:
    """The store has lost data, and this is what we still hold; what is newer wins."""
    if current is None:
        return replace(ours, lease=None)
    theirs = current.refresh_token
    if theirs is not None and ours.has_spent(fingerprint(theirs)):
        return replace(ours, lease=None)
    return current


def removed(current: Record | None) -> Record | None:
    """The user is taken out of the vault.

    Fingerprints of spent tokens stay behind, if there are any: an old configuration file may bring
    such a token back, and sending it would cut the connection of a login made since.
    """
    if current is None or not (current.seeds or current.exchanged):
        return None
    return Record("", state="removed", seeds=current.seeds, exchanged=current.exchanged)


def removed_with(current: Record | None, former: Record) -> Record | None:
    """The login of `former` is taken out of the vault; another one that came since stays."""
    if current is None:
        return None
    sent = former.refresh_token
    same = current.access_token == former.access_token
    if same or (sent is not None and current.has_spent(fingerprint(sent))):
        return removed(current)
    return current


def released(current: Record | None, lease: str) -> Record | None:
    """The owner of `lease` gives it back without having changed anything."""
    if current is None or current.lease != lease:
        return current
    return replace(current, lease=None)


def app_record(answer: ClientCredentials, now: float) -> Record:
    """An app access token; it counts as validated when issued."""
    return Record(
        access_token=answer.access_token,
        last_validated=now,
        expires_in=float(answer.expires_in),
        seeded=False,
    )


def _marks(memory: str) -> tuple[str, ...]:
    size = FINGERPRINT_LENGTH
    return tuple(memory[start : start + size] for start in range(0, len(memory), size))


def _remember(memory: str, mark: str, kept: int) -> str:
    marks = [other for other in _marks(memory) if other != mark] + [mark]
    return "".join(marks[-kept:])
