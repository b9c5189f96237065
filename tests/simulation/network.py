"""The network: an HTTP client for one process, and what happens to its requests on the way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from multidict import MultiDict

from tests.simulation.twitch import INSTEAD
from twitchvault.errors import NoAnswer
from twitchvault.http import Answer
from twitchvault.metrics import Metrics
from twitchvault.testing.fake.messages import Answer as Wire
from twitchvault.testing.fake.messages import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.simulation.facts import Request
    from tests.simulation.process import Process
    from tests.simulation.world import World

__all__ = ["SimHTTP"]

PATIENCE: Final = 300.0
"""Seconds of running for which an exchange's answer has to be awaited."""
HARMLESS: Final = frozenset(
    {"", "slow connection", "late request", "late answer", "repeat alive", "repeat dead"}
)
LIE_401: Final = "lie"
_HEADERS: Final[dict[str, dict[str, str]]] = {}


class SimHTTP:
    """Sends as `HTTPClient` does, into the simulated network."""

    def __init__(self, world: World, process: Process, client_id: str) -> None:
        self.client_id = client_id
        self.metrics = Metrics()
        self._world = world
        self._loop = world.loop
        self._host = process.host
        self._process = process
        self._weather = process.weather

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: object = None,
        form: Mapping[str, str] | None = None,
        json: object = None,
        timeout: float = 30.0,
        may_send: Callable[[], bool] | None = None,
        answer_timeout: float | None = None,
        limit: int = 1 << 20,
    ) -> Answer:
        """Send one request and await its answer, or `NoAnswer`."""
        del params, limit
        call = _call(method, url, headers, form, json)
        token = _token(call)
        request = self._world.books.request(self._host, call.endpoint, token)
        fault = self._weather.pick(request.endpoint) or ""
        began = self._loop.time()
        await self._connect(fault, timeout)
        if may_send is not None and not may_send():
            self._world.note(self._host.name, "sends nothing, it is too late", request.token)
            raise NoAnswer("too late to send", sent=False, too_late=True)
        rest = timeout - (self._loop.time() - began)
        return await self._carry(request, call, fault, rest, answer_timeout)

    async def _connect(self, fault: str, timeout: float) -> None:
        slow = fault == "slow connection"
        delay = self._weather.late() if slow else self._weather.connecting()
        if fault == "no connection":
            await asyncio.sleep(min(delay + self._weather.latency(), timeout))
            raise NoAnswer("no connection", sent=False)
        if delay:
            await asyncio.sleep(min(delay, timeout))
            if delay >= timeout:
                raise NoAnswer("no connection in time", sent=False)

    async def _carry(
        self, request: Request, call: Call, fault: str, rest: float, patience: float | None
    ) -> Answer:
        self._leave(request, call, fault)
        waiter: asyncio.Future[Answer] = self._loop.waiter()
        self._travel(request, call, waiter)
        begun, limit = self._host.ran(self._loop.now), rest if patience is None else patience
        timer = self._loop.call_later(
            max(limit, 0.0), self._give_up, request, waiter, begun, patience
        )
        try:
            return await waiter
        except asyncio.CancelledError:
            self._abandon(request, "no longer awaited")
            raise
        finally:
            timer.cancel()

    def _leave(self, request: Request, call: Call, fault: str) -> None:
        request.fate = fault
        request.left_at = self._loop.now
        self._world.note(self._host.name, f"sends {call.endpoint}", request.token, fault or None)

    def _give_up(
        self,
        request: Request,
        waiter: asyncio.Future[Answer],
        begun: float,
        patience: float | None,
    ) -> None:
        # An exchange's answer is awaited for seconds in which this process ran.
        if waiter.done():
            return
        left = 0.0 if patience is None else patience - (self._host.ran(self._loop.now) - begun)
        if left > 0:
            self._loop.call_later(left, self._give_up, request, waiter, begun, patience)
            return
        if patience is None or patience < PATIENCE:
            self._abandon(request, "timed out")
        else:
            self._fail(request, "no answer in five minutes")
        waiter.set_exception(NoAnswer("nothing came in time"))

    def _abandon(self, request: Request, why: str) -> None:
        if request.failed_at > self._loop.now and not self._host.dead:
            request.abandoned = self._process.waited_enough(request) is False
            self._fail(request, why)

    def _fail(self, request: Request, what: str) -> None:
        request.failed_at = min(request.failed_at, self._loop.now)
        self._world.note(self._host.name, f"{request.endpoint}: {what}", request.token)

    # On the way

    def _travel(self, request: Request, call: Call, waiter: asyncio.Future[Answer]) -> None:
        weather, at = self._weather, self._world.loop.at
        if request.fate in {"request lost", "ghost"}:
            at(weather.breaking(), self._break, request, waiter)
            if request.fate == "ghost":
                at(weather.late(), self._arrive, request, call, waiter)
            return
        slow = weather.late() if request.fate == "late request" else weather.latency()
        at(slow, self._arrive, request, call, waiter)

    def _break(self, request: Request, waiter: asyncio.Future[Answer]) -> None:
        self._world.loop.post(self._host, self._weather.hops(), self._broken, request, waiter)

    def _broken(self, request: Request, waiter: asyncio.Future[Answer]) -> None:
        if not waiter.done():
            self._fail(request, "the connection broke")
            waiter.set_exception(NoAnswer("the connection broke"))

    def _arrive(self, request: Request, call: Call, waiter: asyncio.Future[Answer]) -> None:
        request.arrived_at = self._loop.now
        when, _, name = request.fate.partition(": ")
        answer = None if when == "before" else self._handle(request, call)
        if request.fate == "ghost":
            return
        if request.fate == "answer lost":
            self._world.loop.at(self._weather.breaking(), self._break, request, waiter)
            return
        if answer is None or when == "after":
            answer = INSTEAD[name]
        slow = self._weather.late() if request.fate == "late answer" else self._weather.latency()
        self._world.loop.at(slow, self._deliver, request, waiter, answer)

    def _handle(self, request: Request, call: Call) -> Wire:
        if request.fate == LIE_401:
            return self._world.lie(request, call)
        answer = self._world.twitch.handle(request, call)
        self._world.note(
            "Twitch", f"answers {request.endpoint} {answer.status}", request.token, request.pair
        )
        return answer

    def _deliver(self, request: Request, waiter: asyncio.Future[Answer], answer: Wire) -> None:
        hops = self._weather.hops()
        self._world.loop.post(self._host, hops, self._answer, request, waiter, answer)

    def _answer(self, request: Request, waiter: asyncio.Future[Answer], answer: Wire) -> None:
        if waiter.done():
            return
        now, books = self._loop.now, self._world.books
        right = request.fate in HARMLESS or request.fate == LIE_401
        if right:
            books.answered(request, now)
        else:
            request.failed_at = now
        if request.endpoint in {"helix", "validate"} and right:
            key = (self._host, request.token)
            if answer.status == 200:
                books.accepted.setdefault(key, []).append(now)
                if request.endpoint == "validate":
                    books.validated[key] = now
            elif answer.status == 401:
                books.refused.setdefault(key, []).append(now)
                if request.endpoint == "validate":
                    books.validated_dead.setdefault(key, []).append(now)
        self._world.note(
            self._host.name, f"has {request.endpoint} {answer.status}", request.token, request.pair
        )
        headers = _HEADERS.setdefault(answer.content_type, {"Content-Type": answer.content_type})
        waiter.set_result(Answer(answer.status, headers, answer.body))


def _call(
    method: str,
    url: str,
    headers: Mapping[str, str] | None,
    form: Mapping[str, str] | None,
    json: object,
) -> Call:
    path = "/" + url.partition("://")[2].partition("/")[2]
    empty: MultiDict[str] = MultiDict()
    return Call(method, path, empty, form or {}, headers or {}, {}, "", json)


def _token(call: Call) -> str:
    """The token that a request presents; its endpoint is noted in it."""
    bearer = call.headers.get("Authorization", "").partition(" ")[2]
    if call.path.startswith("/helix/"):
        call.endpoint = "helix"
        return bearer
    call.endpoint = call.path.rpartition("/")[2]
    if call.endpoint == "validate":
        return bearer
    if call.endpoint == "revoke":
        return call.form.get("token", "")
    call.endpoint = "refresh" if call.form.get("grant_type") == "refresh_token" else "app"
    return call.form.get("refresh_token", "")
