"""The pages as a site: `make docs` builds it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from .pages import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """Every page is in the navigation, every link and every name that it documents is found."""
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "twitchvault.App" in (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
