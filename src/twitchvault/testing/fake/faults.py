"""Weather on demand: faults, latency, and gates that hold a request until a test lets it go."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from .identity import GRANTS
from .messages import DROPPED, HTML, JSON, Answer, encode, helix_error, identity_error, not_found

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .messages import Call
    from .model import Seconds

When: TypeAlias = Literal["before", "after"]

ENDPOINTS: Final = frozenset(
    {"token", "device", "validate", "revoke", "authorize", "activate", "helix", *GRANTS.values()}
)
HTML_PAGE: Final = (
    "<html><head><title>503 Backend fetch failed</title></head>"
    "<body><h1>Error 503 Backend fetch failed</h1><p>Guru Meditation</p></body></html>\n"
)
"""A cache layer's page, to be sent as the body of a 502 or 503."""

_NOT_FOUND: Final = 404
_TOO_MANY: Final = 429


@dataclass(eq=False)
class Fault:
    """What `fail` asked for; `times` counts down, None never ends."""

    endpoint: str
    when: When
    match: dict[str, str]
    times: int | None
    answer: Answer | None
    delay: float


@dataclass(eq=False)
class Gate:
    """Holds requests. `await reached(n)` waits until n have come, `release()` lets all go.

    A gate is used once: after its release, requests pass. `with` releases at the end.
    """

    number: int
    endpoint: str
    when: When
    match: dict[str, str]
    arrived: int = 0
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def reached(self, count: int = 1, timeout: float = 10) -> None:
        """Return once `count` requests have arrived; TimeoutError after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while self.arrived < count:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            text = f"{self.arrived} of {count} requests came to {self.endpoint!r} in {timeout} s"
            raise TimeoutError(text) from None

    def release(self) -> None:
        """Let every request go, those that come later too."""
        self._open.set()

    @property
    def released(self) -> bool:
        """Whether requests pass."""
        return self._open.is_set()

    async def wait(self) -> None:
        """What a request does here: arrive, and wait."""
        if not self.released:
            self.arrived += 1
            self._changed.set()
            await self._open.wait()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Faults:
    """All that is planned, and what each request meets."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._delays: dict[str, tuple[Seconds, Seconds]] = {}
        self._gates: dict[int, Gate] = {}
        self._gate_count = 0

    def fail(
        self,
        endpoint: str,
        *,
        answer: Answer | None,
        times: int | None,
        when: When,
        delay: float,
        match: Mapping[str, str] | None,
    ) -> None:
        """Plan a fault."""
        check_endpoint(endpoint)
        self._faults.append(Fault(endpoint, when, dict(match or {}), times, answer, delay))

    def delay(self, endpoint: str, headers: Seconds, body: Seconds) -> None:
        """Make an endpoint slow until told otherwise."""
        check_endpoint(endpoint)
        self._delays[endpoint] = (headers, body)

    def hold(self, endpoint: str, when: When, match: Mapping[str, str] | None) -> Gate:
        """A new gate."""
        check_endpoint(endpoint)
        self._gate_count += 1
        gate = Gate(self._gate_count, endpoint, when, dict(match or {}))
        self._gates[gate.number] = gate
        return gate

    def gate(self, gate: Gate | int) -> Gate:
        """The gate, by itself or by its number."""
        number = gate if isinstance(gate, int) else gate.number
        if number not in self._gates:
            raise ValueError(f"unknown gate {number}: hold() makes one")
        return self._gates[number]

    def clear(self) -> None:
        """Forget all faults and delays, open all gates."""
        self._faults.clear()
        self._delays.clear()
        for gate in self._gates.values():
            gate.release()

    async def apply(self, call: Call, when: When) -> Answer | None:
        """Pass the gates, then the first fault planned; an answer replaces the real one."""
        for gate in list(self._gates.values()):
            if gate.when == when and _matches(gate.endpoint, gate.match, call):
                await gate.wait()
        fault = self._take(call, when)
        if fault is None:
            return None
        await asyncio.sleep(fault.delay)
        return fault.answer

    def latency(self, call: Call) -> tuple[float, float]:
        """Seconds before the headers, and seconds in the middle of the body."""
        for name in (call.endpoint, call.endpoint.partition(":")[0]):
            if name in self._delays:
                headers, body = self._delays[name]
                return _draw(headers), _draw(body)
        return 0, 0

    def _take(self, call: Call, when: When) -> Fault | None:
        for fault in self._faults:
            if fault.when == when and _matches(fault.endpoint, fault.match, call):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._faults.remove(fault)
                return fault
        return None


def check_endpoint(endpoint: str) -> None:
    """A ValueError for a name that no request will ever have."""
    if endpoint not in ENDPOINTS and not endpoint.startswith("helix:"):
        names = ", ".join(sorted(ENDPOINTS))
        raise ValueError(f"'endpoint': {endpoint!r} is none of {names}, helix:<path>")


def fault_answer(
    endpoint: str,
    status: int | None,
    body: str | Mapping[str, object] | None,
    content_type: str | None,
    headers: Mapping[str, str] | None,
) -> Answer:
    """The answer of a fault; what is not given is what that service sends with that status."""
    answer = _usual(endpoint, 500 if status is None else status)
    if isinstance(body, str):
        answer.body = body.encode()
        answer.content_type = HTML if body.lstrip().startswith("<") else answer.content_type
    elif body is not None:
        answer.body, answer.content_type = encode(dict(body)), JSON
    answer.content_type = content_type or answer.content_type
    answer.headers.update(headers or {})
    return answer


def dropped() -> Answer:
    """No answer: the connection is cut."""
    return Answer(DROPPED)


def _usual(endpoint: str, status: int) -> Answer:
    if endpoint.startswith("helix"):
        text = "Request limit exceeded" if status == _TOO_MANY else ""
        return helix_error(status, text)
    if status == _TOO_MANY:
        return Answer(status)
    return not_found() if status == _NOT_FOUND else identity_error(status, "")


def _matches(endpoint: str, match: dict[str, str], call: Call) -> bool:
    if call.endpoint != endpoint and not call.endpoint.startswith(f"{endpoint}:"):
        return False
    return all(call.params.get(name) == value for name, value in match.items())


def _draw(duration: Seconds) -> float:
    if isinstance(duration, int | float):
        return duration
    return random.uniform(*duration)  # noqa: S311 - jitter, not a secret
