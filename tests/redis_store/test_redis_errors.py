"""Errors name the address, the reason and what to do, and never a secret; wrong arguments."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from redis.asyncio import Redis, RedisCluster

from tests.environment import text_of, until
from tests.redis_store.proxy import MARK, Proxy
from tests.redis_store.servers import DURABLE, Server, free_port
from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores import RedisStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.redis_store.servers import Driver


SECRET = "correct-horse-battery"
PAGE = Path(__file__).parents[2] / "docs" / "stores" / "redis.md"


async def refused(
    store: RedisStore, pattern: str, kind: type[StoreError] = StoreUnavailable
) -> str:
    """The error of opening the store, which must be of this kind and match."""
    with pytest.raises(kind, match=pattern) as caught:
        await store.open()
    assert type(caught.value) is kind
    text = text_of(caught.value)
    assert SECRET not in text
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    await store.close()
    return text


def acl_of_the_page(*, password: str, namespace: str) -> list[str]:
    """The command that the documentation gives, for this namespace."""
    page = PAGE.read_text(encoding="utf-8")
    line = page[page.index("ACL SETUSER") :].partition("```")[0]
    return line.replace("PASSWORD", password).replace("{twitchvault}", f"{{{namespace}}}").split()


async def test_no_server() -> None:
    """Nothing listens: an error in time, with the address and the reason, without the password."""
    port = free_port()
    started = time.monotonic()
    text = await refused(RedisStore(f"redis://:{SECRET}@127.0.0.1:{port}"), f"'127.0.0.1:{port}'")
    assert "cannot be reached: Error 111" in text
    assert time.monotonic() - started < 4
    await refused(RedisStore("unix:///nowhere/redis.sock"), "'/nowhere/redis.sock': cannot be")
    await refused(RedisStore("redis://no-such-host.invalid"), "'no-such-host.invalid:6379': cannot")


async def test_tls_to_a_plain_server(server: Server) -> None:
    """What is to be encrypted is never sent in the clear."""
    await refused(RedisStore(f"rediss://:{SECRET}@127.0.0.1:{server.port}"), "no answer|cannot be")


async def test_server_gone_later(
    own_server: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    """Calls fail in time and tell what is unknown, the feed says so once; then all heals."""
    server = await own_server(*DURABLE).ready()
    async with RedisStore(server.url) as store, store.watch() as feed:
        version = await store.put("key", b"value")
        server.kill()
        async with asyncio.timeout(15):
            get, put = await asyncio.gather(
                store.get("key"), store.put("key", b"new"), return_exceptions=True
            )
        for error in (get, put):
            assert isinstance(error, StoreUnavailable)
            assert re.search(f"'127.0.0.1:{server.port}': cannot be reached", str(error))
        assert "may have taken place" in str(put)
        assert "may have taken place" not in str(get)
        await until(lambda: caplog.messages)
        where = f"Redis at '127.0.0.1:{server.port}'"
        assert caplog.messages[0].startswith(
            f"the feed tries again until it goes on: {where}: cannot"
        )
        assert [message.count(where) for message in caplog.messages] == [1]
        await server.start().ready()
        assert await store.get("key") == ("key", version, b"value")
        newer = await store.put("key", b"newer")
        assert (await feed.catch_up())[-1] == ("key", newer, b"newer")


async def test_a_server_that_hangs(own_server: Callable[..., Server]) -> None:
    """A thousand callers hear in one bounded time, so do `catch_up`, which heals, and `close`."""
    server = await own_server().ready()
    async with RedisStore(server.url) as store, store.watch() as feed:
        await store.put("key", b"value")
        await feed.catch_up()
        with server.stopped():
            async with asyncio.timeout(10):
                behind, *results = await asyncio.gather(
                    feed.catch_up(),
                    *(store.put(f"k{i}", b"value") for i in range(1000)),
                    return_exceptions=True,
                )
        assert all(isinstance(result, StoreUnavailable) for result in results)
        assert "may have taken place" in str(results[0])
        assert "this was not sent" in str(results[-1])
        assert f"127.0.0.1:{server.port}': no answer in time" in str(behind)
        version = await store.put("key", b"value")
        assert (await feed.catch_up())[-1] == ("key", version, b"value")
        with server.stopped():
            puts = [asyncio.create_task(store.put(f"k{i}", b"value")) for i in range(5)]
            await asyncio.sleep(0)
            async with asyncio.timeout(10):
                await store.close()
                results = await asyncio.gather(*puts, return_exceptions=True)
        assert all(isinstance(result, StoreUnavailable) for result in results)


async def test_password(own_server: Callable[..., Server]) -> None:
    """A wrong password and a missing one are different errors; neither shows one."""
    server = await own_server("--requirepass", SECRET).ready()
    where = f"127.0.0.1:{server.port}"
    await refused(
        RedisStore(f"redis://:wrong-{SECRET}@{where}"), f"'{where}': the user name or pass"
    )
    await refused(RedisStore(f"redis://{where}"), f"'{where}': a password is required")
    async with RedisStore(f"redis://:{SECRET}@{where}") as store:
        await store.put("key", b"value")
        assert SECRET not in repr(store)


async def test_minimal_permissions(own_server: Callable[..., Server]) -> None:
    """The commands that the documentation lists are enough, on the namespace's keys only."""
    server = await own_server().ready()
    async with server.client() as client:
        await client.execute_command(*acl_of_the_page(password=SECRET, namespace="mine"))
        url = f"redis://bot:{SECRET}@127.0.0.1:{server.port}"
        async with RedisStore(url, namespace="mine") as store, store.watch() as feed:
            version = await store.put("key", b"value")
            assert await feed.catch_up() == [("key", version, b"value")]
            assert [entry async for entry in store.scan()] == [("key", version, b"value")]
            await client.script_flush()
            assert await store.delete("key", expect=version) is True
        await refused(RedisStore(url, namespace="other"), "NOPERM|permission")
        rules = ("+wait", "+select", "+info")
        await client.execute_command("ACL", "SETUSER", "bot", *rules)
        more = RedisStore(f"{url}/1?socket_timeout=1", namespace="mine", min_replicas=1)
        async with more:
            with pytest.raises(StoreUnavailable, match=r"on the primary.* 0 of 1 replicas"):
                await more.put("key", b"value")


