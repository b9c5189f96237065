"""The one place that sends HTTP.

Whatever goes wrong between us and an answer is a `NoAnswer`, which says whether the service can
have acted on the request. Its message names host and port, never a path, query, header or body.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import math
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from twitchvault.errors import ClientException, NoAnswer, WrongType, WrongValue
from twitchvault.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import SimpleNamespace

    from aiohttp.abc import AbstractStreamWriter

__all__ = ["DEFAULT_TIMEOUT", "Answer", "HTTPClient"]

DEFAULT_TIMEOUT: Final = 30.0
"""Seconds for one exchange, from asking the pool for a connection to the last byte."""
LIMIT: Final = 4 << 20
"""Bytes that an answer may have, after decompression."""
LONGEST_LINE: Final = 1 << 16
"""Bytes of a header: no answer with tokens in it is lost for what a proxy adds."""


class _TooLargeError(aiohttp.ClientError):
    """The answer is longer than it may be."""


_CLOSE_TIMEOUT: Final = 1.0
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None)  # `send` has its own, around everything
_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (aiohttp.ClientConnectorCertificateError, "its TLS certificate is not trusted"),
    (aiohttp.ServerFingerprintMismatch, "its TLS certificate is not the expected one"),
    (aiohttp.ClientSSLError, "no TLS connection could be made"),
    (aiohttp.ClientConnectorDNSError, "its name cannot be resolved"),
    (aiohttp.ClientProxyConnectionError, "the proxy cannot be reached"),
    (aiohttp.ClientHttpProxyError, "the proxy refused to connect to it"),
    (aiohttp.ServerDisconnectedError, "the connection was closed before an answer came"),
    (_TooLargeError, f"the answer is longer than {LIMIT} bytes"),
    (aiohttp.ClientPayloadError, "the answer was cut off or garbled"),
    (aiohttp.ClientResponseError, "the answer is not HTTP"),
    (ValueError, "the request cannot be written as HTTP"),
)


class Answer(NamedTuple):
    """An HTTP answer, read to its end. Looking up a header ignores upper and lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Answer(status={self.status}, body=<{len(self.body)} bytes>)"


class HTTPClient:
    """Sends requests through one aiohttp session, made on first use.

    A `session` or `connector` passed in stays the caller's to close; a session brings its own
    connector and traces. A trace sees requests as they are, secrets included. Proxies from the
    environment are ignored unless `trust_env`.
    """

    def __init__(
        self,
        *,
        client_id: str,
        session: aiohttp.ClientSession | None = None,
        connector: aiohttp.BaseConnector | None = None,
        proxy: str | URL | None = None,
        proxy_auth: aiohttp.BasicAuth | None = None,
        http_trace: aiohttp.TraceConfig | None = None,
        trust_env: bool = False,
        metrics: Metrics | None = None,
    ) -> None:
        if session is not None and (connector is not None or http_trace is not None or trust_env):
            msg = "'connector', 'http_trace' and 'trust_env' belong to a session: give them to your"
            raise WrongValue(f"{msg} 'session'")
        self.client_id = client_id
        self.closed = False
        self.metrics = Metrics() if metrics is None else metrics
        self._given = session
        self._own: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connector = connector
        self._trust_env = trust_env
        url = None if proxy is None else _proxy(proxy, proxy_auth)
        self._proxy: Callable[[], URL | None] = lambda: url  # no list of attributes shows it
        self._traces = [] if http_trace is None else [http_trace, _last_trace()]

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Sequence[tuple[str, str]] = (),
        form: Mapping[str, str] | None = None,
        json: object = None,
        timeout: float = DEFAULT_TIMEOUT,
        may_send: Callable[[], bool] | None = None,
        answer_timeout: float | None = None,
    ) -> Answer:
        """Send one request, follow no redirect, read the answer to its end.

        Any status is an answer. `NoAnswer` if none arrives within `timeout` seconds, everything
        included, or if it is longer than 4 MiB. A body is written at most once.

        `may_send` is asked once, right before the body's first byte leaves. If it says no, nothing
        of the body leaves, and `NoAnswer` has `too_late`. Headers may have left: keep secrets in
        bodies. `answer_timeout`: the answer to a body that has left is awaited for so many seconds
        in which the loop runs, as long as the connection lives.
        """
        body = _body(form, json)
        if body is not None:
            body.may_send, body.answer_timeout = may_send, answer_timeout
            # Named here, for else a default of the caller's session would go before the body's own.
            headers = {**(headers or {}), "Content-Type": body.content_type}
        began, status = time.perf_counter(), "none"
        try:
            request = self._request(body, method, url, timeout, headers=headers, params=params)
            answer = await request
            status = str(answer.status)
            return answer
        finally:
            took, endpoint = time.perf_counter() - began, URL(url).path
            self.metrics.report("request", took, method=method, endpoint=endpoint, status=status)

    async def close(self) -> None:
        """Close the session if it is ours; nothing is sent any more until `closed` is False."""
        self.closed = True
        await self._close_session()

    async def _close_session(self) -> None:
        session, self._own = self._own, None
        if session is not None:
            # At the time limit the sockets are shut down; only TLS's close messages are missing.
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await session.close()

    async def _request(
        self,
        body: RequestBody | None,
        method: str,
        url: str,
        timeout: float,
        **options: Any,  # noqa: ANN401
    ) -> Answer:
        session, me, limit = await self._session(), asyncio.current_task(), asyncio.timeout(timeout)
        assert me is not None
        cancellations = me.cancelling()
        if body is not None:
            body.traced, body.limit = bool(self._traces), limit
        request = session.request(
            method,
            url,
            **options,
            data=body,
            allow_redirects=False,
            raise_for_status=False,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            proxy=self._proxy(),
            timeout=_NO_TIMEOUT,
            trace_request_ctx=body,
        )
        try:
            async with limit, request as response:
                return Answer(response.status, response.headers, await _read(response))
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            waited = body.answer_timeout if body and body.sent else None
            late = f"nothing came within {waited or timeout:g} s"
            reason = late if limit.expired() else _reason(error)
        except asyncio.CancelledError:
            connector = session.connector
            if me.cancelling() > cancellations or (connector and not connector.closed):
                raise  # a task that had cancelled itself is told only here
            reason = "the connector was closed"
        except Exception as error:
            if body is None or not body.sent:
                raise
            # A trace of the caller's has failed: what the answer would have been is not known.
            reason = f"the request failed with {type(error).__name__}"
        finally:
            if body is not None and body.timer is not None:
                body.timer.cancel()
        # Raised out here, it carries no trace of the original, which can hold URLs and headers.
        raise _no_answer(url, body, reason)

    async def _session(self) -> aiohttp.ClientSession:
        if self.closed:
            raise ClientException("the flow is closed: authorize() opens it again")
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            await self._close_session()  # it belongs to a loop that has ended
        if self._given is None and self._own is None:
            self._loop = loop
            self._own = aiohttp.ClientSession(
                connector=self._connector or aiohttp.TCPConnector(limit=0, limit_per_host=100),
                connector_owner=self._connector is None,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "twitchvault"},
                trace_configs=self._traces,
                trust_env=self._trust_env,
            )
        session = self._given or self._own
        if session is None or session.closed:
            msg = "the aiohttp session or connector passed in is closed: pass an open one"
            raise ClientException(msg)
        return session


