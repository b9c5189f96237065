"""The driver's client: made from a URL or a user's own, and asked within a limit of time."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from twitchvault.errors import StoreError
from twitchvault.stores.redis.errors import map_error
from twitchvault.stores.redis.scripts import READ

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["Argument", "Client", "check_source"]

LIMIT: Final = 5.0
"""Seconds for a call, with all that the driver does to repeat it."""
QUIET: Final = 1.0
"""Seconds that the server may stay silent on purpose: XREAD BLOCK, WAIT."""
SOCKET_TIMEOUT: Final = 3.0
"""Seconds for one try of a client made from a URL."""
RETRIES: Final = 10
"""Tries of such a client; with the pauses between them they take about four seconds."""
AT_ONCE: Final = 500
"""Changes that one XREAD returns at most."""

_SCHEMES: Final = ("redis://", "rediss://", "unix://")

log = logging.getLogger("twitchvault.stores.redis")

Argument: TypeAlias = bytes | str | int
Answer: TypeAlias = Any
"""What the driver gives back; of what shape, the script or command says."""


def check_source(source: object) -> None:
    """Raise unless it is a URL that the driver takes, or a client that the store can use."""
    if isinstance(source, str):
        source = _connect(source)
    if not isinstance(source, Redis | RedisCluster):
        msg = (
            "'url_or_client' must be a URL (redis://, rediss://, unix://) or a client of "
            f"redis.asyncio, not {type(source).__module__}.{type(source).__name__}"
        )
        raise TypeError(msg)
    if source.get_encoder().decode_responses:
        msg = "'url_or_client' decodes answers, but a store keeps bytes: leave decode_responses out"
        raise ValueError(msg)
    if getattr(source, "single_connection_client", False):
        msg = "'url_or_client' has a single connection, which a feed would keep busy: use a pool"
        raise ValueError(msg)


def _connect(url: str) -> Redis:
    """A client of our own for this URL; it connects on first use."""
    if not url.startswith(_SCHEMES):
        msg = f"'url_or_client' must begin with {', '.join(_SCHEMES)}"
        raise ValueError(msg)
    # A '/', '?' or '#' in a password would end the host's part of the URL before the '@'.
    if "@" not in re.sub(r".*?://[^/?#]*", "", url, flags=re.DOTALL):
        try:
            # What the URL says itself goes before these.
            client = Redis.from_url(
                url,
                retry=Retry(ExponentialBackoff(cap=0.5, base=0.01), RETRIES),
                socket_timeout=SOCKET_TIMEOUT,
                socket_connect_timeout=SOCKET_TIMEOUT,
            )
            pool = client.connection_pool
            pool.connection_class(**pool.connection_kwargs)  # an unknown option shows only here
            return client
        except (ValueError, TypeError):
            pass
    # Raised out here: the driver's exception may quote the password, and must not be its context.
    msg = (
        "'url_or_client' is a URL that the driver cannot read; expected e.g. "
        "redis://user:password@host:6379/0, with special characters percent-encoded"
    )
    raise ValueError(msg)


class Client:
    """Runs scripts on one server or cluster; every failure is an error of ours."""

    def __init__(self, source: str | Redis | RedisCluster) -> None:
        self._owned = isinstance(source, str)
        self._driver: Any = _connect(source) if isinstance(source, str) else source
        self._scripts: dict[str, Any] = {}
        self._settings = self._driver.get_connection_kwargs()
        self._secret = str(self._settings.get("password") or "")
        self.server = self._server()

    def _server(self) -> str:
        """How messages name the server."""
        if isinstance(self._driver, RedisCluster):
            first = next(iter(self._driver.nodes_manager.startup_nodes), "?")
            return f"Redis Cluster at {first!r}"
        service = getattr(self._driver.connection_pool, "service_name", None)
        if service is not None:
            return f"Redis Sentinel service {service!r}"
        if path := self._settings.get("path"):
            return f"Redis at {str(path)!r}"
        host, port = self._settings.get("host", "localhost"), self._settings.get("port", 6379)
        return f"Redis at '{host}:{port}'"

    @property
    def quiet(self) -> float:
        """Seconds for which the server may be told to wait: less than the client's own patience."""
        return min(QUIET, (self._settings.get("socket_timeout") or LIMIT) / 2)

    async def run(
        self, source: str, keys: tuple[str, ...], *args: Argument, writes: bool = False
    ) -> Answer:
        """The answer of a script; `writes`: whether its failure leaves it open what happened."""
        script = self._scripts.get(source)
        if script is None:
            script = self._scripts[source] = self._driver.register_script(source)
        return await self._limited(script(keys, args), writes=writes)

    async def run_replicated(
        self, source: str, keys: tuple[str, ...], *args: Argument, replicas: int
    ) -> tuple[Answer, int | StoreError]:
        """As `run` for a script that writes; also how many replicas have confirmed it in time.

        WAIT counts the writes of its own connection, so both travel in one pipeline.
        """
        target: dict[str, Any] = {}
        how: dict[str, bool] = {}
        if isinstance(self._driver, RedisCluster):
            # The driver brings its slots up to date for a single command, not for a pipeline.
            await self.run(READ, keys, "")
            target = {"target_nodes": self._driver.get_node_from_key(keys[0])}
            how = {"allow_redirections": False}
        pipe = self._driver.pipeline(transaction=False)
        pipe.execute_command("EVAL", source, len(keys), *keys, *args, **target)
        pipe.execute_command("WAIT", replicas, int(self.quiet * 1000), **target)
        answer, confirmed = await self._limited(
            pipe.execute(raise_on_error=False, **how), writes=True
        )
        if isinstance(answer, Exception):
            raise self._error(answer, writes=True)
        if isinstance(confirmed, Exception):
            confirmed = self._error(confirmed, writes=False)
        return answer, confirmed

    async def changes(self, stream: str, position: int) -> Answer:
        """What XREAD finds behind `position`, waiting for it for a while."""
        call = self._driver.xread(
            {stream: f"{position}-{2**64 - 1}"}, count=AT_ONCE, block=int(self.quiet * 1000)
        )
        return await self._limited(call, writes=False)

    async def close(self) -> None:
        """Close the client if it is our own."""
        if self._owned:
            try:
                await self._limited(self._driver.aclose(), writes=False)
            except StoreError as error:
                log.debug("closing: %s", error)

    async def _limited(self, call: Awaitable[Answer], *, writes: bool) -> Answer:
        """The result of a call of the driver, in time."""
        try:
            async with asyncio.timeout(LIMIT):
                return await call
        except Exception as error:  # whatever comes out of the driver, callers hear of it from us
            failure = self._error(error, writes=writes)
        # Raised out here: the driver's exception is not the context of ours.
        raise failure

    def _error(self, error: Exception, *, writes: bool) -> StoreError:
        return map_error(error, self.server, self._secret, writes=writes)
