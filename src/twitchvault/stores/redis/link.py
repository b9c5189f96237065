"""The way to the server: which client, which address, how long to wait, when to try again."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis import exceptions
from redis.asyncio import Redis, RedisCluster, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.client import NEVER_DECODE

from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores.redis.failures import DRIVER_ERRORS, Failure, Translator
from twitchvault.stores.redis.scripts import READ, Names, Script
from twitchvault.stores.redis.tap import Tap
from twitchvault.stores.redis.wire import Record, parse_records

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["BUDGET", "Link", "check_source", "connect"]

BUDGET: Final = 5.0
"""Seconds after which a call that has not gone through is not tried again."""
ATTEMPT: Final = 3.0
"""Seconds for one try; what the driver does by itself in that time is its own affair."""
CONNECTING: Final = 2.5
"""Seconds for connecting; less than for the whole try, so that one knows what took so long."""
OPENING: Final = 1.0
"""Seconds for which `open` tries again, so that a wrong address is told soon."""
PAUSES: Final = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)
"""Seconds between tries; the last one repeats."""
SIDE_CALLS: Final = 2
"""Connections for what is neither a batch of reads, a batch of writes, nor the feed."""
CLOSING: Final = 2.0
"""Seconds for the driver to close its connections."""
QUIET: Final = 2.0
"""Seconds that the server may stay silent on purpose: XREAD BLOCK, WAIT."""

NOT_DECODED: Final[dict[str, str]] = {NEVER_DECODE: ""}
"""Values are arbitrary bytes, so the driver must not decode them, whatever the client is set to."""

log = logging.getLogger("twitchvault.stores.redis")

Reply: TypeAlias = Any
"""What the driver gives back; of what shape, the script or command says."""
Arguments: TypeAlias = tuple[bytes | str | int, ...]


def check_source(source: object) -> None:
    """Raise unless it is a URL that the driver takes, or a client of the driver's asyncio half."""
    if isinstance(source, Redis | RedisCluster):
        return
    if not isinstance(source, str):
        msg = (
            "'url_or_client' must be a URL (redis://, rediss://, unix://) or a client of "
            f"redis.asyncio, not {type(source).__module__}.{type(source).__name__}"
        )
        raise TypeError(msg)
    if not source.startswith(("redis://", "rediss://", "unix://")):
        msg = "'url_or_client' must begin with redis://, rediss:// or unix://"
        raise ValueError(msg)
    connect(source)


def connect(url: str) -> Redis:
    """A client of our own for this URL; it connects on first use."""
    try:
        # How long to wait and when to try again is said in one place: in `Link`. What the URL says
        # itself goes before these.
        client = Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=CONNECTING,
        )
        client.connection_pool.make_connection()  # type: ignore[no-untyped-call] # an option that does not exist shows only here
        return client
    except (ValueError, TypeError):
        pass
    # Raised out here: the driver's exception may quote the password, and must not be its context.
    msg = (
        "'url_or_client' is a URL that the driver cannot read; expected e.g. "
        "redis://user:password@host:6379/0, with special characters percent-encoded"
    )
    raise ValueError(msg)


