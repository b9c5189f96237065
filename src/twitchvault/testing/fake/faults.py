"""Faults, delays, and gates that hold a request until a test lets it go."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from .identity import GRANTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .messages import Answer, Call
    from .model import Seconds
    from .state import State

When: TypeAlias = Literal["before", "after"]

ENDPOINTS: Final = frozenset(
    {"token", "device", "validate", "revoke", "keys", "authorize", "activate", "helix"}
    | {*GRANTS.values()}
)


@dataclass(eq=False)
class Fault:
    """One call of `fail`; `times` counts down, None never ends."""

    endpoint: str
    when: When
    match: Mapping[str, str]
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
    match: Mapping[str, str]
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
    """All faults, delays and gates that tests have asked for."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._faults: list[Fault] = []
        self._delays: dict[str, tuple[Seconds, Seconds]] = {}
        self._gates: dict[int, Gate] = {}

    def add(self, fault: Fault) -> None:
        """From now on, let matching requests fail."""
        _check_rule(fault.endpoint, fault.when)
        self._faults.append(fault)

    def delay(self, endpoint: str, headers: Seconds, body: Seconds) -> None:
        """Make an endpoint slow from now on."""
        _check_rule(endpoint)
        self._delays[endpoint] = (headers, body)

    def hold(self, endpoint: str, when: When, match: Mapping[str, str] | None) -> Gate:
        """A new gate."""
        _check_rule(endpoint, when)
        gate = Gate(len(self._gates) + 1, endpoint, when, match or {})
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
        """Wait at the gates, then at the first fault; its answer replaces the real one."""
        for gate in list(self._gates.values()):
            if _matches(gate, call, when):
                await gate.wait()
        fault = self._next(call, when)
        if fault is None:
            return None
        await asyncio.sleep(fault.delay)
        return None if fault.answer is None else replace(fault.answer)

    def latency(self, call: Call) -> tuple[float, float]:
        """Seconds before the headers, and seconds in the middle of the body."""
        for name in (call.endpoint, call.endpoint.partition(":")[0]):
            if name in self._delays:
                headers, body = self._delays[name]
                return self._state.draw(headers), self._state.draw(body)
        return 0, 0

    def _next(self, call: Call, when: When) -> Fault | None:
        fault = next((fault for fault in self._faults if _matches(fault, call, when)), None)
        if fault is not None and fault.times is not None:
            fault.times -= 1
            if fault.times <= 0:
                self._faults.remove(fault)
        return fault


def _check_rule(endpoint: str, when: str = "before") -> None:
    """A ValueError for what no request will ever match."""
    if endpoint not in ENDPOINTS and not endpoint.startswith("helix:"):
        names = ", ".join(sorted(ENDPOINTS))
        raise ValueError(f"'endpoint': {endpoint!r} is none of {names}, helix:<path>")
    if when not in {"before", "after"}:
        raise ValueError(f"'when': expected 'before' or 'after', not {when!r}")


def _matches(rule: Fault | Gate, call: Call, when: When) -> bool:
    if rule.when != when or not f"{call.endpoint}:".startswith(f"{rule.endpoint}:"):
        return False
    return all(call.params.get(name) == value for name, value in rule.match.items())
