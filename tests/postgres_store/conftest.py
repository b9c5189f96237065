"""A server that the tests share, each with a schema of its own."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.postgres_store.servers import Server
from tests.processes.conftest import fleet, twitch  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE: Final = Path(__file__).parents[2] / "docs" / "examples" / "postgres"

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server that runs when a test begins and when it ends."""
    server = Server()
    try:
        asyncio.run(server.start().ready())
        yield server
    finally:
        server.remove()


@pytest.fixture
async def url(server: Server) -> str:
    """An empty schema in its database."""
    name = f"test{next(_numbers)}"
    await server.execute(f"CREATE SCHEMA {name}")
    return f"{server.url}?search_path={name}"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example, installed as a package."""
    folder = tmp_path_factory.mktemp("site")
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--quiet")
    pip = (sys.executable, "-m", "pip", "install", *offline, "--target", str(folder), str(EXAMPLE))
    subprocess.run(pip, check=True, timeout=60)
    return folder


@pytest.fixture
def store_url(url: str, installed: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the processes of a fleet meet: they find the package by the URL's scheme."""
    monkeypatch.syspath_prepend(str(installed))
    return url
