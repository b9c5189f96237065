"""The store of the page "Your own store", in a module that other processes can import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.docs.pages import ROOT, blocks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twitchvault import TokenStore

    MyStore: Callable[[Path], TokenStore]

page = ROOT / "docs" / "stores" / "own.md"
(code,) = (block.text for block in blocks(page, "python") if block.file == "my_store.py")
exec(code, globals())  # noqa: S102 - the page is ours