@pytest.mark.parametrize("part", ["entries", "changes", "deletes"])
async def test_key_of_another_type(
    server: Server, client: Driver, namespace: str, part: str
) -> None:
    """A key of the namespace that holds something else is an error; nothing is written."""
    async with RedisStore(server.url, namespace=namespace) as store:
        version = await store.put("key", b"value")
        key = f"{{{namespace}}}:{part}"
        await client.set(key, "not ours")
        with pytest.raises(StoreError, match="something that is not ours"):
            await store.put("key", b"new")
        await refused(
            RedisStore(server.url, namespace=namespace), "something that is not", StoreError
        )
        assert await client.get(key) == b"not ours"
        if part != "entries":
            assert await store.get("key") == ("key", version, b"value")


async def test_newer_form(server: Server, client: Driver, namespace: str) -> None:
    """A namespace that a newer version wrote is not touched."""
    await client.hset(f"{{{namespace}}}:entries", "", "2 7 7 7")
    store = RedisStore(server.url, namespace=namespace)
    await refused(store, "written by a newer version of twitchvault", StoreError)
    assert await client.keys(f"{{{namespace}}}:*") == [f"{{{namespace}}}:entries".encode()]


async def test_out_of_memory(own_server: Callable[..., Server]) -> None:
    """A full server refuses writes, all of a batch; it can still be opened and read."""
    server = await own_server("--maxmemory-policy", "noeviction").ready()
    async with RedisStore(server.url) as store:
        version = await store.put("key", b"value")
    async with server.client() as client:
        await client.config_set("maxmemory", "1kb")
        async with RedisStore(server.url) as store:
            for result in await asyncio.gather(
                *(store.put(f"k{i}", b"canary") for i in range(10)), return_exceptions=True
            ):
                assert isinstance(result, StoreUnavailable)
                assert "maxmemory" in str(result)
                assert "canary" not in text_of(result)
            assert [entry async for entry in store.scan()] == [("key", version, b"value")]
            await client.config_set("maxmemory", "0")
            assert await store.put("key", b"again") > version


