"""What a caller may do wrong, or do at an odd time: arguments, opening, forks, a missing driver."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import redis

from tests.redis_store.test_redis_errors import SECRET, chain, refused
from twitchvault.errors import StoreError
from twitchvault.stores import RedisStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.redis_store.servers import Server


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}/@localhost:6379",
        f"redis://localhost:{SECRET}",
        f"redis://localhost/0?socket_timeout={SECRET}",
        f"redis://localhost/0?no_such_option={SECRET}",
        f"http://:{SECRET}@localhost",
        f"{SECRET}",
        "",
    ],
)
def test_bad_urls(url: str) -> None:
    """A URL that cannot be used is refused at once, and not shown."""
    with pytest.raises(ValueError, match="'url_or_client'") as caught:
        RedisStore(url)
    assert SECRET not in chain(caught.value)


@pytest.mark.parametrize("client", [None, 7, b"redis://localhost", redis.Redis(), object()])
def test_no_client_of_ours(client: object) -> None:
    """What is neither a URL nor an asyncio client of the driver is refused at once."""
    with pytest.raises(
        TypeError, match=r"'url_or_client' must be a URL .* or a client of redis\.asyncio"
    ):
        RedisStore(client)  # type: ignore[arg-type]


@pytest.mark.parametrize("namespace", ["", "a{b", "}", "x" * 513, "\ud800"])
def test_bad_namespaces(namespace: str) -> None:
    """A namespace is one that could be a key, without braces."""
    with pytest.raises(ValueError, match="'namespace'"):
        RedisStore("redis://localhost", namespace=namespace)


@pytest.mark.parametrize("number", [-1, True, 1.5, "1", None])
def test_bad_min_replicas(number: object) -> None:
    """`min_replicas` counts."""
    with pytest.raises(ValueError, match="'min_replicas'"):
        RedisStore("redis://localhost", min_replicas=number)  # type: ignore[arg-type]


async def test_not_open(server: Server, namespace: str) -> None:
    """Not yet open, being opened, and closed are told apart."""
    store = RedisStore(server.url, namespace=namespace)
    with pytest.raises(StoreError, match="is not open yet"):
        await store.get("key")
    opening = asyncio.create_task(store.open())
    await asyncio.sleep(0)
    with pytest.raises(StoreError, match="is still being opened"):
        await store.get("key")
    await opening
    await store.close()
    with pytest.raises(StoreError, match="is closed"):
        await store.get("key")


async def test_opening_is_cancelled(server: Server, namespace: str) -> None:
    """Of several who open at once one is cancelled; the others get an open store."""
    store = RedisStore(server.url, namespace=namespace)
    openings = [asyncio.create_task(store.open()) for _ in range(3)]
    await asyncio.sleep(0)
    openings[0].cancel()
    await asyncio.wait(openings)
    assert [opening.cancelled() for opening in openings] == [True, False, False]
    assert await store.put("key", b"value")
    await store.close()


async def test_open_again_after_a_failure(own_server: Callable[..., Server]) -> None:
    """A store whose server came late is opened by the second try."""
    server = await own_server().ready()
    server.kill()
    store = RedisStore(server.url)
    await refused(store, "cannot be reached")
    await server.start().ready()
    async with store:
        assert await store.put("key", b"value")


FORKED = """
import asyncio, os, sys
from redis.asyncio import Redis
from twitchvault.stores import RedisStore
source = sys.argv[1] if sys.argv[2] == "url" else Redis.from_url(sys.argv[1])
store = RedisStore(source, namespace=sys.argv[3])

async def use():
    try:
        await store.get("key")
    except Exception as error:
        print(type(error).__name__, "closed" in str(error))
    try:
        await store.open()
        print(await store.put("key", b"child") > 0)
        await store.close()
    except Exception as error:
        print(type(error).__name__, "fork" in str(error))

async def main():
    await store.open()
    await store.put("key", b"parent")

runner = asyncio.Runner()
runner.run(main())
child = os.fork()
if child == 0:
    asyncio.run(use())
    sys.stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
async def after():
    print((await store.get("key")).value)
    await store.close()
    if not isinstance(source, str):
        await source.aclose()
runner.run(after())
runner.close()
"""


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("url", ["StoreError True", "True", "b'child'"]),
        ("client", ["StoreError True", "StoreError True", "b'parent'"]),
    ],
)
def test_after_a_fork(server: Server, namespace: str, kind: str, told: list[str]) -> None:
    """A child does not use its parent's connections: it opens anew, or is told that it cannot."""
    command = [sys.executable, "-c", FORKED, server.url, kind, namespace]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.split("\n")[:-1] == told, done.stderr


UNCLOSED = """
import asyncio, sys
from twitchvault.stores import RedisStore

async def main():
    store = RedisStore(sys.argv[1], namespace=sys.argv[2])
    await store.open()
    context = store.watch()
    await context.__aenter__()
    await store.put("key", b"value")
    print("done")

asyncio.run(main())
"""


def test_interpreter_ends_without_close(server: Server, namespace: str) -> None:
    """A program that forgets to close its store ends all the same."""
    command = [sys.executable, "-c", UNCLOSED, server.url, namespace]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


def test_missing_driver() -> None:
    """Without the driver the package imports; making a store says what to install."""
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "import twitchvault.stores; from twitchvault.stores import RedisStore\n"
        "try: RedisStore('redis://localhost')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout == (
        "MissingDriver RedisStore needs the package 'redis' (redis-py): "
        "pip install 'twitchvault[redis]'\n"
    ), done.stderr
