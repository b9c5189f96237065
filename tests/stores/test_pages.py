"""Reading a store page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet

from twitchvault.stores import FernetStore, MemoryStore, SQLiteStore
from twitchvault.stores.base import Entry
from twitchvault.stores.pages import Page, in_larger_pages, pages_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def test_a_page_is_its_entries() -> None:
    """Column by column, and back; a part of it is a page as well."""
    entries = [Entry(f"k{number}", number + 1, b"%d" % number) for number in range(5)]
    page = Page.of(entries)
    assert list(page) == entries
    assert len(page) == 5
    assert list(page.part(1, 2)) == entries[1:3]
    assert list(page.part(4, 2)) == entries[4:]
    assert page.part(0, 5) is page
    assert list(Page.of([])) == []


class Chosen(SQLiteStore):
    """Shows half of what it holds."""

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """Those with an even number."""
        async for entry in super().scan(prefix):
            if int(entry.key[-1]) % 2 == 0:
                yield entry


async def test_who_overrides_scan_overrides_all_reading(tmp_path: Path) -> None:
    """Also the reading by pages that the base class offers."""
    store = Chosen(tmp_path / "vault.db")
    await store.open()
    for number in range(4):
        await store.put(f"k{number}", b"1")
    assert [key async for page in pages_of(store) for key in page.keys] == ["k0", "k2"]
    await store.close()


@pytest.mark.parametrize(
    ("count", "size", "pages"), [(9_000, 100, 3), (1_000, 3_000, 2), (6, 600_000, 2)]
)
async def test_encrypted_pages_by_size(count: int, size: int, pages: int) -> None:
    """Some thousand entries at once, of large ones fewer: some milliseconds' work."""
    store = FernetStore(MemoryStore(), Fernet.generate_key())
    await store.open()
    keys = [f"k{number:04}" for number in range(count)]
    for key in keys:
        await store.put(key, bytes(size))
    found = [page async for page in pages_of(store) if len(page)]
    assert sorted(key for page in found for key in page.keys) == keys
    assert len(found) <= pages
    assert all(page.size < 2_600_000 and len(page) < 4_250 for page in found)
    await store.close()


async def test_larger_pages_lose_nothing_to_a_failure() -> None:
    """What came before it is handed over, then it is raised."""

    async def broken() -> AsyncIterator[Page]:
        for number in range(3):
            yield Page.of([Entry(f"k{number}", 1, b"")])
        raise OSError("no more")

    pages = in_larger_pages(broken())
    assert list((await anext(pages)).keys) == ["k0", "k1", "k2"]
    with pytest.raises(OSError, match="no more"):
        await anext(pages)
