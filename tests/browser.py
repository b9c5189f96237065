"""A real browser for the pages that people see: headless Chromium, where there is one."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from typing import Final

import pytest

__all__ = ["visit"]

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
_OPTIONS: Final = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run")
_MISSING: Final = "no Chromium here: 'apt-get install chromium', or any browser of " + str(_NAMES)


async def visit(url: str) -> str:
    """Open a page as a person does, redirects and all; what then stands in the window, as HTML."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip(_MISSING)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = (*_OPTIONS, f"--user-data-dir={profile}", "--dump-dom")
        process = await asyncio.create_subprocess_exec(
            program, *options, url, stdout=PIPE, stderr=DEVNULL
        )
        out, _ = await process.communicate()
    return out.decode()
