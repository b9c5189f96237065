"""A store in a package of its own, built and installed as its users would."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "their-store"
version = "1.0"

[project.entry-points."twitchvault.stores"]
their = "their_store:make"
"""
MODULE = """
from twitchvault import SQLiteStore, TokenStore


def make(url: str) -> TokenStore:
    return SQLiteStore(url.removeprefix("their://"))
"""
PROGRAM = """
import asyncio, sys
from twitchvault import App


async def main() -> None:
    async with App("a", store=sys.argv[1], maintain=False) as app:
        app.add_token("1001", "access", "refresh")


asyncio.run(main())
"""


def run(*arguments: str, folder: Path) -> str:
    """What Python prints, with the packages in a folder beside those that are installed."""
    variables = {name: value for name, value in os.environ.items() if "TWITCHVAULT" not in name}
    done = subprocess.run(
        [sys.executable, *arguments],
        env=variables | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_installed_package_brings_its_store(tmp_path: Path) -> None:
    """`App(store=url)` and the command take the URL of a scheme that the package registers."""
    project, site = tmp_path / "project", tmp_path / "site"
    project.mkdir()
    (project / "pyproject.toml").write_text(PROJECT)
    (project / "their_store.py").write_text(MODULE)
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--quiet")
    run("-m", "pip", "install", *offline, "--target", str(site), str(project), folder=site)
    url = f"their://{tmp_path / 'tokens.db'}"
    run("-c", PROGRAM, url, folder=site)
    command = "from twitchvault.cli import main; main()"
    assert "1001" in run("-c", command, "list", "--store", url, folder=site)
