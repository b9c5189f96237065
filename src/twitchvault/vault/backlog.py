"""Records that opening has found and nobody has looked at yet.

To decode 100,000 records takes half a second, to find them a third of that. So they are found
first, and decoded when somebody looks: one if one user is asked for, the rest if all are. Nobody
needs to ask: `read_all` decodes them in the background, piece by piece.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final, Protocol

from twitchvault.errors import StoreError
from twitchvault.vault.record import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from twitchvault.vault.record import Record

__all__ = ["Backlog", "Reader"]

PIECE: Final = 250
"""Records decoded at a stretch: some 2 ms."""


class Reader(Protocol):
    """Who is told of what was found."""

    def show_found(self, records: dict[str, Record], damaged: dict[str, StoreError]) -> None:
        """Show these from now on. Called by whoever looks, in any thread."""

    def tell_damaged(self, user_id: str, error: StoreError) -> None:
        """This user is damaged; once, and in the loop's own thread."""


class Backlog:
    """What was found. Any thread may look, also a signal handler while its thread looks already."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._found: dict[str, bytes] = {}
        self._reading = threading.RLock()
        self._thread = 0

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def add(self, found: dict[str, bytes]) -> None:
        """Stored records of users who are not known yet."""
        self._thread = threading.get_ident()
        self._found.update(found)

    def clear(self) -> None:
        """Forget what was found."""
        with self._reading:
            self._found.clear()

    def look(self, user_id: object) -> None:
        """Have this user's record read, if that is still to be done."""
        if user_id in self._found and isinstance(user_id, str):
            self._read([str.__str__(user_id)])  # an enum's own may be another text

    def look_all(self) -> None:
        """Have all records read."""
        for piece in self._pieces():
            self._read(piece)

    async def read_all(self) -> None:
        """As `look_all`, a few milliseconds at a stretch."""
        for piece in self._pieces():
            self._read(piece)
            await asyncio.sleep(0)

    def _pieces(self) -> Iterator[list[str]]:
        users = list(self._found)
        for start in range(0, len(users), PIECE):
            if self._found:
                yield users[start : start + PIECE]

    def _read(self, users: Iterable[str]) -> None:
        records: dict[str, Record] = {}
        errors: dict[str, StoreError] = {}
        ours = self._thread == threading.get_ident()
        with self._reading:
            for user_id in users:
                if (value := self._found.get(user_id)) is None:
                    continue
                try:
                    records[user_id] = decode(value, user_id)
                except StoreError as error:
                    errors[user_id] = error
            self._settle(records, errors, ours=ours)
        if ours:
            for user_id, why in errors.items():
                self._reader.tell_damaged(user_id, why)

    def _settle(
        self, records: dict[str, Record], errors: dict[str, StoreError], *, ours: bool
    ) -> None:
        # A signal handler may have read them meanwhile. User by user: the difference of the keys
        # would walk over all that was found, for each piece.
        for some in (records, errors):
            for user_id in [one for one in some if one not in self._found]:
                del some[user_id]
        self._reader.show_found(records, errors)
        # Only now: who is not found here any more must be found there. Those that the loop is
        # still to tell of stay.
        for user_id in (*records, *errors) if ours else records:
            self._found.pop(user_id, None)
        if not self._found:
            self._found.clear()  # an emptied dict keeps its size, 100 bytes for each user
