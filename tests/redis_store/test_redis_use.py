"""What a caller may do wrong, or do at an odd time: arguments, opening, a missing driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from redis.asyncio import Redis, RedisCluster

from tests.environment import text_of
from tests.redis_store.test_redis_errors import SECRET, refused
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
        f"redis://:{SECRET}@localhost?protocol=9",
        f"rediss://:{SECRET}@localhost?ssl_cert_reqs=no",
        f"http://:{SECRET}@localhost",
        f"{SECRET}",
        "",
    ],
)
def test_bad_urls(url: str) -> None:
    """A URL that cannot be used, or whose password is not percent-encoded, is not shown."""
    with pytest.raises(ValueError, match="'url_or_client'") as caught:
        RedisStore(url)
    assert SECRET not in text_of(caught.value)


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


@pytest.mark.parametrize(
    ("name", "value"),
    [("namespace", value) for value in ("", "a{b", "}", "x" * 513, "\ud800")]
    + [("min_replicas", value) for value in (-1, True, 1.5, "1", None)],
)
def test_bad_options(name: str, value: object) -> None:
    """A namespace is one that could be a key, without braces; `min_replicas` counts."""
    with pytest.raises(ValueError, match=f"'{name}'"):
        RedisStore("redis://localhost", **{name: value})  # type: ignore[arg-type]


async def test_open_again_after_a_failure(own_server: Callable[..., Server]) -> None:
    """A store whose server came late is opened by the second try."""
    server = await own_server().ready()
    server.kill()
    store = RedisStore(server.url)
    await refused(store, "cannot be reached")
    await server.start().ready()
    async with store:
        assert await store.put("key", b"value")
