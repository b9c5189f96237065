"""The store of the page "Your own store" keeps the contract: the page's own tests, run here.

They stand in a module of their own because processes that the contract starts import `my_store`.
"""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from .page_runner import RUN_ELSEWHERE
from .pages import ROOT, blocks

if TYPE_CHECKING:
    from .pages import Block

FILES: Final[dict[str | None, Block]] = {
    block.file: block for block in blocks(ROOT / "docs" / "stores" / "own.md", "python")
}
FOLDER: Final = Path(tempfile.mkdtemp(prefix="my-store-"))

atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
(FOLDER / "my_store.py").write_text(FILES["my_store.py"].text, encoding="utf-8")
sys.path.append(str(FOLDER))
for name in RUN_ELSEWHERE:
    exec(FILES[name].text)  # noqa: S102 - the page is ours


@pytest.fixture
def tmp_path(quick_path: Path) -> Path:
    """In memory where there is such a folder: the example waits for the disk at every write."""
    return quick_path


def test_the_store_fits_on_a_page() -> None:
    """A store of one's own takes some 40 lines of code."""
    lines = [line for line in FILES["my_store.py"].text.splitlines() if line.strip()]
    assert len(lines) <= 50
    assert "TestMyStore" in globals()