class RequestBody(aiohttp.BytesPayload):
    """A request body that asks whether it may leave, and knows whether it left."""

    sent = False
    too_late = False
    traced = False
    may_send: Callable[[], bool] | None = None
    answer_timeout: float | None = None
    limit: asyncio.Timeout
    timer: asyncio.TimerHandle | None = None

    def leave(self) -> None:
        """Note that the body leaves now, or raise if it may not."""
        self.too_late = self.may_send is not None and not self.may_send()
        if self.too_late:
            raise ConnectionAbortedError
        if self.answer_timeout is not None:
            self.limit.reschedule(None)
            self._count_down(math.ceil(self.answer_timeout) + 1)
        self.sent = True

    def _count_down(self, seconds: int) -> None:
        """Await the answer for so many seconds in which the loop runs.

        They are counted, not measured, and one is added: a blocked loop or a stopped process costs
        one of them, and in the next the loop reads what lay in its socket.
        """
        loop = asyncio.get_running_loop()
        if seconds:
            self.timer = loop.call_later(1.0, self._count_down, seconds - 1)
        else:
            self.limit.reschedule(loop.time())

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the body if it may leave, once: sent twice, it would spend a token twice."""
        transport = getattr(writer, "transport", None)
        if self.sent or transport is None or transport.is_closing():
            raise ConnectionResetError
        if not self.traced:
            self.leave()
        await super().write(writer)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """As `write`; newer releases of aiohttp call this one."""
        del content_length
        await self.write(writer)


def _last_trace() -> aiohttp.TraceConfig:
    """A body leaves only after the caller's trace has been called, which may take its time."""

    async def on_chunk(_: object, context: SimpleNamespace, __: object) -> None:
        if isinstance(context.trace_request_ctx, RequestBody):
            context.trace_request_ctx.leave()

    trace = aiohttp.TraceConfig()
    trace.on_request_chunk_sent.append(on_chunk)
    return trace


def _body(form: Mapping[str, str] | None, json: object) -> RequestBody | None:
    if form is not None:
        # A lone surrogate becomes "?": the service will refuse it, and no error quotes it.
        content = urlencode(form, errors="replace").encode()
        return RequestBody(content, content_type="application/x-www-form-urlencoded")
    if json is None:
        return None
    try:
        content = jsonlib.dumps(json, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        kind = WrongType if isinstance(error, TypeError) else WrongValue
        raise kind(f"'json' cannot be sent as JSON: {error}") from None
    return RequestBody(content, content_type="application/json")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    if (response.content_length or 0) <= LIMIT:
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > LIMIT:
                break
        else:
            return bytes(content)
    response.close()
    raise _TooLargeError


def _no_answer(url: str, body: RequestBody | None, reason: str) -> NoAnswer:
    target = URL(url)
    where = f"{target.host}:{target.port}"
    if body is not None and body.too_late:
        msg = f"nothing was sent to {where}: the time to send it was over"
        return NoAnswer(msg, sent=False, too_late=True)
    return NoAnswer(f"no answer from {where}: {reason}", sent=body is None or body.sent)


def _reason(error: Exception) -> str:
    underlying = getattr(error, "os_error", error)
    for kind, reason in _REASONS:
        if isinstance(error, kind) or isinstance(underlying, kind):
            return reason
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number and number > 0 else "the connection failed"


def _proxy(proxy: str | URL, auth: aiohttp.BasicAuth | None) -> URL:
    """The proxy's URL with user and password in it, from where aiohttp takes them."""
    try:
        url = URL(proxy)
    except (TypeError, ValueError):
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise WrongValue("'proxy' must be an absolute http or https URL")
    return url if auth is None else url.with_user(auth.login).with_password(auth.password)
