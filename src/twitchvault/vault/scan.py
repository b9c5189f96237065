"""A look at the whole store, from its beginning to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Scan"]


class Scan:
    """`awaited` are those of whom neither it nor news has told yet; `quiet`: it tells of no event.

    What the very first scan finds was there before.
    """

    def __init__(self, known: Iterable[str], *, quiet: bool) -> None:
        self.quiet = quiet
        # A dict, not a set: one of strings only is nothing for the garbage collector.
        self.awaited: dict[str, None] = dict.fromkeys(known)

    def tell(self, user_id: str) -> None:
        """There is news of this user."""
        self.awaited.pop(user_id, None)