SHA = "f" * 40


@pytest.mark.parametrize(
    ("reply", "pattern"),
    [
        (
            f"ERR Error running script (call to f_{SHA}): @user_script:9: @user_script: 9: -OOM no",
            "OOM no",
        ),
        (
            f"READONLY You can't write against a read only replica. script: {SHA}, on @user_script",
            "read only replica",
        ),
        ("NOPERM User bot has no permissions to run the 'xadd' command", "'xadd'.*ACL SETUSER"),
        (
            f"ERR The user executing the script can't run this command script: {SHA}, on @user_s",
            "can't run this command.*ACL SETUSER",
        ),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set", "is down"),
        ("CLUSTERDOWN Hash slot not served", "not served"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "[Mm]ultiple keys request"),
        ("MISCONF Redis is configured to save RDB snapshots, but", "MISCONF"),
        ("NOREPLICAS Not enough good replicas to write.", "good replicas"),
        (f"ERR unknown command 'EVALSHA', with args beginning with: '{SECRET}'", "unknown command"),
    ],
    ids=lambda value: value.split()[0],
)
async def test_replies_of_all_versions(
    server: Server, namespace: str, reply: str, pattern: str
) -> None:
    """Whatever its form, a reply is passed on, without a call's arguments."""
    async with Proxy(server.port) as proxy, RedisStore(proxy.url, namespace=namespace) as store:
        proxy.answer = f"-{reply}\r\n".encode()
        with pytest.raises(StoreUnavailable, match=f"^Redis at '127.0.0.1:.*{pattern}") as caught:
            await store.put("key", MARK)
        assert SECRET not in str(caught.value)
        assert "may have taken place" not in str(caught.value)
        proxy.answer = b"$nonsense\r\n"
        with pytest.raises(StoreUnavailable, match="may have taken place"):
            await store.put("key", MARK)


@pytest.mark.parametrize(
    ("policy", "warned"), [("allkeys-lru", True), ("volatile-lru", False), ("noeviction", False)]
)
async def test_eviction_is_warned_of(
    own_server: Callable[..., Server], caplog: pytest.LogCaptureFixture, policy: str, warned: bool
) -> None:
    """A policy that may evict our keys gives one warning that says what to set, if one may ask."""
    server = await own_server("--maxmemory-policy", policy).ready()
    with caplog.at_level(logging.WARNING, logger="twitchvault"):
        async with RedisStore(server.url) as store:
            await store.open()
            await store.put("key", b"value")
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == warned
    assert not warned or ("maxmemory-policy" in warnings[0] and "noeviction" in warnings[0])
    caplog.clear()
    async with server.client() as client:
        await client.acl_setuser(
            "bot", enabled=True, passwords=[f"+{SECRET}"], keys=["*"], commands=["+@all", "-info"]
        )
    async with RedisStore(f"redis://bot:{SECRET}@127.0.0.1:{server.port}") as store:
        await store.put("key", b"value")
    assert not [record for record in caplog.records if record.name.startswith("twitchvault")]


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}/@localhost:6379",
        f"redis://:{SECRET}#@localhost:6379/0",
        f"redis://:6379/{SECRET}@localhost",
        f"rediss://user:[{SECRET}@localhost",
        f"unix://:{SECRET}/@/tmp/redis.sock",
        f"redis://localhost:{SECRET}",
        f"redis://localhost/0?socket_timeout={SECRET}",
        f"redis://localhost/0?no_such_option={SECRET}",
        f"redis://:{SECRET}@localhost?decode_responses=yes",
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


async def test_a_scan_ends_with_its_store(server: Server, client: Driver, namespace: str) -> None:
    """A scan that goes on after `close` gets an error, and connects to the server no more."""
    store = RedisStore(f"{server.url}?client_name={namespace}", namespace=namespace)
    await store.open()
    await asyncio.gather(*(store.put(f"key {place}", b"value") for place in range(2_000)))
    scan = store.scan()
    await anext(scan)
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        async for _ in scan:
            pass
    assert namespace not in {one["name"] for one in await client.client_list()}
