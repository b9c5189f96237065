"""The driver's client: made from a URL or a user's own, and asked within a limit of time.

Whatever the driver raises becomes an error of ours. Its message names the server, never a password,
a value or an argument of a command: of the driver's texts only those are passed on that hold none.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import warnings
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis import exceptions
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from twitchvault.errors import StoreError, StoreUnavailable, WrongType, WrongValue
from twitchvault.stores.redis.scripts import COMMANDS, READ, STEP

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

# On Python 3.14 the driver uses what is deprecated there: no matter of our users, whose warnings
# may be errors.
warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"redis\.asyncio\.")

LIMIT: Final = 5.0  # seconds for a call, with all that the driver does to repeat it
QUIET: Final = 1.0  # seconds that the server may stay silent on purpose: XREAD BLOCK, WAIT
ONE_TRY: Final = 3.0  # seconds for one try of a client made from a URL

_SCHEMES: Final = ("redis://", "rediss://", "unix://")
_QUOTES: Final = re.compile(r",? with args beginning with.*|,? script: \S*,? ?on @user_script.*")
"""What a reply quotes of a command, or says of a script."""
_DENIED: Final = re.compile(r"NOPERM|ACL failure|[Nn]o permissions|can.t run this command")
_NO_PASSWORD: Final = re.compile(
    "NOAUTH|Authentication required|HELLO must be called with|without any password"
)

Argument: TypeAlias = bytes | str | int
Answer: TypeAlias = Any  # of what shape, the script or command says


def check_source(source: object) -> None:
    """Raise unless it is a URL that the driver takes, or a client that the store can use."""
    if isinstance(source, str):
        source = _connect(source)
    if not isinstance(source, Redis | RedisCluster):
        kind = f"{type(source).__module__}.{type(source).__name__}"
        msg = "'url_or_client' must be a URL (redis://, rediss://, unix://) or a client of "
        raise WrongType(msg + f"redis.asyncio, not {kind}")
    if source.get_encoder().decode_responses:
        msg = "'url_or_client' decodes answers, but a store keeps bytes: leave decode_responses out"
        raise WrongValue(msg)
    if getattr(source, "single_connection_client", False):
        msg = "'url_or_client' has a single connection, which a feed would keep busy: use a pool"
        raise WrongValue(msg)


def _connect(url: str) -> Redis:
    """A client of our own for this URL; it connects on first use."""
    if not url.startswith(_SCHEMES):
        raise WrongValue(f"'url_or_client' must begin with {', '.join(_SCHEMES)}")
    if url.startswith("unix://") and not hasattr(socket, "AF_UNIX"):
        raise WrongValue("a 'unix' URL needs Unix sockets, which this system lacks: use 'redis://'")
    # A '/', '?' or '#' in a password would end the host's part of the URL before the '@'.
    if "@" not in re.sub(r".*?://[^/?#]*", "", url, flags=re.DOTALL):
        try:
            # What the URL says itself goes before these.
            client = Redis.from_url(
                url,
                retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), retries=20),  # two seconds
                socket_timeout=ONE_TRY,
                socket_connect_timeout=ONE_TRY,
            )
            pool = client.connection_pool
            pool.connection_class(**pool.connection_kwargs)  # an unknown option shows only here
            return client
        except (ValueError, TypeError, exceptions.RedisError):
            pass
    # Raised out here: the driver's exception may quote the password, and must not be its context.
    msg = "'url_or_client' is a URL that the driver cannot read; expected e.g. "
    msg += "redis://user:password@host:6379/0, with special characters percent-encoded"
    raise WrongValue(msg)


class Client:
    """Runs scripts on the keys of one namespace; every failure is an error of ours."""

    def __init__(self, source: str | Redis | RedisCluster, name: str, min_replicas: int) -> None:
        self._keys = [f"{{{name}}}:{part}" for part in ("entries", "changes", "deletes")]
        self._min_replicas = min_replicas
        self._owned = isinstance(source, str)
        self._driver: Any = _connect(source) if isinstance(source, str) else source
        settings = self._driver.get_connection_kwargs()
        self._secret = str(settings.get("password") or "")
        # Less than the client's own patience.
        self._quiet = min(QUIET, (settings.get("socket_timeout") or LIMIT) / 2)
        self.server = self._server(settings)

    def _server(self, settings: dict[str, Any]) -> str:
        if isinstance(self._driver, RedisCluster):
            first = next(iter(self._driver.nodes_manager.startup_nodes), "?")
            return f"Redis Cluster at {first!r}"
        if service := getattr(self._driver.connection_pool, "service_name", None):
            return f"Redis Sentinel service {service!r}"
        if path := settings.get("path"):
            return f"Redis at {str(path)!r}"
        host, port = settings.get("host", "localhost"), settings.get("port", 6379)
        return f"Redis at '{host}:{port}'"

    async def run(self, script: str, *args: Argument) -> Answer:
        """The answer of a script that may be repeated."""
        return await self._limited(self._evaluate(script, args))

    async def run_write(self, script: str, args: Sequence[Argument]) -> tuple[Answer, str]:
        """The answer of a script that writes, and what is missing to `min_replicas`, if any."""
        if not self._min_replicas:
            return await self._limited(self._evaluate(script, args), writes=True), ""
        answer, confirmed = await self._limited(self._replicate(script, args), writes=True)
        if isinstance(confirmed, Exception):
            return answer, f"WAIT failed ({self._error(confirmed)})"
        if confirmed >= self._min_replicas:
            return answer, ""
        of = f"{confirmed} of {self._min_replicas} replicas"
        return answer, f"{of} (min_replicas) confirmed it in time"

    async def _evaluate(self, script: str, args: Sequence[Argument]) -> Answer:
        rest = (len(self._keys), *self._keys, *args)
        try:
            return await self._driver.evalsha(_digest(script), *rest)
        except exceptions.NoScriptError:
            # The driver's `register_script` would load it on the primaries that it knows; after a
            # failover the one that is asked need not be among them.
            return await self._driver.eval(script, *rest)

    async def _replicate(self, script: str, args: Sequence[Argument]) -> Answer:
        """The answers of a script and of WAIT, which counts only what its own connection wrote."""
        where, how = {}, {}
        if isinstance(self._driver, RedisCluster):
            # The driver brings its slots up to date for a single command, not for a pipeline.
            await self._evaluate(READ, [""])
            where = {"target_nodes": self._driver.get_node_from_key(self._keys[0])}
            how = {"allow_redirections": False}
        pipe = self._driver.pipeline(transaction=False)
        pipe.execute_command("EVAL", script, len(self._keys), *self._keys, *args, **where)
        pipe.execute_command("WAIT", self._min_replicas, int(self._quiet * 1000), **where)
        answer, confirmed = await pipe.execute(raise_on_error=False, **how)
        if isinstance(answer, Exception):
            raise answer
        return answer, confirmed

    async def changes(self, position: int) -> Answer:
        """What XREAD finds behind `position`, waiting for it for a while."""
        # Not by `xread`: for its metrics that takes the ids for times.
        command = "XREAD", "COUNT", STEP, "BLOCK", int(self._quiet * 1000), "STREAMS"
        after = f"{position}-{2**64 - 1}"
        return await self._limited(self._driver.execute_command(*command, self._keys[1], after))

    async def close(self) -> None:
        """Close the client if it is our own."""
        if self._owned:
            with suppress(StoreError):
                await self._limited(self._driver.aclose())

    async def _limited(self, call: Awaitable[Answer], *, writes: bool = False) -> Answer:
        """The result of a call of the driver; `writes`: its failure leaves open what happened."""
        try:
            async with asyncio.timeout(LIMIT):
                return await call
        except Exception as error:  # whatever comes out of the driver, callers hear of it from us
            failure = self._error(_driver_error(error), writes=writes)
        # Raised out here: the driver's exception is not the context of ours.
        raise failure

    def _error(self, error: BaseException, *, writes: bool = False) -> StoreError:
        text = " ".join(str(error).split())
        if self._secret:
            text = text.replace(self._secret, "***")
        if _NO_PASSWORD.search(text):
            return self._unavailable("a password is required; give it in the URL or to the client")
        if isinstance(error, exceptions.AuthenticationError):
            why = "the user name or password is wrong; correct it in the URL or the client"
            return self._unavailable(why)
        if isinstance(error, exceptions.ResponseError):
            return self._reply_error(_QUOTES.sub("", text))
        doubt = writes and not isinstance(error, exceptions.MaxConnectionsError)
        doubtful = "; the write may have taken place or not" if doubt else ""
        return self._unavailable(_describe(error, text) + doubtful)

    def _reply_error(self, reply: str) -> StoreError:
        if "WRONGTYPE" in reply:
            why = "a key of the namespace holds something that is not ours; choose another"
            return StoreError(f"{self.server}: {why} 'namespace'")
        if reply.startswith("FORM "):
            why = "the namespace was written by a newer version of twitchvault; upgrade this one"
            return StoreError(f"{self.server}: {why}")
        denied = _DENIED.search(reply)
        needed = f"the namespace's keys, {COMMANDS} +hello +client; +select for a database but 0"
        advice = f"; allow it with ACL SETUSER (needed: {needed})" if denied else ""
        return self._unavailable(f"the server answered: {reply}{advice}")

    def _unavailable(self, why: str) -> StoreUnavailable:
        return StoreUnavailable(f"{self.server}: {why}")


@cache
def _digest(source: str) -> str:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


def _driver_error(error: BaseException) -> BaseException:
    """What the driver was about to try again after, if the limit cut that short; else `error`."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, exceptions.RedisError):
        found = found.__context__
    return found or error


def _describe(error: BaseException, text: str) -> str:
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return "no answer in time"
    if isinstance(error, exceptions.RedisClusterException | exceptions.ClusterError):
        return "the cluster cannot be reached or does not cover all slots"  # its text quotes calls
    if isinstance(error, exceptions.ConnectionError | OSError):
        return f"cannot be reached: {text or type(error).__name__}"
    return f"the driver failed with {type(error).__name__}"
