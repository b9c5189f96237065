"""Records that opening has found and nobody has looked at yet.

To decode 100,000 records takes a second, to find them a third of that. So they are found first, and
decoded when somebody looks: one if one user is asked for, the rest if all are. Nobody needs to ask:
`read_all` decodes them in the background, piece by piece.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreError
from twitchvault.vault.record import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from twitchvault.vault.record import Record

__all__ = ["Backlog"]

PIECE: Final = 250
"""Records decoded at a stretch: some 3 ms."""


class Backlog:
    """What was found. `show` gets what is readable, `damaged` who is not and why: each user once.

    Any thread may look. Only the loop's own tells of damage; another leaves such a user for it.
    """

    def __init__(
        self,
        show: Callable[[dict[str, Record]], None],
        damaged: Callable[[str, StoreError], None],
    ) -> None:
        self._show = show
        self._damaged = damaged
        self._found: dict[str, bytes] = {}
        self._reading = threading.Lock()
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
        if user_id in self._found:
            self._read([str(user_id)])

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
        with self._reading:
            for user_id in users:
                if (value := self._found.get(user_id)) is None:
                    continue
                try:
                    records[user_id] = decode(value, user_id)
                except StoreError as error:
                    errors[user_id] = error
            self._show(records)
            # Only now: who is not found here any more must be found there.
            for user_id in records:
                del self._found[user_id]
            if self._thread != threading.get_ident():
                return
            for user_id in errors:
                del self._found[user_id]
            if not self._found:
                self._found.clear()  # an emptied dict keeps its size, 100 bytes for each user
        for user_id, why in errors.items():
            self._damaged(user_id, why)
