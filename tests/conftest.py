"""What all tests share."""

from __future__ import annotations

import os
import platform
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tests.spawning  # noqa: F401 - before the contract starts its first process
from tests.environment import Environment, Storage
from twitchvault.http import HTTPClient
from twitchvault.testing import FakeTwitch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from twitchvault import DeviceCodeFlow, UserAPI


if sys.platform == "win32":
    # What is tested there by forks, signals, terminals and modes, or with a server.
    collect_ignore = [
        "cli",
        "docs",
        "integrations",
        "leaks",
        "postgres_store",
        "processes",
        "promises",
        "redis_store",
        "fernet/test_fernet_contract.py",
        "fernet/test_fernet_kill.py",
        "sqlite_store/test_sqlite_errors.py",
        "sqlite_store/test_sqlite_file.py",
        "sqlite_store/test_sqlite_lifetime.py",
        "stores/test_connected.py",
        "test_benchmarks.py",
        "test_demo.py",
        "test_environment.py",
        "test_history.py",
        "test_systems.py",
    ]

if sys.platform == "darwin" and platform.machine() != "arm64":
    collect_ignore = ["postgres_store"]  # no package brings a server for this machine

for ignored in ("SIGINT", "SIGHUP"):  # by a shell for what it starts in the background, or nohup
    number = getattr(signal, ignored, None)  # Windows has no SIGHUP
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        # All that comes of this process would inherit it.
        default = signal.default_int_handler if ignored == "SIGINT" else signal.SIG_DFL
        signal.signal(number, default)


def pytest_xdist_auto_num_workers() -> int:
    """More than there are cores: much of the time a test waits for a server or a process."""
    return (os.cpu_count() or 1) + 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each worker begins with its share of the long tests, so that none is left for the end."""
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    long = [item for item in items if item.get_closest_marker("long")]
    short = [item for item in items if not item.get_closest_marker("long")]
    total = len(items)
    items.clear()
    for worker in range(workers):
        items += long[worker::workers]
        share = max(0, total * (worker + 1) // workers - len(items))
        items += short[:share]
        del short[:share]


@pytest.fixture
def quick_path() -> Iterator[Path]:
    """A folder in memory where there is one: for stores that wait for the disk at every write."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    with tempfile.TemporaryDirectory(dir=memory if usable else None) as folder:
        yield Path(folder)


@pytest.fixture
def storage(request: pytest.FixtureRequest, quick_path: Path) -> Storage:
    """Where the flows of a test keep their tokens: in memory, unless it is `on_each_store`."""
    return Storage(getattr(request, "param", "memory"), quick_path)


@pytest.fixture
async def env(storage: Storage) -> AsyncIterator[Environment]:
    """A running double, a store, and a public client; whatever the test leaves open is closed."""
    async with FakeTwitch(seed=7) as twitch:
        env = Environment(twitch, storage)
        yield env
        await env.close()


@pytest.fixture
async def flow(env: Environment) -> AsyncIterator[DeviceCodeFlow]:
    """A device code flow of the public client, authorized."""
    async with env.device() as flow:
        yield flow


@pytest.fixture
async def user(env: Environment, flow: DeviceCodeFlow) -> UserAPI:
    """Alice, who has signed in to that flow."""
    return await env.login(flow)


@pytest.fixture
def confidential(env: Environment) -> None:
    """The client that is meant where none is named has a secret, and so an app token."""
    env.client = env.confidential


@pytest.fixture
async def client() -> AsyncIterator[HTTPClient]:
    """An HTTP client with a session of its own."""
    client = HTTPClient(client_id="abc")
    yield client
    await client.close()
