"""Every example on every page runs, and does no harm."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from .page_runner import SECRET, PageRunner, running_double
from .pages import PAGES, ROOT, blocks, name

if TYPE_CHECKING:
    from pathlib import Path

RUN = ("python", "toml")
RUN_ELSEWHERE = (ROOT / "docs" / "loops-and-threads.md", ROOT / "docs" / "tutorial.md")
"""tests/loops and test_tutorial run their programs, each in a process of its own."""
TO_RUN = [page for page in PAGES if page not in RUN_ELSEWHERE and blocks(page, *RUN)]


@pytest.mark.parametrize("page", TO_RUN, ids=name)
def test_the_examples_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, in one folder: none fails, replays a token, or puts a secret into an address."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # a page imports what it has saved
    secret = SECRET in page.read_text(encoding="utf-8")
    with running_double(secret, monkeypatch) as twitch, asyncio.Runner() as loop_runner:
        runner = PageRunner(twitch.url)
        for block in blocks(page, *RUN):
            runner.run(block, loop_runner)
        assert twitch.counts.replays == 0
        assert twitch.leaks == ()
