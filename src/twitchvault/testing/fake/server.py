"""FakeTwitch: the double behind a real HTTP server."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from aiohttp import web

from .commands import Addresses, Commands
from .identity import GRANTS
from .messages import DROPPED, JSON, Answer, Call, identity_error, not_found
from .model import Refusal, RequestLog
from .process import PREFIX, serve

if TYPE_CHECKING:
    from .messages import Handler

SECRET_NAMES: Final = frozenset(
    {"client_secret", "access_token", "refresh_token", "token", "device_code", "code", "id_token"}
)
IDENTITY: Final = frozenset({"token", "device", "validate", "revoke", "keys"})
CONNECTIONS: Final = 1024
COMPRESS_FROM: Final = 1024
"""Bytes from which a body goes out compressed, where the client takes that."""


class FakeTwitch(Addresses, Commands):
    """A double of Twitch's identity service and of a little Helix, on this machine.

    host, port: where to listen; port 0 takes a free one.
    seed: makes tokens and jitter repeat.
    control: also offer the commands as JSON under /control/, to loopback only.
    settings: fields of `Settings`, by name.

    `async with` or `start()` and `close()`. Closing is idempotent, and does not wait for clients.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        seed: int | None = None,
        host: str = "127.0.0.1",
        control: bool = False,
        **settings: object,
    ) -> None:
        super().__init__(seed=seed, **settings)
        self._host = host
        self._port = port
        self._control = control
        self._runner: web.ServerRunner | None = None
        self._sockets = {"/ws": self._eventsub.serve, "/irc": self._irc.serve}
        self._routes: dict[tuple[str, str], Handler] = {
            ("POST", "/oauth2/token"): self._identity.token,
            ("POST", "/oauth2/device"): self._identity.device,
            ("GET", "/oauth2/validate"): self._identity.validate,
            ("POST", "/oauth2/revoke"): self._identity.revoke,
            ("GET", "/oauth2/keys"): self._id_tokens.keys,
            ("GET", "/oauth2/authorize"): self._consent.authorize,
            ("POST", "/oauth2/authorize"): self._consent.authorize,
            ("GET", "/"): self._consent.overview,
            ("GET", "/activate"): self._consent.activate,
            ("POST", "/activate"): self._consent.activate,
        }

    async def start(self) -> None:
        """Listen; a no-op when it does already."""
        if self._runner is not None:
            return
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.01)
        self._runner = runner
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port, backlog=CONNECTIONS)
        try:
            await site.start()
        except OSError:
            await self.close()
            raise
        self._port = runner.addresses[0][1]
        self._url = f"http://{self._host}:{self._port}"

    async def close(self) -> None:
        """Stop listening and cut what is open. What was issued stays; `start` takes it up again."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._control and request.path.startswith(PREFIX):
            return await serve(self, request)
        socket = self._sockets.get(request.path)
        if socket is not None and "Upgrade" in request.headers:
            return await socket(request)
        call = await _read(request, self.url)
        answer = await self._answer(call, self._route(call))
        self._log(call, answer)
        if answer.status != DROPPED:
            return await self._send(request, call, answer)
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)  # which nobody gets

    def _route(self, call: Call) -> Handler:
        if call.path.startswith("/helix/"):
            call.endpoint = "helix:" + call.path.removeprefix("/helix/")
            return self._helix.handle
        handler = self._routes.get((call.method, call.path))
        if handler is None:
            return lambda _: not_found()
        call.endpoint = call.path.rpartition("/")[2]
        if call.endpoint == "token":
            call.endpoint = GRANTS.get(call.params.get("grant_type", ""), "token")
        return handler

    async def _answer(self, call: Call, handler: Handler) -> Answer:
        answer = await self._instead(call, "before")
        if answer is None:
            answer = self._commit(call, handler)
            answer = await self._instead(call, "after") or answer
        if call.endpoint.startswith("helix:"):
            self._helix.add_rate_limit_headers(call, answer)
        return answer

    def _commit(self, call: Call, handler: Handler) -> Answer:
        identity = call.endpoint.partition(":")[0] in IDENTITY
        try:
            limited = identity and self._identity.limited(call)
            answer = Answer(429) if limited else handler(call)
        except Refusal as refusal:
            answer = identity_error(refusal.status, refusal.message)
        self._state.counters.add(call.endpoint, answer.status)
        if identity and answer.content_type == JSON:
            answer.content_type = self.identity_content_type
        return answer

    async def _send(
        self, request: web.BaseRequest, call: Call, answer: Answer
    ) -> web.StreamResponse:
        before, amid = self._latency(call)
        if before > 0:
            await asyncio.sleep(before)
        kind = {"Content-Type": answer.content_type} if answer.body else {}
        headers = {"Access-Control-Allow-Origin": "*", **kind, **answer.headers}
        if amid <= 0:
            whole = web.Response(status=answer.status, body=answer.body, headers=headers)
            accepted = request.headers.get("Accept-Encoding", "")
            if len(answer.body) >= COMPRESS_FROM and "gzip" in accepted:
                whole.enable_compression(web.ContentCoding.gzip)
            return whole
        response = web.StreamResponse(status=answer.status, headers=headers)
        response.content_length = len(answer.body)
        await response.prepare(request)
        half = len(answer.body) // 2
        await response.write(answer.body[:half])
        await asyncio.sleep(amid)
        await response.write(answer.body[half:])
        return response

    def _log(self, call: Call, answer: Answer) -> None:
        state, query, names = self._state, call.query.items(), tuple(call.params)
        secrets = tuple(n for n, value in query if n in SECRET_NAMES or value in state.secrets)
        state.counters.secrets_in_query += len(secrets)
        where = (call.method, call.path, call.endpoint)
        state.requests.append(RequestLog(state.now(), *where, names, secrets, answer.status))


async def _read(request: web.BaseRequest, base: str) -> Call:
    body: object = None
    form: dict[str, str] = {}
    with suppress(ValueError, RecursionError):  # a body that cannot be read has no parameters
        if request.content_type == JSON:
            body = await request.json()
        elif request.body_exists:
            posted = await request.post()
            form = {name: value for name, value in posted.items() if isinstance(value, str)}
    method, path, query = request.method, request.path, request.query
    return Call(method, path, query, form, request.headers, request.cookies, base, body)
