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


FOUND: Final[dict[str, tuple[int, str]]] = {}
"""The first seed that finds each fault, and the promise that is broken there."""

_FAULTS: Final[dict[str, tuple[str, tuple[tuple[str, str], ...]]]] = {
    "the clocks are not looked at before the request leaves": (
        "exchange",
        (
            ("lease.given_up or lease.left <= 0", "lease.given_up"),
            (
                "        if lease.left <= 0:\n            msg =",
                "        if lease.given_up:\n            msg =",
            ),
            ("timeout=lease.left)", "timeout=60.0)"),
        ),
    ),
    "suspend does not count as time": (
        "clocks",
        (
            (
                "return clocks.monotonic(), clocks.boottime(), clocks.wall()",
                "return clocks.monotonic(), clocks.monotonic(), clocks.monotonic()",
            ),
        ),
    ),
    "a 503 counts as harmless": (
        "exchange",
        (("isinstance(error, RateLimited):", "getattr(error, 'status', 0) in {429, 503}:"),),
    ),
    "a lost answer counts as harmless": (
        "exchange",
        (("isinstance(error, RateLimited):", "isinstance(error, (RateLimited, NoAnswer)):"),),
    ),
    "nobody asks whether the old access token lives": (
        "exchange",
        (("await self._validate(lease.record.access_token)", "await asyncio.sleep(0)"),),
    ),
    "a 401 of another kind counts as refused": (
        "exchange",
        (("refused_grant(error):", "refused_grant(error) or isinstance(error, Unauthorized):"),),
    ),
    "a late answer is thrown away": (
        "exchange",
        (
            (
                "await self._renew(lease)\n        finally",
                "raise NoAnswer('too late')\n        finally",
            ),
        ),
    ),
    "the lease is not renewed": (
        "exchange",
        (("await self._renew(lease)\n        finally", "continue\n        finally"),),
    ),
    "a lease that lives is taken over": ("refresh", (("if left <= 0:", "if left < ttl:"),)),
    "whoever waits counts by a ttl of its own": (
        "jobs",
        (("held.record.lease_ttl", "1.0"),),
    ),
    "the clocks of two machines are compared": (
        "refresh",
        (
            (
                "lease = (lease_name, self._lease_ttl)",
                "lease = (lease_name, self._clocks.wall() + self._lease_ttl)",
            ),
            (
                "left = ttl if lease in self._leases else patience.left(key, held)",
                "left = ttl - self._clocks.wall(); ttl = self._lease_ttl",
            ),
        ),
    ),
    "the lease of a seed is skipped": (
        "refresh",
        (("if not record.seeded or record.refresh_token is None:", "if record is not None:"),),
    ),
    "what was spent is not remembered": (
        "transitions",
        (
            (
                "    mark = fingerprint(token)\n",
                "    return current\n    mark = fingerprint(token)\n",
            ),
        ),
    ),
    "a removal forgets what was spent": (
        "transitions",
        (
            (
                "    leaves_trace = current.generation > 1 or",
                "    gone = replace(gone, seeds='', exchanged='', given_up='')\n"
                "    leaves_trace = current.generation > 1 or",
            ),
        ),
    ),
    "a login during an exchange forgets what is on its way": (
        "transitions",
        (
            (
                "    if current.refresh_token not in {None, fresh.refresh_token}:",
                "    if given_up is None:",
            ),
        ),
    ),
    "the answer of an exchange overwrites another login": (
        "transitions",
        (
            (
                "    if current is None or current.refresh_token != sent:\n        return current if successor",
                "    current = current or base\n    if not sent:\n        return current if successor",
            ),
        ),
    ),
    "a refusal wins over a newer pair": (
        "transitions",
        (
            (
                "    if current.generation != base.generation or current.state",
                "    if current.state",
            ),
            (
                "    if current is None or current.refresh_token != sent:\n        return current if sent is None",
                "    if current is None:\n        return current if sent is None",
            ),
        ),
    ),
    "generations are ignored when data were lost": (
        "repository",
        (
            ("        return held.record.order < ours.order\n\n", "        return False\n\n"),
            (
                "            return held.version < self._mirror.version(user_id)",
                "            return False",
            ),
        ),
    ),
    "what is written back after a loss has no lease": (
        "repository",
        (
            (
                "            if held is None:\n                lost = absent_is_lost",
                "            ours = __import__('msgspec').structs.replace(ours, lease=None)\n"
                "            if held is None:\n                lost = absent_is_lost",
            ),
        ),
    ),
    "a loss is not repaired": (
        "watcher",
        (("        self._lost_all = self._lost_since_load = True", "        return"),),
    ),
    "a pair is dropped when the store is down": (
        "outbox",
        (
            (
                "                queue.attempted(error)\n",
                "                queue.updates.popleft()\n                queue.attempted(error)\n",
            ),
        ),
    ),
    "changes are written without compare-and-set": (
        "outbox",
        (
            (
                "self._repository.write(key, after, expect=expect)",
                "self._repository.write(key, after, expect=None)",
            ),
        ),
    ),
    "a lease is written without compare-and-set": (
        "exchange",
        (("write(key, record, expect=held.version)", "write(key, record, expect=None)"),),
    ),
    "nothing stops a Twitch that gives dead tokens": (
        "backoff",
        (("UNPROVEN: Final = 3\n", "UNPROVEN: Final = 1_000_000\n"),),
    ),
    "the end of a caller ends the exchange": (
        "jobs",
        (("await asyncio.wait((self.task,), timeout=self.left)", "await self.task"),),
    ),
    "a caller waits as long as the exchange takes": (
        "jobs",
        (
            ("            if self.left <= 0:\n", "            if self.left <= -10_000:\n"),
            ("timeout=self.left)", "timeout=10_000)"),
        ),
    ),
    "close() waits for no answer": (
        "jobs",
        (
            (
                "        while sending and patience > 0:\n",
                "        while sending and patience < 0:\n",
            ),
        ),
    ),
}

PLANTED: Final = tuple(
    Plant(name, module, changes, *FOUND.get(name, (0, "")))
    for name, (module, changes) in _FAULTS.items()
)