class Link:
    """Runs our scripts on one server or cluster. Makes no task; holds a few connections at most."""

    def __init__(self, client: Redis | RedisCluster, names: Names, *, owned: bool) -> None:
        self.client: Any = client
        self.names = names
        self._owned = owned
        self._cluster = isinstance(client, RedisCluster)
        self._side = asyncio.Semaphore(SIDE_CALLS)
        pool: Any = client if self._cluster else getattr(client, "connection_pool")  # noqa: B009
        self._tap = None if self._cluster else Tap(pool)
        self._settings: dict[str, Any] = pool.connection_kwargs
        password = str(self._settings.get("password") or "")
        self.translator = Translator(self._address(), (password,), tls=self._encrypted())

    @property
    def address(self) -> str:
        """Where the server is, as messages name it."""
        return self.translator.address

    def _address(self) -> str:
        pool = getattr(self.client, "connection_pool", None)
        if self._cluster:
            first = next(iter(self.client.nodes_manager.startup_nodes), "?")
            return f"Redis Cluster at {first!r}"
        if (service := getattr(pool, "service_name", None)) is not None:
            return f"Redis Sentinel service {service!r}"
        if (path := self._settings.get("path")) is not None:
            return f"Redis at {str(path)!r}"
        host, port = self._settings.get("host", "localhost"), self._settings.get("port", 6379)
        return f"Redis at '{host}:{port}'"

    def _encrypted(self) -> bool:
        pool = getattr(self.client, "connection_pool", None)
        return issubclass(getattr(pool, "connection_class", object), SSLConnection)

    @property
    def quiet(self) -> float:
        """Seconds for which the server may be told to wait: less than the client's own patience."""
        patience = self._settings.get("socket_timeout", BUDGET)
        return QUIET if patience is None else min(QUIET, float(patience) / 2)

    async def side_call(
        self, script: Script, *args: bytes | str | int, budget: float = BUDGET
    ) -> Reply:
        """Run a script that may be run again, beside the batches."""
        async with self._side:
            return await self.steadily(lambda: self.run(script, args), budget=budget)

    async def steadily(
        self, call: Callable[[], Awaitable[Reply]], *, budget: float = BUDGET, writes: bool = False
    ) -> Reply:
        """The result of `call`, made again until it goes through or `budget` seconds are over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + budget
        in_doubt = False
        for tries in itertools.count():
            try:
                return await _attempt(call)
            except DRIVER_ERRORS as error:
                failure = self.translator.failure(error)
            in_doubt = in_doubt or failure.sent
            pause = PAUSES[min(tries, len(PAUSES) - 1)]
            if not failure.again or loop.time() + pause >= deadline:
                break
            await asyncio.sleep(pause)
        # Raised out here: the driver's exception is not the context of ours.
        raise _verdict(failure, in_doubt=in_doubt and writes)

    async def run(self, script: Script, args: Arguments) -> Reply:
        """One try at running a script; errors are the driver's."""
        tail = (len(self.names), *self.names, *args)
        try:
            return await self.client.execute_command("EVALSHA", script.sha, *tail, **NOT_DECODED)
        except exceptions.NoScriptError:
            pass
        return await self.client.execute_command("EVAL", script.source, *tail, **NOT_DECODED)

    async def run_replicated(
        self, script: Script, args: Arguments, replicas: int
    ) -> tuple[Reply, int | Exception]:
        """As `run`; also how many of so many replicas have the write, or why that is unknown.

        WAIT is about the writes of its own connection, so the two travel in one pipeline.
        """
        try:
            answer, replied = await self._replicated("EVALSHA", script.sha, args, replicas)
            if isinstance(answer, exceptions.NoScriptError):
                answer, replied = await self._replicated("EVAL", script.source, args, replicas)
            if isinstance(answer, Exception):
                raise answer
        except DRIVER_ERRORS:
            if self._cluster:
                await self.run(READ, (b"",))  # the driver looks up the slot anew only for a command
            raise
        return answer, replied

    async def _replicated(
        self, command: str, script: str | bytes, args: Arguments, replicas: int
    ) -> Reply:
        target = await self._target()
        how = {"allow_redirections": False} if self._cluster else {}
        pipe = self.client.pipeline(transaction=False)
        pipe.execute_command(
            command, script, len(self.names), *self.names, *args, **target, **NOT_DECODED
        )
        pipe.execute_command("WAIT", replicas, int(self.quiet * 1000), **target)
        return await pipe.execute(raise_on_error=False, **how)

    async def follow(self, position: int, count: int) -> list[Record]:
        """The changes after `position`, waiting for one for a while; one try, the driver's errors.

        Holds one connection of the client until `unfollow`.
        """
        command = ("XREAD", "COUNT", count, "BLOCK", int(self.quiet * 1000))
        where = ("STREAMS", self.names.changes, f"{position}-0")
        async with asyncio.timeout(self.quiet + ATTEMPT):
            if self._tap is not None:
                return parse_records(await self._tap.run(*command, *where))
            how = {**await self._target(), **NOT_DECODED}
            return parse_records(await self.client.execute_command(*command, *where, **how))

    async def unfollow(self) -> None:
        """Give the connection of `follow` back."""
        if self._tap is not None:
            await self._tap.close()

    async def policy(self) -> str:
        """The server's `maxmemory-policy`, or "" if it does not tell."""
        try:
            async with asyncio.timeout(ATTEMPT):
                info = await self.client.execute_command("INFO", "memory", **await self._target())
        except DRIVER_ERRORS:
            return ""
        return str(info.get("maxmemory_policy", "")) if isinstance(info, dict) else ""

    async def _target(self) -> dict[str, Any]:
        """Options that send a command without a key to the primary of our slot."""
        if not self._cluster:
            return {}
        await self.client.initialize()
        return {"target_nodes": self.client.get_node_from_key(self.names.changes)}

    async def close(self) -> None:
        """Close the client if it is our own."""
        if not self._owned:
            return
        try:
            async with asyncio.timeout(CLOSING):
                await self.client.aclose()
        except DRIVER_ERRORS as error:
            log.debug("%s: closing: %s", self.address, type(error).__name__)


async def _attempt(call: Callable[[], Awaitable[Reply]]) -> Reply:
    """The result of `call`, within its time."""
    task = asyncio.current_task()
    cancelled = task.cancelling() if task else 0
    async with asyncio.timeout(ATTEMPT):
        result = await call()
    # Up to Python 3.11 `asyncio.wait_for`, which the driver uses, may swallow a cancellation.
    if task and task.cancelling() > cancelled:
        raise asyncio.CancelledError
    return result


def _verdict(failure: Failure, *, in_doubt: bool) -> StoreError:
    """The error to raise; a write that may have happened is told as such."""
    if in_doubt and isinstance(failure.error, StoreUnavailable):
        return StoreUnavailable(f"{failure.error}; the write may have taken place or not")
    return failure.error
