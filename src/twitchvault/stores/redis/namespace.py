"""One namespace as one opened store sees it: what it asks of the server, in our own types."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from twitchvault.errors import CorruptRecord, StoreError, StoreUnavailable, VersionConflict
from twitchvault.stores.base import Change, Entry, Unreadable
from twitchvault.stores.batcher import Batcher
from twitchvault.stores.redis.feed import Follower
from twitchvault.stores.redis.scripts import CHECK, DELETES, INFO, READ, SCAN, WRITE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from twitchvault.stores.connected import Write
    from twitchvault.stores.redis.client import Answer, Client

BATCH: Final = 256  # requests that travel together, so that the server's script stays short
CLOSE_TIMEOUT: Final = 3.0  # seconds that `close` gives to what is under way
_SPECIAL: Final = re.compile(rb"([*?\[\]\\^])")  # in a pattern of the server

log = logging.getLogger("twitchvault.stores.redis")


class StreamElement(NamedTuple):
    """One element of a stream: a change, or the beginning of an epoch."""

    version: int
    epoch: int
    before: int  # the version of the element before it
    change: Change | None


class State(NamedTuple):
    """How far the namespace has come."""

    epoch: int
    version: int
    changes: list[StreamElement] | None  # after the asker's position; None if some are missing


class Namespace:
    """Reads, writes and follows the entries of one namespace."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._seen = 0  # the newest version known here: a server that knows less has lost data
        self._reads: Batcher[str, Entry | None] = Batcher(self._read, BATCH)
        self._writes: Batcher[Write, int] = Batcher(self._write, BATCH)
        self.write = self._writes.submit
        self._loop = asyncio.get_running_loop()
        self._others = asyncio.Lock()  # so that all the rest needs one connection
        self._closed = False
        self.follower = Follower(self)

    async def open(self) -> None:
        """Begin the namespace if it is new; warns if the server may evict its keys."""
        self.follower.epoch = (await self.check()).epoch
        with suppress(StoreError):  # it need not be allowed to ask
            if policy := re.search(rb"maxmemory_policy:(allkeys\S*)", await self._run(INFO)):
                msg = "%s: maxmemory-policy is %r, so the server may evict tokens when memory runs "
                msg += "short; set it to 'noeviction' or 'volatile-*' (our keys have no time to "
                msg += "live)"
                log.warning(msg, self.client.server, policy[1].decode())

    async def get(self, key: str) -> Entry | None:
        """The entry of a key, or None; raises the error of one that cannot be read."""
        entry = await self._reads.submit(key)
        if entry is not None and isinstance(entry.value, Unreadable):
            raise entry.value.error
        return entry

    async def scan(self, prefix: str) -> AsyncIterator[Entry]:
        """All entries whose key starts with `prefix`, each once."""
        pattern, cursor = _SPECIAL.sub(rb"\\\1", prefix.encode()) + b"*", b"0"
        yielded = {b""}  # the empty field is no key; others come twice while the hash is resized
        while True:
            cursor, flat = await self._run(SCAN, cursor, pattern)
            for field, stored in _pairs(flat):
                if field not in yielded:
                    yielded.add(field)
                    yield _parse_entry(field.decode(errors="replace"), stored)
            if int(cursor) == 0:
                return

    async def check(self, epoch: int = 0, position: int = 0) -> State:
        """The state now, for a reader at `position` of `epoch`; begins an epoch if need be."""
        now, version, changes = await self._run(CHECK, self._seen, epoch, position)
        self.note_version(int(version))
        elements = None if changes is None else [_parse_element(each) for each in changes]
        return State(int(now), int(version), elements)

    async def next_changes(self, position: int) -> list[StreamElement]:
        """What comes after `position` in the stream; empty if it stays quiet for a while."""
        answer = await self.client.changes(position)
        return [_parse_element(element) for element in _elements_of(answer)]

    async def deletes(self, after: int, until: int) -> AsyncIterator[Change]:
        """The deletes that are remembered of versions after one and up to another."""
        while elements := await self._run(DELETES, after + 1, until):
            for version, _, _, change in map(_parse_element, elements):
                after = version
                if change is not None:
                    yield change

    def note_version(self, version: int) -> None:
        """Note a version that the server has given out."""
        self._seen = max(self._seen, version)

    async def close(self) -> None:
        """End the feeds, let what is under way go through in some seconds, close the client."""
        if self._loop is asyncio.get_running_loop():  # else all of it has gone with its loop
            await self.follower.close()
            await asyncio.gather(
                self._reads.close(CLOSE_TIMEOUT), self._writes.close(CLOSE_TIMEOUT)
            )
            self._closed = True  # a scan that goes on would connect again
            async with self._others:
                await self.client.close()

    async def _run(self, script: str, *args: bytes | str | int) -> Answer:
        async with self._others:
            if self._closed:
                raise StoreError("the store was closed meanwhile")
            return await self.client.run(script, *args)

    async def _read(self, keys: list[str]) -> list[Entry | StoreError | None]:
        found = await self.client.run(READ, *(key.encode() for key in keys))
        pairs = zip(keys, found, strict=True)
        return [None if s is None else _parse_entry(key, s) for key, s in pairs]

    async def _write(self, writes: list[Write]) -> list[int | StoreError]:
        args: list[bytes | str | int] = [self._seen, secrets.token_hex(8)]
        for key, value, expect in writes:
            kind = "delete" if value is None else "put"
            args += (kind, "" if expect is None else expect, key.encode(), value or b"")
        answer, shortfall = await self.client.run_write(WRITE, args)
        results = zip(writes, answer.split(), strict=True)
        return [self._result(write, result, shortfall) for write, result in results]

    def _result(self, write: Write, result: bytes, shortfall: str) -> int | StoreError:
        """What became of a write, from the script's word for it."""
        sign, version = result[:1], int(result[1:] or 0)
        if sign == b"!":
            return VersionConflict(write.key, write.expect or 0, version)
        if sign == b"?":
            return _unreadable(write.key)
        self.note_version(version)
        if shortfall and version:
            done = f"key {write.key!r} is written on the primary at version {version}"
            return StoreUnavailable(f"{self.client.server}: {done}, but {shortfall}")
        return version


