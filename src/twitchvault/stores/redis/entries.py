"""The stored form of entries and changes: pure functions of what the server answers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from twitchvault.errors import CorruptRecord
from twitchvault.stores.base import Change, Entry, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "StreamElement",
    "elements_of",
    "glob_of",
    "pairs",
    "parse_element",
    "parse_entry",
    "unreadable",
]


class StreamElement(NamedTuple):
    """One element of a stream: a change, or the beginning of an epoch."""

    version: int
    epoch: int
    before: int
    """The version of the element before it."""
    change: Change | None


def parse_entry(key: str, stored: bytes) -> Entry:
    """The entry of a key; its value is `Unreadable` if it is not of our form."""
    form, _, rest = stored.partition(b":")
    version, colon, value = rest.partition(b":")
    known = colon and version.isdigit()
    if known and form == b"1":
        return Entry(key, int(version), value)
    return Entry(key, int(version) if known else 1, Unreadable(unreadable(key)))


def unreadable(key: str) -> CorruptRecord:
    """The error for an entry that is there, but not of our form."""
    msg = f"key {key!r}: what is stored is damaged, or of a form that only a newer version knows"
    return CorruptRecord(msg)


def parse_element(element: tuple[bytes, Any]) -> StreamElement:
    """An element as XREAD gives it, its fields in a dict, or as a script does, in a flat list."""
    element_id, fields = element
    if not isinstance(fields, dict):
        fields = dict(pairs(fields))
    version, _, epoch = element_id.partition(b"-")
    key = fields.get(b"k")
    change = (
        None
        if key is None
        else Change(key.decode(errors="replace"), int(version), fields.get(b"v"))
    )
    return StreamElement(int(version), int(epoch), int(fields.get(b"p", 0)), change)


def elements_of(answer: Any) -> Iterator[tuple[bytes, Any]]:  # noqa: ANN401
    """The elements in an answer of XREAD, whose shape depends on protocol and driver."""
    for part in answer.values() if isinstance(answer, dict) else answer or ():
        if isinstance(part, tuple):
            yield part
        elif isinstance(part, list):
            yield from elements_of(part)


def pairs(flat: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Names and values, which the server sends in turn."""
    each = iter(flat)
    return zip(each, each, strict=True)


def glob_of(prefix: str) -> bytes:
    """The server's pattern for all that starts with `prefix`, taken literally."""
    return re.sub(rb"([*?\[\]\\^])", rb"\\\1", prefix.encode()) + b"*"
