"""Faults, delays, and gates that hold a request until a test lets it go."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from .identity import GRANTS
from .messages import DROPPED, Answer, fault_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .messages import Call
    from .model import Seconds
    from .state import State

When: TypeAlias = Literal["before", "after"]

ENDPOINTS: Final = frozenset(
    {"token", "device", "validate", "revoke", "keys", "authorize", "activate", "helix"}
    | {*GRANTS.values()}
)


@dataclass(eq=False)
class Rule:
    """Which requests are meant, before or after their commit."""

    endpoint: str
    when: When
    match: Mapping[str, str]

    def __post_init__(self) -> None:
        _check_endpoint(self.endpoint)
        if self.when not in {"before", "after"}:
            raise ValueError(f"'when': expected 'before' or 'after', not {self.when!r}")

    def matches(self, call: Call, when: When) -> bool:
        """Whether the request is meant at this moment."""
        if self.when != when or not f"{call.endpoint}:".startswith(f"{self.endpoint}:"):
            return False
        return all(call.params.get(name) == value for name, value in self.match.items())


@dataclass(eq=False)
class Fault(Rule):
    """One call of `fail`; `times` counts down, None never ends."""

    times: int | None
    answer: Answer | None
    delay: float


@dataclass(eq=False)
class Gate(Rule):
    """Holds requests. `await reached(n)` waits until n have come, `release()` lets all go.

    A gate is used once: after its release, requests pass. `with` releases at the end.
    """

    number: int
    arrived: int = 0
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _arrival: asyncio.Event = field(default_factory=asyncio.Event)

    async def reached(self, count: int = 1, timeout: float = 10) -> None:
        """Return once `count` requests have arrived; TimeoutError after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while self.arrived < count:
                    self._arrival.clear()
                    await self._arrival.wait()
        except TimeoutError:
            text = f"{self.arrived} of {count} requests came to {self.endpoint!r} in {timeout} s"
            raise TimeoutError(text) from None

    def release(self) -> None:
        """Let every request go, those that come later too."""
        self._released.set()

    async def wait(self) -> None:
        """Count a request as arrived, and hold it until the release."""
        if not self._released.is_set():
            self.arrived += 1
            self._arrival.set()
            await self._released.wait()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Faults:
    """The commands that let requests fail, come late, or wait for the test."""

    _state: State

    def __init__(self) -> None:
        super().__init__()
        self._faults: list[Fault] = []
        self._delays: dict[str, tuple[Seconds, Seconds]] = {}
        self._gates: list[Gate] = []

    def fail(
        self,
        endpoint: str,
        *,
        status: int | None = None,
        body: str | Mapping[str, object] | None = None,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
        times: int | None = 1,
        when: When = "before",
        drop: bool = False,
        delay: float = 0,
        match: Mapping[str, str] | None = None,
    ) -> None:
        """Let the next `times` requests (None: all) to an endpoint fail.

        endpoint: token, device, validate, revoke, keys, authorize, activate, helix; or finer:
            token:refresh_token, token:client_credentials, token:device, token:code, helix:<path>.
        when: "before" (nothing is committed) or "after" (it is, and the answer is lost).
        status, body, content_type, headers: sent instead of the real answer. Without a body it is
            what that service usually sends: an empty 429, a plain text 404, else JSON with an
            empty message. A body in angle brackets goes out as text/html.
        drop: cut the connection instead; an aiohttp client repeats a GET that was dropped on a
            connection it had used before, so say times=2 there.
        delay: seconds to wait first; alone, it only delays.
        match: only requests with these parameters, for example a client_id.
        """
        answer = None
        if drop:
            answer = Answer(DROPPED)
        elif status is not None or body is not None:
            answer = fault_answer(endpoint, 500 if status is None else status, body)
            answer.content_type = content_type or answer.content_type
            answer.headers.update(headers or {})
        elif delay <= 0:
            raise ValueError("give one of 'status', 'body', 'drop' and 'delay'")
        self._faults.append(Fault(endpoint, when, match or {}, times, answer, delay))

    def delay(self, endpoint: str, *, headers: Seconds = 0, body: Seconds = 0) -> None:
        """Slow an endpoint down from now on: seconds before the headers and in the body's middle.

        The change is committed before the wait; a pair of numbers is a range to draw from.
        """
        _check_endpoint(endpoint)
        self._delays[endpoint] = (headers, body)

    def hold(
        self, endpoint: str, *, when: When = "before", match: Mapping[str, str] | None = None
    ) -> Gate:
        """Hold every request to an endpoint, before or after its commit, until the gate opens."""
        gate = Gate(endpoint, when, match or {}, len(self._gates))
        self._gates.append(gate)
        return gate

    def release(self, gate: Gate | int) -> None:
        """Open a gate; the same as `gate.release()`."""
        self._gate(gate).release()

    async def reached(self, gate: Gate | int, count: int = 1, timeout: float = 10) -> None:
        """Wait for requests at a gate; the same as `await gate.reached(count)`."""
        await self._gate(gate).reached(count, timeout)

    def clear_faults(self) -> None:
        """Forget every `fail` and `delay`, open every gate."""
        self._faults.clear()
        self._delays.clear()
        for gate in self._gates:
            gate.release()

    def _gate(self, gate: Gate | int) -> Gate:
        if isinstance(gate, Gate):
            return gate
        if not 0 <= gate < len(self._gates):
            raise ValueError(f"unknown gate {gate}: hold() makes one")
        return self._gates[gate]

    async def _instead(self, call: Call, when: When) -> Answer | None:
        """Wait at the gates, then at the first fault; its answer replaces the real one."""
        for gate in list(self._gates):
            if gate.matches(call, when):
                await gate.wait()
        fault = next((fault for fault in self._faults if fault.matches(call, when)), None)
        if fault is None:
            return None
        if fault.times is not None:
            fault.times -= 1
            if fault.times <= 0:
                self._faults.remove(fault)
        await asyncio.sleep(fault.delay)
        return None if fault.answer is None else replace(fault.answer)

    def _latency(self, call: Call) -> tuple[float, float]:
        """Seconds before the headers, and seconds in the middle of the body."""
        usual = self._delays.get(call.endpoint.partition(":")[0], (0, 0))
        headers, body = self._delays.get(call.endpoint, usual)
        return self._state.draw(headers), self._state.draw(body)


def _check_endpoint(endpoint: str) -> None:
    """A ValueError for what no request will ever go to."""
    if endpoint not in ENDPOINTS and not endpoint.startswith("helix:"):
        names = ", ".join(sorted(ENDPOINTS))
        raise ValueError(f"'endpoint': {endpoint!r} is none of {names}, helix:<path>")