def _parse_entry(key: str, stored: bytes) -> Entry:
    """The entry of a key; its value is `Unreadable` if it is not of our form."""
    form, _, rest = stored.partition(b":")
    version, colon, value = rest.partition(b":")
    known = colon and version.isdigit()
    if known and form == b"1":
        return Entry(key, int(version), value)
    return Entry(key, int(version) if known else 1, Unreadable(_unreadable(key)))


def _unreadable(key: str) -> CorruptRecord:
    msg = f"key {key!r}: what is stored is damaged, or of a form that only a newer version knows"
    return CorruptRecord(msg)


def _parse_element(element: tuple[bytes, Any]) -> StreamElement:
    """An element as XREAD gives it, its fields in a dict, or as a script does, in a flat list."""
    element_id, fields = element
    if not isinstance(fields, dict):
        fields = dict(_pairs(fields))
    version, _, epoch = element_id.partition(b"-")
    change = None
    if b"k" in fields:
        change = Change(fields[b"k"].decode(errors="replace"), int(version), fields.get(b"v"))
    return StreamElement(int(version), int(epoch), int(fields.get(b"p", 0)), change)


def _elements_of(answer: Any) -> Iterator[tuple[bytes, Any]]:  # noqa: ANN401
    """The elements in an answer of XREAD, whose shape depends on protocol and driver."""
    for part in answer.values() if isinstance(answer, dict) else answer or ():
        if isinstance(part, tuple):
            yield part
        elif isinstance(part, list):
            yield from _elements_of(part)


def _pairs(flat: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Names and values, which the server sends in turn."""
    each = iter(flat)
    return zip(each, each, strict=True)
