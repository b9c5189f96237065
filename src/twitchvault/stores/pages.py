"""Reading all of a store, some entries at a time: a step of the loop for each takes longer.

A page holds its entries column by column. Of 100,000 users that saves making 100,000 tuples, which
garbage collection would look into besides.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Self, runtime_checkable

from twitchvault.stores.base import Entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterator, Sequence

    from twitchvault.stores.base import TokenStore

__all__ = ["PAGE", "Page", "Paged", "in_larger_pages", "pages_of"]

PAGE: Final = 250
LARGE: Final = 4_000
LARGE_BYTES: Final = 2_000_000


@dataclass(frozen=True, slots=True, repr=False)
class Page:
    """Some entries: what stands at the same place of each column belongs together."""

    keys: Sequence[str]
    versions: Sequence[int]
    values: Sequence[bytes]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Self:
        """A page of these entries."""
        keys, versions, values = zip(*entries, strict=True) if entries else ((), (), ())
        return cls(keys, versions, values)

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Entry]:
        return map(Entry, self.keys, self.versions, self.values)

    @property
    def size(self) -> int:
        """Bytes of all values."""
        return sum(map(len, self.values))

    def part(self, start: int, size: int) -> Page:
        """So many of its entries, from that place on."""
        if start == 0 and size >= len(self):
            return self
        end = start + size
        return Page(self.keys[start:end], self.versions[start:end], self.values[start:end])


@runtime_checkable
class Paged(Protocol):
    """An extra ability of a store that reads many entries at once."""

    def scan_pages(self, prefix: str = "") -> AsyncGenerator[Page, None]:
        """What `scan` gives, some hundred entries at a time; of large ones fewer."""
        ...


def pages_of(store: TokenStore, prefix: str = "") -> AsyncGenerator[Page, None]:
    """All entries whose key starts with `prefix`; to be closed by who does not read to the end."""
    if isinstance(store, Paged) and _home(store, "scan") is _home(store, "scan_pages"):
        return store.scan_pages(prefix)
    return _gathered(store, prefix)


async def in_larger_pages(pages: AsyncIterable[Page]) -> AsyncGenerator[Page, None]:
    """The same entries, some thousands at a time: what takes them in is then at hand for long."""
    keys: list[str] = []
    versions: list[int] = []
    values: list[bytes] = []
    size = 0
    try:
        async for page in pages:
            keys += page.keys
            versions += page.versions
            values += page.values
            size += page.size
            if len(keys) >= LARGE or size >= LARGE_BYTES:
                yield Page(keys, versions, values)
                keys, versions, values, size = [], [], [], 0
    except Exception:
        yield Page(keys, versions, values)  # what came before a failure is known all the same
        raise
    yield Page(keys, versions, values)


def _home(store: TokenStore, method: str) -> type | None:
    """The class that defines it: who overrides only `scan` means all reading."""
    return next((kind for kind in type(store).__mro__ if method in vars(kind)), None)


async def _gathered(store: TokenStore, prefix: str) -> AsyncGenerator[Page, None]:
    entries = store.scan(prefix)
    some: list[Entry] = []
    try:
        async for entry in entries:
            some.append(entry)
            if len(some) == PAGE:
                yield Page.of(some)
                some = []
    except Exception:
        yield Page.of(some)  # what came before a failure is known all the same
        raise
    finally:
        if isinstance(entries, AsyncGenerator):
            await entries.aclose()
    yield Page.of(some)
