"""The one place that sends HTTP.

Nothing that aiohttp raises leaves this module: whatever goes wrong between us and an answer is a
`NoAnswer`, which says whether the service can have acted on the request. Its message names host
and port, never a path, a query, a header or a body.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import os
from contextlib import suppress
from socket import gaierror
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from twitchvault.errors import ClientException, NoAnswer, WrongType
from twitchvault.request_body import AnswerClock, RequestBody

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["DEFAULT_TIMEOUT", "Answer", "HTTPClient"]

DEFAULT_TIMEOUT: Final = 30.0
"""Seconds that one exchange may take, from asking the pool for a connection to the last byte."""
LIMIT: Final = 4 << 20
"""Bytes that an answer may have, after decompression."""
_CLOSE_TIMEOUT: Final = 1.0
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None)  # `send` has its own, around everything
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_BEFORE_SENDING: Final = (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, ValueError)
"""What can only happen before a request is written."""
_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (aiohttp.ClientConnectorCertificateError, "its TLS certificate is not trusted"),
    (aiohttp.ServerFingerprintMismatch, "its TLS certificate is not the expected one"),
    (aiohttp.ClientSSLError, "no TLS connection could be made"),
    # The first releases of aiohttp 3.10 have no error of their own for it.
    (getattr(aiohttp, "ClientConnectorDNSError", gaierror), "its name cannot be resolved"),
    (aiohttp.ClientProxyConnectionError, "the proxy cannot be reached"),
    (aiohttp.ClientHttpProxyError, "the proxy refused to connect to it"),
    (aiohttp.ServerDisconnectedError, "the connection was closed before an answer came"),
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

    A `session` or `connector` passed in is used and stays the caller's to close; a session brings
    its own connector and traces, so it cannot be combined with `connector` or `http_trace`.
    A trace sees requests as they are, secrets included, and can hold them up.
    Proxies from the environment are ignored.
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
    ) -> None:
        if session is not None and (connector is not None or http_trace is not None):
            msg = "'connector' and 'http_trace' belong to a session: give them to your 'session'"
            raise ValueError(msg)
        self.client_id = client_id
        self.closed = False
        self._given = session
        self._own: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connector = connector
        url = None if proxy is None else _proxy(proxy, proxy_auth)
        self._proxy: Callable[[], URL | None] = lambda: url  # no list of attributes shows it
        self._traces = [] if http_trace is None else [http_trace]

    def __repr__(self) -> str:
        return f"HTTPClient(client_id={self.client_id!r})"

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

        The other two are for requests with a body. `may_send` is asked once, right before the
        body's first byte leaves. If it says no, nothing of the body leaves, and `NoAnswer` has
        `too_late` and is not `sent`. Headers may have left: keep secrets in bodies.
        `answer_timeout`: once the body has left, `timeout` does not count any more. The answer is
        awaited as long as the connection lives, at most for so many seconds in which the loop ran:
        while it is blocked, or the process stopped, no time passes. An answer that has reached this
        machine is read.
        """
        if method not in _METHODS:
            msg = f"'method' must be one of {', '.join(sorted(_METHODS))}, not {method!r}"
            raise ValueError(msg)
        body = _body(form, json, may_send)
        failure: NoAnswer
        try:
            async with asyncio.timeout(timeout) as time_limit:
                if body is not None and answer_timeout is not None:
                    body.answer_clock = AnswerClock(time_limit, answer_timeout)
                return await self._exchange(body, method, url, headers=headers, params=params)
        except asyncio.CancelledError:
            if _cancelled():
                raise
            failure = _lost(url, body, "the connector was closed")
        except TimeoutError:
            waited = answer_timeout if answer_timeout and body and body.sent else timeout
            failure = _lost(url, body, f"nothing came within {waited:g} s")
        except _TooLargeError:
            failure = _lost(url, body, f"the answer is longer than {LIMIT} bytes")
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            failure = _lost(url, body, _reason(error), before=isinstance(error, _BEFORE_SENDING))
        # Raised out here, the failure carries no trace of the original, which can hold URLs.
        raise failure

    async def close(self) -> None:
        """Close the session if it is ours; idempotent.

        Nothing can be sent any more, so that no new session is left open: until `closed` is False.
        """
        self.closed = True
        await self._close_session()

    async def _close_session(self) -> None:
        session, self._own = self._own, None
        if session is not None:
            # At the time limit the sockets are shut down; only TLS's close messages are missing.
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await session.close()

    async def _exchange(self, body: RequestBody | None, *args: Any, **kwargs: Any) -> Answer:  # noqa: ANN401
        session = await self._session()
        try:
            async with session.request(
                *args,
                **kwargs,
                data=body,
                allow_redirects=False,
                raise_for_status=False,
                proxy=self._proxy(),
                timeout=_NO_TIMEOUT,
            ) as response:
                return Answer(response.status, response.headers, await _read(response))
        finally:
            if body is not None and body.answer_clock is not None:
                body.answer_clock.stop()

    async def _session(self) -> aiohttp.ClientSession:
        if self.closed:
            msg = "the flow is closed: authorize() opens it again"
            raise ClientException(msg)
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            await self._close_session()  # it belongs to a loop that has ended
        if self._given is None and self._own is None:
            self._loop = loop
            self._own = aiohttp.ClientSession(
                connector=self._connector,
                connector_owner=self._connector is None,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "twitchvault"},
                trace_configs=self._traces,
            )
        session = self._given or self._own
        if session is None or session.closed:
            msg = "the aiohttp session or connector passed in is closed: pass an open one"
            raise ClientException(msg)
        return session


class _TooLargeError(Exception):
    """The answer is longer than it may be."""


def _body(
    form: Mapping[str, str] | None, json: object, may_send: Callable[[], bool] | None
) -> RequestBody | None:
    if form is not None:
        # A lone surrogate becomes "?": the service will refuse it, and no error quotes it.
        content = urlencode(form, errors="replace").encode()
        return RequestBody(content, "application/x-www-form-urlencoded", may_send)
    if json is None:
        return None
    try:
        content = jsonlib.dumps(json, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        kind = WrongType if isinstance(error, TypeError) else ValueError
        raise kind(f"'json' cannot be sent as JSON: {error}") from None
    return RequestBody(content, "application/json", may_send)


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


def _lost(url: str, body: RequestBody | None, reason: str, *, before: bool = False) -> NoAnswer:
    if body is not None and body.too_late:
        msg = f"nothing was sent to {_where(url)}: the time to send it was over"
        return NoAnswer(msg, sent=False, too_late=True)
    sent = not before if body is None else body.sent
    return NoAnswer(f"no answer from {_where(url)}: {reason}", sent=sent)


def _where(url: str) -> str:
    try:
        target = URL(url)
        return f"{target.host or '?'}:{target.port or '?'}"
    except ValueError:
        return "?"


def _reason(error: Exception) -> str:
    underlying = getattr(error, "os_error", error)
    for kind, reason in _REASONS:
        if isinstance(error, kind) or isinstance(underlying, kind):
            return reason
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number and number > 0 else "the connection failed"


def _cancelled() -> bool:
    # A connector that is closed cancels those who wait for it, without anybody cancelling us.
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _proxy(proxy: str | URL, auth: aiohttp.BasicAuth | None) -> URL:
    """The proxy's URL with user and password in it, from where aiohttp takes them."""
    try:
        url = URL(proxy)
    except (TypeError, ValueError):
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        msg = "'proxy' must be an absolute http or https URL"
        raise ValueError(msg)
    return url if auth is None else url.with_user(auth.login).with_password(auth.password)
