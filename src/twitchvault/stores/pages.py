"""Reading all of a store, some entries at a time: a step of the loop for each takes longer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from itertools import repeat
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from twitchvault.stores.base import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twitchvault.stores.base import TokenStore

__all__ = ["PAGE", "Paged", "entries_of", "pages_of"]

PAGE: Final = 250
_new: Final[Callable[..., Entry]] = tuple.__new__


@runtime_checkable
class Paged(Protocol):
    """An extra ability of a store that reads many entries at once."""

    def scan_pages(self, prefix: str = "") -> AsyncGenerator[list[Entry], None]:
        """What `scan` gives, in lists of some hundred entries; of a few large ones."""
        ...


def pages_of(store: TokenStore, prefix: str = "") -> AsyncGenerator[list[Entry], None]:
    """All entries whose key starts with `prefix`; to be closed by who does not read to the end."""
    return store.scan_pages(prefix) if isinstance(store, Paged) else _gathered(store, prefix)


def entries_of(
    keys: Iterable[str], versions: Iterable[int], values: Iterable[bytes]
) -> list[Entry]:
    """Many entries, column by column: half of the time that their constructor takes."""
    return list(map(_new, repeat(Entry), zip(keys, versions, values, strict=True)))


async def _gathered(store: TokenStore, prefix: str) -> AsyncGenerator[list[Entry], None]:
    entries = store.scan(prefix)
    page: list[Entry] = []
    try:
        async for entry in entries:
            page.append(entry)
            if len(page) == PAGE:
                yield page
                page = []
    except Exception:
        yield page  # what came before a failure is known all the same
        raise
    finally:
        if isinstance(entries, AsyncGenerator):
            await entries.aclose()
    yield page
