"""Faults planted into the vault's code, in memory: the simulation has to find each of them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from tests.simulation.shrink import Simulate

__all__ = ["PLANTED", "Plant", "planted"]

OURS: Final = ("twitchvault.vault", "tests.simulation")


@dataclass(frozen=True)
class Plant:
    """A fault: in a module of the vault, `old` becomes `new`, pair by pair.

    `seed` is the first one that finds it; `kind` is what it breaks there.
    """

    name: str
    module: str
    changes: tuple[tuple[str, str], ...]
    seed: int
    kind: str


def _source(plant: Plant) -> tuple[str, str]:
    """The file of the module and its text with the fault in it."""
    spec = importlib.util.find_spec(f"twitchvault.vault.{plant.module}")
    assert spec is not None
    assert spec.origin is not None
    with open(spec.origin, encoding="utf-8") as file:  # noqa: PTH123
        text = file.read()
    for old, new in plant.changes:
        if text.count(old) != 1:
            msg = f"{plant.name}: {plant.module}.py must hold this once:\n{old}"
            raise LookupError(msg)
        text = text.replace(old, new)
    return spec.origin, text


def _load(plant: Plant) -> ModuleType:
    name = f"twitchvault.vault.{plant.module}"
    origin, text = _source(plant)
    spec = importlib.util.spec_from_file_location(name, origin)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    exec(compile(text, origin, "exec"), module.__dict__)  # noqa: S102
    return module


@contextmanager
def planted(plant: Plant) -> Iterator[Simulate]:
    """`simulate` over a vault with this fault; everything else goes on with the right one."""
    saved = {name: module for name, module in sys.modules.items() if name.startswith(OURS)}
    for name in saved:
        if name != __name__:
            del sys.modules[name]
    try:
        _load(plant)
        yield importlib.import_module("tests.simulation.world").simulate
    finally:
        for name in [name for name in sys.modules if name.startswith(OURS)]:
            del sys.modules[name]
        sys.modules.update(saved)


def _plant(name: str, module: str, *changes: tuple[str, str]) -> Plant:
    seed, kind = FOUND.get(name, (0, ""))
    return Plant(name, module, changes, seed, kind)


FOUND: Final[dict[str, tuple[int, str]]] = {}
"""The first seed that finds each fault, and the promise that is broken there."""

PLANTED: Final = (
    _plant(
        "the clocks are not looked at before the request leaves",
        "exchange",
        ("            if lease.given_up or lease.left <= 0:\n", "            if lease.given_up:\n"),
    ),
    _plant(
        "suspend does not count as time",
        "clocks",
        (
            "        return clocks.monotonic(), clocks.boottime(), clocks.wall()\n",
            "        return clocks.monotonic(), clocks.monotonic(), clocks.monotonic()\n",
        ),
    ),
    _plant(
        "a 503 counts as harmless",
        "exchange",
        (
            "    if isinstance(error, RateLimited):\n",
            "    if isinstance(error, RateLimited) or error.status == 503:\n",
        ),
    ),
    _plant(
        "a lost answer counts as harmless",
        "exchange",
        (
            "    if isinstance(error, RateLimited):\n",
            "    if isinstance(error, (RateLimited, NoAnswer)):\n",
        ),
    ),
    _plant(
        "nobody asks whether the old access token lives",
        "exchange",
        (
            "            await self._validate(lease.record.access_token)\n",
            "            await asyncio.sleep(0)\n",
        ),
    ),
    _plant(
        "a 401 of another kind counts as refused",
        "exchange",
        (
            "    if refused_grant(error):\n",
            "    if refused_grant(error) or isinstance(error, Unauthorized):\n",
        ),
    ),
    _plant(
        "a late answer is thrown away",
        "exchange",
        (
            "                if lease.sent:\n                    await self._renew(lease)\n",
            "                if lease.sent:\n                    raise NoAnswer('too late')\n",
        ),
    ),
    _plant(
        "the lease is not renewed",
        "exchange",
        (
            "                if lease.sent:\n                    await self._renew(lease)\n",
            "                continue\n",
        ),
    ),
    _plant(
        "a lease that lives is taken over",
        "refresh",
        (
            "        if left <= 0:\n            return True\n",
            "        if left < ttl:\n            return True\n",
        ),
    ),
    _plant(
        "whoever waits counts by the time that its own lease would have",
        "jobs",
        ("held.record.lease_ttl", "1.0"),
    ),
    _plant(
        "the clocks of two machines are compared",
        "refresh",
        (
            "            lease = (lease_name, self._lease_ttl)\n",
            "            lease = (lease_name, self._clocks.wall() + self._lease_ttl)\n",
        ),
        (
            "        left = ttl if lease in self._leases else patience.left(key, held)\n",
            "        left = ttl - self._clocks.wall()\n        ttl = self._lease_ttl\n",
        ),
    ),
    _plant(
        "the lease of a seed is skipped",
        "refresh",
        (
            "        if not record.seeded or record.refresh_token is None:\n",
            "        if record is not None:\n",
        ),
    ),
    _plant(
        "what was spent is not remembered",
        "transitions",
        ("    mark = fingerprint(token)\n    if seeded:\n", "    return current\n    if seeded:\n"),
    ),
    _plant(
        "a removal forgets what was spent",
        "transitions",
        (
            '    gone = _successor(current, Record("", state="removed"))\n',
            '    gone = Record("", state="removed", generation=current.generation + 1)\n',
        ),
    ),
    _plant(
        "a login during an exchange forgets what is being exchanged",
        "transitions",
        ("    current = _remember_leased(current)\n", ""),
    ),
    _plant(
        "the answer of an exchange overwrites another login",
        "transitions",
        (
            "    if current is None or current.refresh_token != sent:\n"
            "        return current if successor == sent else _remember_elsewhere(current, base, sent)\n",
            "    current = current or base\n",
        ),
    ),
    _plant(
        "generations are ignored when data were lost",
        "repository",
        ("        return held.record.order < ours.order\n", "        return False\n"),
    ),
    _plant(
        "a refusal wins over a newer pair",
        "transitions",
        (
            "    if current is None or current.refresh_token != sent:\n"
            "        return current if sent is None else _remember_elsewhere(current, base, sent)\n"
            '    if current.generation != base.generation or current.state != "live":\n'
            "        return current\n",
            "    if current is None:\n        return None\n",
        ),
    ),
    _plant(
        "what is written back after a loss has no lease",
        "repository",
        (
            "                await self.write(key, ours, expect=0 if held is None else held.version)\n"
            '        msg = f"the store does not keep the record of user {user_id!r}; nothing was sent"\n',
            "                import msgspec\n"
            "                ours = msgspec.structs.replace(ours, lease=None)\n"
            "                await self.write(key, ours, expect=0 if held is None else held.version)\n"
            '        msg = "the store does not keep it"\n',
        ),
    ),
    _plant(
        "a loss is not repaired",
        "watcher",
        (
            "        self._lost_all = self._lost_since_load = True\n",
            "        return\n",
        ),
    ),
    _plant(
        "a pair is dropped when the store is down",
        "outbox",
        (
            "                queue.attempted(error)\n",
            "                queue.updates.popleft()\n                queue.attempted(error)\n",
        ),
    ),
    _plant(
        "writes do not expect a version",
        "outbox",
        (
            "                await self._repository.write(key, after, expect=expect)\n",
            "                await self._repository.write(key, after, expect=None)\n",
        ),
    ),
    _plant(
        "the lease is written without compare-and-set",
        "exchange",
        (
            "            taken.version = await self._repository.write("
            "key, taken.record, expect=held.version)\n",
            "            taken.version = await self._repository.write("
            "key, taken.record, expect=None)\n",
        ),
    ),
    _plant(
        "nothing stops a Twitch that gives dead tokens",
        "backoff",
        ("UNPROVEN: Final = 3\n", "UNPROVEN: Final = 1_000_000\n"),
    ),
    _plant(
        "the end of a caller ends the exchange",
        "jobs",
        (
            "            await asyncio.wait((self.task,), timeout=self.left)\n"
            "        if self.task.cancelled():\n",
            "            async with asyncio.timeout(self.left):\n"
            "                await self.task\n"
            "        if self.task.cancelled():\n",
        ),
    ),
    _plant(
        "close() waits for nothing",
        "jobs",
        ("            await asyncio.wait(sending, timeout=patience)\n", "            pass\n"),
    ),
)
