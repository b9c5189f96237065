"""The program of the page "Running it" ends in order when it gets SIGTERM."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

from .pages import ROOT, blocks

if TYPE_CHECKING:
    from pathlib import Path


async def test_sigterm_closes_the_flow(tmp_path: Path) -> None:
    """It ends with 0, and SQLite's log is gone, as it is only after `close()`."""
    (block,) = [
        block
        for block in blocks(ROOT / "docs" / "production.md", "python")
        if block.file == "bot.py"
    ]
    (tmp_path / "bot.py").write_text(block.text, encoding="utf-8")
    bot = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "bot.py", cwd=tmp_path, stdout=PIPE, stderr=PIPE
    )
    try:
        assert bot.stdout is not None
        async with asyncio.timeout(30):
            line = await bot.stdout.readline()
            assert (tmp_path / "tokens.db-wal").exists()
            bot.terminate()
            _, errors = await bot.communicate()
    finally:
        if bot.returncode is None:
            bot.kill()
            await bot.wait()
    assert (line, bot.returncode, errors) == (b"0 users\n", 0, b"")
    assert not (tmp_path / "tokens.db-wal").exists()
