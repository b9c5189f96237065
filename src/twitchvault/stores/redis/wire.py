"""The form of what goes over the wire and stays in the server: pure functions of bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from twitchvault.errors import CorruptRecord
from twitchvault.stores.base import Change, Entry, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "FORMAT",
    "Record",
    "glob_of",
    "parse_entry",
    "parse_pairs",
    "parse_records",
    "parse_tombstone",
    "unreadable",
]

Reply: TypeAlias = Any
"""What the driver made of an answer."""

FORMAT: Final = b"1"
"""The form of a stored entry: this byte, a colon, the version in decimal, a colon, the value."""


class Record(NamedTuple):
    """One element of the stream of changes."""

    version: int
    before: int
    """The version of the element before it: a reader that stands elsewhere has missed something."""
    change: Change | None
    epoch: bytes | None
    """The name of the epoch that begins here; there is no change then."""


def parse_entry(key: str, raw: bytes) -> Entry:
    """The entry that is stored as `raw`; its value is `Unreadable` if it is not of our form."""
    form, _, rest = raw.partition(b":")
    digits, colon, value = rest.partition(b":")
    known = colon and digits.isdigit()
    if known and form == FORMAT:
        return Entry(key, int(digits), value)
    return Entry(key, int(digits) if known else 1, Unreadable(unreadable(key)))


def unreadable(key: str) -> CorruptRecord:
    """The error for an entry that is there, but not of our form."""
    return CorruptRecord(
        f"key {key!r}: what is stored is damaged, or of a form that only a newer version knows"
    )


def parse_pairs(flat: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Fields and values, which the server sends in turn."""
    each = iter(flat)
    return zip(each, each, strict=True)


def parse_records(reply: Reply) -> list[Record]:
    """What XREAD of one stream found; the driver gives it in several shapes, by its version."""
    streams = reply.values() if isinstance(reply, dict) else (stream[1] for stream in reply or ())
    return [_record(*element) for entries in streams for element in _flat(entries)]


def _flat(entries: list[Reply]) -> Iterable[Reply]:
    """The elements of a stream; one of the driver's shapes has one more list around them."""
    if entries and isinstance(entries[0], list) and not isinstance(entries[0][0], bytes):
        return entries[0]
    return entries


def _record(element_id: bytes, fields: Reply) -> Record:
    """The record of an element, whose fields may be a dict or a flat list."""
    parts: dict[bytes, bytes]
    parts = fields if isinstance(fields, dict) else dict(parse_pairs(fields))
    version = int(element_id.partition(b"-")[0])
    key, before = parts.get(b"k"), int(parts.get(b"p", b"-1"))
    change = None if key is None else Change(key.decode(), version, parts.get(b"v"))
    return Record(version, before, change, parts.get(b"e"))


def parse_tombstone(element: Reply) -> Change:
    """The delete that an element of the stream of deletes tells of."""
    element_id, fields = element
    parts = dict(parse_pairs(fields))
    return Change(parts[b"k"].decode(), int(element_id.partition(b"-")[0]), None)


def glob_of(prefix: str) -> bytes:
    """The server's pattern for everything that starts with `prefix`, taken literally."""
    return re.sub(rb"([*?\[\]\\^])", rb"\\\1", prefix.encode()) + b"*"
