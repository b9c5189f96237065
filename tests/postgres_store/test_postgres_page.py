"""The page shows the example as it is."""

from __future__ import annotations

from typing import Final

import pytest

from tests.docs.pages import ROOT, Block, blocks

PAGE: Final = ROOT / "docs" / "stores" / "postgres.md"
EXAMPLE: Final = ROOT / "docs" / "examples" / "postgres" / "twitchvault_postgres"
EXCERPTS: Final = [*blocks(PAGE, "sql"), blocks(PAGE, "python")[0]]


def lines(text: str) -> str:
    """The text without its indentation."""
    return "\n".join(line.strip() for line in text.strip().splitlines())


@pytest.mark.parametrize("block", EXCERPTS, ids=lambda block: f"line-{block.line}")
def test_excerpts_stand_in_the_example(block: Block) -> None:
    """What the page quotes is in a module of the package."""
    modules = [lines(path.read_text(encoding="utf-8")) for path in EXAMPLE.glob("*.py")]
    assert any(lines(block.text) in module for module in modules)
