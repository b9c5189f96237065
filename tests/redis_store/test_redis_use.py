"""What a caller may do wrong, or do at an odd time: arguments, opening, a missing driver."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import redis
from redis.asyncio import Redis, RedisCluster

from tests.redis_store.test_redis_errors import SECRET, chain, refused
from twitchvault.stores import RedisStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.redis_store.servers import Server


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}/@localhost:6379",
        f"redis://:{SECRET}#@localhost:6379/0",
        f"redis://:{SECRET}?x=1@localhost:6379",
        f"redis://:6379/{SECRET}@localhost",
        f"redis://:6379#{SECRET}@localhost",
        f"redis://user:12?{SECRET}@localhost",
        f"rediss://user:[{SECRET}@localhost",
        f"unix://:{SECRET}/@/tmp/redis.sock",
        f"redis://localhost:{SECRET}",
        f"redis://localhost/0?socket_timeout={SECRET}",
        f"redis://localhost/0?no_such_option={SECRET}",
        f"redis://:{SECRET}@localhost?decode_responses=yes",
        f"http://:{SECRET}@localhost",
        f"{SECRET}",
        "",
    ],
)
def test_bad_urls(url: str) -> None:
    """A URL that cannot be used, or whose password is not percent-encoded, is not shown."""
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


async def test_clients_that_do_not_fit() -> None:
    """A client that decodes answers, or has one connection only, is refused in a sentence."""
    decoding = (
        Redis(decode_responses=True),
        RedisCluster(host="127.0.0.1", port=1, decode_responses=True),
    )
    for client in decoding:
        with pytest.raises(ValueError, match="a store keeps bytes: leave decode_responses out"):
            RedisStore(client)
        await client.aclose()
    with pytest.raises(ValueError, match="has a single connection"):
        RedisStore(Redis(single_connection_client=True))


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


async def test_open_again_after_a_failure(own_server: Callable[..., Server]) -> None:
    """A store whose server came late is opened by the second try."""
    server = await own_server().ready()
    server.kill()
    store = RedisStore(server.url)
    await refused(store, "cannot be reached")
    await server.start().ready()
    async with store:
        assert await store.put("key", b"value")


def run(code: str, *args: str) -> str:
    """What a program prints where warnings are errors; it must say nothing else, and end well."""
    command = [sys.executable, "-W", "error", "-c", code, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


LIFE = """
import asyncio, sys
from redis.asyncio import Redis, RedisCluster
from twitchvault.stores import RedisStore

async def use(source):
    async with RedisStore(source, namespace=sys.argv[2]) as store, store.watch() as feed:
        await store.put("key", b"value")
        await store.delete("key")
        await asyncio.gather(*(store.put(f"k{i}", b"value", expect=0) for i in range(9)))
        assert len(await feed.catch_up()) == 10
        assert len([entry async for entry in store.scan()]) == 9
        assert await store.get("key") is None

async def main():
    kind, port = sys.argv[1], int(sys.argv[3])
    if kind == "url":
        return await use(f"redis://127.0.0.1:{port}")
    make = RedisCluster if kind == "cluster" else Redis
    async with make(host="127.0.0.1", port=port) as client:
        await use(client)

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["url", "client", "cluster"])
def test_warnings_as_errors(kind: str, request: pytest.FixtureRequest, namespace: str) -> None:
    """A program that takes warnings for errors can use the store, and hears nothing."""
    node = request.getfixturevalue("cluster" if kind == "cluster" else "server")
    port = (node[0] if kind == "cluster" else node).port
    assert run(LIFE, kind, namespace, str(port)) == ""
