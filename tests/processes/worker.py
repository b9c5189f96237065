"""A process with one flow, driven over a socket; see `fleet.Worker`.

One JSON object per line: in `{"id", "do", "with"}`, out `{"id", "result"}` or
`{"id", "error", "message"}`.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import aiohttp

from twitchvault import App

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from socket import socket
    from types import SimpleNamespace


SIGNALS = (
    "on_request_start",
    "on_connection_create_start",
    "on_request_headers_sent",
    "on_request_chunk_sent",
)


class Bot:
    """What a process can do; each public method is a command, and so are those of the flow."""

    def __init__(self) -> None:
        self._app: App | None = None
        self._gate = asyncio.Event()
        self._stopping_at = ""

    @property
    def app(self) -> App:
        """The flow."""
        assert self._app is not None, "'start' comes first"
        return self._app

    async def start(
        self,
        client_id: str,
        client_secret: str | None,
        *,
        stoppable: bool = False,
        clock: float = 0,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """Make a flow and authorize it.

        `clock`: by how many seconds this machine's wall clock is wrong.

        `stoppable`: `stop_at` will be used. A connection then serves one request only, so that each
        request passes all signals. That makes a call twice as dear, which matters to tests with
        thousands of them.
        """
        if clock:
            honest = time.time
            time.time = lambda: honest() + clock
        if stoppable:
            options["http_trace"] = self._trace()
            options["connector"] = aiohttp.TCPConnector(force_close=True)
        self._app = App(client_id, client_secret, **options)
        await self._app.authorize()

    async def add_user(self, access_token: str, refresh_token: str) -> str:
        """A login."""
        return (await self.app.add_user(access_token, refresh_token)).user_id

    async def add_token(self, user_id: str, access_token: str, refresh_token: str) -> str:
        """Unseen, durable, then used."""
        user = self.app.add_token(user_id, access_token, refresh_token)
        await self.app.flush()
        return (await user.get_user()).id

    async def refresh_token(self, token: str) -> list[str | None]:
        """The exchange of a refresh token from anywhere: the pair."""
        answer = await self.app.refresh_token(token)
        return [answer.access_token, answer.refresh_token]

    async def call(self, user_id: str, count: int = 1, seconds: float = 0) -> list[str]:
        """Helix calls of so many tasks, spread over some time: the errors that occurred."""
        user = self.app.get_user_by_id(user_id)

        async def after(pause: float) -> None:
            await asyncio.sleep(pause)
            await user.get_user()

        tasks = (after(seconds * number / count) for number in range(count))
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        return [repr(outcome) for outcome in outcomes if isinstance(outcome, BaseException)]

    async def refresh(self, user_id: str) -> list[str | None]:
        """An explicit refresh: the pair."""
        token = await self.app.get_user_by_id(user_id).refresh()
        return [token.access_token, token.refresh_token]

    async def token(self, user_id: str) -> list[str | None] | None:
        """The pair as the view shows it now."""
        pair = self.app.tokens.get(user_id)
        return None if pair is None else list(pair)

    async def needs_login(self, user_id: str) -> str | None:
        """Why this user has to sign in again, as the view shows it now."""
        return self.app.needs_login.get(user_id)

    async def remove_token(self, user_id: str) -> None:
        """Remove a user, durably."""
        self.app.remove_token(user_id)
        await self.app.flush()

    async def block(self, seconds: float) -> None:
        """From the next moment on the loop stands still for so long."""
        asyncio.get_running_loop().call_soon(time.sleep, seconds)

    async def stop_at(self, signal: str) -> None:
        """Hold the next refresh request at this signal of aiohttp's tracing, until `go`."""
        self._gate.clear()
        self._stopping_at = signal

    async def held(self) -> None:
        """Return once a request is held."""
        while self._stopping_at:  # noqa: ASYNC110 - driven by a test, which has a limit
            await asyncio.sleep(0.002)

    async def go(self) -> None:
        """Let what is held go on."""
        self._gate.set()

    def _trace(self) -> aiohttp.TraceConfig:
        trace = aiohttp.TraceConfig()
        for signal in SIGNALS:
            getattr(trace, signal).append(self._holder(signal))
        return trace

    def _holder(self, signal: str) -> Callable[..., Awaitable[None]]:
        async def hold(_session: object, request: SimpleNamespace, params: Any) -> None:  # noqa: ANN401
            if signal == "on_request_start":
                request.is_token = params.url.path.endswith("/token")
            if self._stopping_at == signal and request.is_token:
                self._stopping_at = ""
                await self._gate.wait()

        return hold


async def _outcome_of(command: Coroutine[Any, Any, object]) -> dict[str, object]:
    try:
        return {"result": await command}
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}


async def _answer(bot: Bot, command: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    name = command["do"]
    method = getattr(bot if hasattr(bot, name) else bot.app, name)
    outcome = await _outcome_of(method(**command["with"]))
    writer.write(json.dumps({"id": command["id"], **outcome}).encode() + b"\n")


async def _serve(channel: socket) -> None:
    reader, writer = await asyncio.open_connection(sock=channel)
    bot, running = Bot(), set()
    while line := await reader.readline():
        task = asyncio.create_task(_answer(bot, json.loads(line), writer))
        running.add(task)
        task.add_done_callback(running.discard)
    writer.close()


def live(channel: socket) -> None:
    """The life of a process: it ends when the other end of the channel does."""
    asyncio.run(_serve(channel))
