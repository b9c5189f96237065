"""What happened to one user's pair, in the record itself: "why was I logged out?" has an answer.

A record keeps the last ten things as one string, which is read when somebody asks: decoding a
record must stay cheap.
"""

from __future__ import annotations

import functools
import os
import socket
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from msgspec.structs import replace

from twitchvault.vault.events import Kind, changes_of
from twitchvault.vault.record import fingerprint

if TYPE_CHECKING:
    from twitchvault.vault.record import Record

__all__ = ["HistoryEntry", "entries_of", "noted"]

LIMIT: Final = 10
LONGEST_REASON: Final = 200
BETWEEN_ENTRIES: Final = ";"
BETWEEN_FIELDS: Final = "|"
_MASK: Final = str.maketrans({BETWEEN_ENTRIES: ",", BETWEEN_FIELDS: "/"})


class HistoryEntry(NamedTuple):
    """One thing that happened to a user's record.

    `at` is wall clock time in epoch seconds, `kind` as in `VaultEvent`, `host` and `pid` name the
    process that did it. `before` and `after` are fingerprints of the pair, None where there was
    none. `reason` is a sentence for needs_login and scopes_lost, else empty.
    """

    at: float
    kind: Kind
    host: str
    pid: int
    before: str | None
    after: str | None
    reason: str = ""


def noted(
    before: Record | None, after: Record | None, now: float, *, is_app: bool
) -> Record | None:
    """`after` with what happened to `before`; hourly validations are not kept."""
    if after is None or after is before:
        return after
    entries = before.history.split(BETWEEN_ENTRIES) if before and before.history else []
    for kind, reason in changes_of(before, after, is_app=is_app):
        if kind != "validated":
            entries.append(_text(now, kind, _mark(before), _mark(after), reason))
    history = BETWEEN_ENTRIES.join(entries[-LIMIT:])
    return after if history == after.history else replace(after, history=history)


def entries_of(record: Record | None) -> tuple[HistoryEntry, ...]:
    """The history in a record, newest last."""
    if record is None or not record.history:
        return ()
    return tuple(map(_entry, record.history.split(BETWEEN_ENTRIES)))


def _mark(record: Record | None) -> str:
    token = "" if record is None else record.refresh_token or record.access_token
    return fingerprint(token) if token else ""


def _text(now: float, kind: Kind, before: str, after: str, reason: str) -> str:
    process = (_host(), str(os.getpid()))
    fields = (f"{now:.0f}", kind, *process, before, after, reason[:LONGEST_REASON])
    return BETWEEN_FIELDS.join(field.translate(_MASK) for field in fields)


@functools.cache
def _host() -> str:
    return socket.gethostname().encode(errors="replace").decode()


def _entry(text: str) -> HistoryEntry:
    """An entry of a later version, with more or fewer fields, is read as far as it goes."""
    at, kind, host, pid, before, after, reason, *_ = [*text.split(BETWEEN_FIELDS), *[""] * 7]
    return HistoryEntry(
        float(at if at.isdigit() else 0),
        cast("Kind", kind),
        host,
        int(pid if pid.isdigit() else 0),
        before or None,
        after or None,
        reason,
    )
