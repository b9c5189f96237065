"""What the store asks of the server, in our own types: states, entries, batches of writes."""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from twitchvault.errors import StoreError, StoreUnavailable, VersionConflict
from twitchvault.stores.pages import PAGE, Page
from twitchvault.stores.redis.link import BUDGET
from twitchvault.stores.redis.scripts import READ, SCAN, STATE, TOMBSTONES, WRITE
from twitchvault.stores.redis.wire import (
    glob_of,
    parse_entry,
    parse_pairs,
    parse_tombstone,
    unreadable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from twitchvault.stores.base import Change, Entry
    from twitchvault.stores.redis.link import Link

__all__ = ["Data", "State", "Write"]

STEP: Final = 1000
"""Entries read in one step of a scan: some milliseconds of the server's time."""


class State(NamedTuple):
    """How far the namespace has come."""

    epoch: bytes
    version: int
    whole: bool
    """Whether all deletes after the asker's version are still remembered."""


Write = tuple[Literal["p", "d"], str, bytes, int | None]
"""A put or a delete: which, the key, the value, the expected version."""


class Data:
    """One namespace, as one opened store sees it."""

    def __init__(self, link: Link, min_replicas: int) -> None:
        self.link = link
        self.seen = 0
        """The newest version this process knows of. A server that knows less has lost data."""
        self._min_replicas = min_replicas
        self._writer = secrets.token_hex(8)
        self._numbers = itertools.count(1)

    async def state(
        self, epoch: bytes = b"", position: int = 0, *, budget: float = BUDGET
    ) -> State:
        """The state now; for a reader at `position` of `epoch`, also whether that is still so.

        Begins a new epoch if the namespace is new, or has lost what this process knows of.
        """
        args = (self._name(next(self._numbers)), self.seen, epoch, position)
        now, version, whole = await self.link.side_call(STATE, *args, budget=budget)
        state = State(now, int(version), bool(whole))
        self.seen = max(self.seen, state.version)
        return state

    async def read(self, keys: list[str]) -> list[Entry | StoreError | None]:
        """The entries of these keys, in order."""
        fields = tuple(key.encode() for key in keys)
        raws = await self.link.steadily(lambda: self.link.run(READ, fields))
        return [
            None if raw is None else self._entry(key, raw)
            for key, raw in zip(keys, raws, strict=True)
        ]

    async def write(self, writes: list[Write]) -> list[int | bool | StoreError]:
        """Carry out a batch, each write for itself: its version, or if it was there."""
        args: list[bytes | str | int]
        number = next(self._numbers)
        args = [self._name(number), self.seen, self._writer, number]
        for kind, key, value, expect in writes:
            args += (kind if expect is None else f"{kind}{expect}", key.encode(), value)
        lines, shortfall = await self._send(tuple(args))
        # The script stops at an error: what it has no line for failed for the same reason.
        lines += lines[-1:] * (len(writes) - len(lines))
        return [self._result(*pair, shortfall) for pair in zip(writes, lines, strict=True)]

    async def pages(self, prefix: str) -> AsyncGenerator[Page, None]:
        """All entries under a prefix, each once, some hundred at a time."""
        pattern, cursor = glob_of(prefix), b"0"
        met: set[bytes] = set()
        while True:
            cursor, flat = await self.link.side_call(SCAN, cursor, pattern, STEP)
            entries = []
            for field, raw in parse_pairs(flat):
                if field not in met:  # the server may name one twice while it grows or shrinks
                    met.add(field)
                    entries.append(self._entry(field.decode(errors="replace"), raw))
            page = Page.of(entries)
            for start in range(0, len(page), PAGE):
                yield page.part(start, PAGE)
            if int(cursor) == 0:
                return

    async def tombstones(self, after: int, until: int) -> AsyncIterator[list[Change]]:
        """The remembered deletes whose versions lie there, in steps."""
        while elements := await self.link.side_call(TOMBSTONES, after, until, STEP):
            changes = [parse_tombstone(element) for element in elements]
            yield changes
            after = changes[-1].version

    def _name(self, number: int) -> str:
        """A name for a new epoch, should one begin; never the same twice."""
        return f"{self._writer}.{number}"

    async def _send(self, args: tuple[bytes | str | int, ...]) -> tuple[list[str], str]:
        """The lines that the script answered, and what is missing to `min_replicas`."""
        wanted, shortfall = self._min_replicas, ""
        if not wanted:
            answer = await self.link.steadily(lambda: self.link.run(WRITE, args), writes=True)
        else:
            answer, replied = await self.link.steadily(
                lambda: self.link.run_replicated(WRITE, args, wanted), writes=True
            )
            if isinstance(replied, Exception):
                shortfall = f"WAIT failed ({self.link.translator.failure(replied).error})"
            elif replied < wanted:
                shortfall = (
                    f"{replied} of {wanted} replicas (min_replicas) confirmed it "
                    f"within {self.link.quiet:g} s"
                )
        return answer.decode(errors="replace").split("\n"), shortfall

    def _result(self, write: Write, line: str, shortfall: str) -> int | bool | StoreError:
        """What became of a write."""
        kind, key, _, expect = write
        sign, rest = line[:1], line[1:]
        if sign == "=":
            self.seen = max(self.seen, int(rest))
            if shortfall:
                done = f"key {key!r} is written on the primary at version {rest}"
                return StoreUnavailable(f"{self.link.address}: {done}, but {shortfall}")
            return int(rest) if kind == "p" else True
        if sign == "-":
            return False
        if sign == "!":
            return VersionConflict(key, expect or 0, int(rest))
        if sign == "C":
            return unreadable(key)
        return self.link.translator.reply(rest).error

    def _entry(self, key: str, raw: bytes) -> Entry:
        entry = parse_entry(key, raw)
        self.seen = max(self.seen, entry.version)
        return entry
