"""Faults planted into the vault's code, in memory: the simulation has to find each of them."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.util import find_spec, spec_from_loader
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.machinery import ModuleSpec

    from tests.simulation.shrink import Simulate

__all__ = ["PLANTED", "Plant", "planted"]

Changes: TypeAlias = tuple[tuple[str, str], ...]
OURS: Final = ("twitchvault.vault", "tests.simulation")


@dataclass(frozen=True)
class Plant:
    """A fault: in each of these modules of the vault `old` becomes `new`, one after the other.

    `seed` is the first one that finds it; `kind` is what it breaks there.
    """

    name: str
    changes: Mapping[str, Changes]
    seed: int
    kind: str


class _Planter(MetaPathFinder, InspectLoader):
    """Imports modules from these texts."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> ModuleSpec | None:
        """Whether it is one of them."""
        del path, target
        return spec_from_loader(fullname, self) if fullname in self._texts else None

    def get_source(self, fullname: str) -> str:
        """The text with the fault in it."""
        return self._texts[fullname]


def _text(plant: Plant, module: str) -> str:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    text = Path(spec.origin).read_text(encoding="utf-8")
    for old, new in plant.changes[module.rpartition(".")[2]]:
        if text.count(old) != 1:
            msg = f"{plant.name}: {module} must hold this once:\n{old}"
            raise LookupError(msg)
        text = text.replace(old, new)
    return text


@contextmanager
def planted(plant: Plant) -> Iterator[Simulate]:
    """`simulate` over a vault with this fault; everything else goes on with the right one."""
    names = [f"twitchvault.vault.{module}" for module in plant.changes]
    planter = _Planter({name: _text(plant, name) for name in names})
    saved = {name: module for name, module in sys.modules.items() if name.startswith(OURS)}
    for name in saved:
        del sys.modules[name]
    sys.meta_path.insert(0, planter)
    try:
        yield import_module("tests.simulation.world").simulate
    finally:
        sys.meta_path.remove(planter)
        for name in [name for name in sys.modules if name.startswith(OURS)]:
            del sys.modules[name]
        sys.modules.update(saved)


FOUND: Final[dict[str, tuple[int, str]]] = {
    "the clocks are not looked at before the request leaves": (1412, "avoidable replay"),
    "suspend does not count as time": (1412, "avoidable replay"),
    "a 503 counts as harmless": (1682, "avoidable replay"),
    "a lost answer counts as harmless": (198, "avoidable replay"),
    "nobody asks whether the old access token lives": (51, "avoidable replay"),
    "a 401 of another kind counts as refused": (102, "wrong needs_login"),
    "a late answer is thrown away": (7, "avoidable replay"),
    "the lease is not renewed": (73, "avoidable replay"),
    "a lease that lives is taken over": (13, "avoidable replay"),
    "whoever waits counts by a ttl of its own": (14, "other"),
    "the clocks of two machines are compared": (2, "avoidable replay"),
    "the lease of a seed is skipped": (19, "avoidable replay"),
    "what was spent is not remembered": (2, "avoidable replay"),
    "a removal forgets what was spent": (26, "avoidable replay"),
    "a login during an exchange forgets what is on its way": (16, "lost pair"),
    "the answer of an exchange overwrites another login": (61, "lost pair"),
    "a refusal wins over a newer pair": (61, "wrong needs_login"),
    "generations are ignored when data were lost": (30, "avoidable replay"),
    "what is written back after a loss has no lease": (3992, "lost pair"),
    "an owner does not put its lease back after a loss": (3992, "lost pair"),
    "a loss is not repaired": (89, "avoidable replay"),
    "a pair is dropped when the store is down": (38, "lost pair"),
    "changes are written without compare-and-set": (284, "avoidable replay"),
    "a lease is written without compare-and-set": (2, "avoidable replay"),
    "nothing stops a Twitch that gives dead tokens": (2396, "too many requests"),
    "the end of a caller ends the exchange": (51, "lost pair"),
    "a caller waits as long as the exchange takes": (900, "avoidable replay"),
    "close() waits for no answer": (51, "lost pair"),
}
"""The first seed that finds each fault, and the promise that is broken there."""

_FAULTS: Final[dict[str, dict[str, Changes]]] = {
    "the clocks are not looked at before the request leaves": {
        "exchange": (
            ("lease.given_up or lease.left <= 0", "lease.given_up"),
            (
                "        if lease.left <= 0:\n            msg =",
                "        if lease.given_up:\n            msg =",
            ),
            ("timeout=lease.left)", "timeout=60.0)"),
        )
    },
    "suspend does not count as time": {
        "clocks": (
            (
                "return clocks.monotonic(), clocks.boottime(), clocks.wall()",
                "return clocks.monotonic(), clocks.monotonic(), clocks.monotonic()",
            ),
        )
    },
    "a 503 counts as harmless": {
        "exchange": (
            ("isinstance(error, RateLimited):", "getattr(error, 'status', 0) in {429, 503}:"),
        )
    },
    "a lost answer counts as harmless": {
        "exchange": (
            ("isinstance(error, RateLimited):", "isinstance(error, (RateLimited, NoAnswer)):"),
        )
    },
    "nobody asks whether the old access token lives": {
        "exchange": (("lives = await self.lives(lease.user, lease.record)", "lives = True"),)
    },
    "a 401 of another kind counts as refused": {
        "exchange": (
            ("refused_grant(error):", "refused_grant(error) or isinstance(error, Unauthorized):"),
        )
    },
    "a late answer is thrown away": {
        "exchange": (
            (
                "                    await self._renew(lease)\n",
                "                    raise NoAnswer('too late')\n",
            ),
        )
    },
    "the lease is not renewed": {
        "exchange": (
            (
                "                    await self._renew(lease)\n",
                "                    pass\n",
            ),
        )
    },
    "a lease that lives is taken over": {"refresh": (("if left <= 0:", "if left < ttl:"),)},
    "whoever waits counts by a ttl of its own": {"jobs": (("held.record.lease_ttl", "1.0"),)},
    "the clocks of two machines are compared": {
        "refresh": (
            (
                "lease = (lease_name, self._lease_ttl)",
                "lease = (lease_name, self._clocks.wall() + self._lease_ttl)",
            ),
            (
                "left = ttl if lease in self._leases else patience.seconds_left(key, held)",
                "left = ttl - self._clocks.wall(); ttl = self._lease_ttl",
            ),
        )
    },
    "the lease of a seed is skipped": {
        "refresh": (
            (
                "if sent is None or not (record.seeded or self._repository.losses):",
                "if sent is None or record is not None:",
            ),
        )
    },
    "what was spent is not remembered": {
        "transitions": (
            (
                "    mark = fingerprint(token)\n",
                "    return current\n    mark = fingerprint(token)\n",
            ),
        )
    },
    "a removal forgets what was spent": {
        "transitions": (
            (
                "    leaves_trace = current.generation > 1 or",
                (
                    "    gone = replace(gone, seeds='', exchanged='', given_up='')\n"
                    "    leaves_trace = current.generation > 1 or"
                ),
            ),
        )
    },
    "a login during an exchange forgets what is on its way": {
        "transitions": (
            (
                "        if current.refresh_token is not None:\n            mark =",
                "        if given_up is None:\n            mark =",
            ),
        )
    },
    "the answer of an exchange overwrites another login": {
        "transitions": (
            (
                "    if current.refresh_token != sent:\n        return current if successor",
                "    if not sent:\n        return current if successor",
            ),
        )
    },
    "a refusal wins over a newer pair": {
        "transitions": (
            (
                "    if current.generation != base.generation or current.state",
                "    if current.state",
            ),
            (
                (
                    "    if current is None or current.refresh_token != sent:\n"
                    "        return current if sent is None"
                ),
                "    if current is None:\n        return current if sent is None",
            ),
        )
    },
    "generations are ignored when data were lost": {
        "repository": (
            ("        return held.record.order < ours.order\n\n", "        return False\n\n"),
            (
                "            return held.version < self._mirror.version(user_id)",
                "            return False",
            ),
        )
    },
    "what is written back after a loss has no lease": {
        "repository": (
            (
                "            if held is None:\n                lost = absent_is_lost",
                (
                    "            ours = __import__('msgspec').structs.replace(ours, lease=None)\n"
                    "            if held is None:\n                lost = absent_is_lost"
                ),
            ),
        ),
        "exchange": (
            ("waiting = (request,) if loss.done() else (request, loss)", "waiting = (request,)"),
        ),
    },
    "an owner does not put its lease back after a loss": {
        "exchange": (
            ("waiting = (request,) if loss.done() else (request, loss)", "waiting = (request,)"),
        ),
    },
    "a loss is not repaired": {
        "watcher": (("        self._lost_all = self._lost_since_load = True", "        return"),)
    },
    "a pair is dropped when the store is down": {
        "outbox": (
            (
                "                queue.end_attempt(error)\n",
                (
                    "                queue.updates.popleft()\n"
                    "                queue.end_attempt(error)\n"
                ),
            ),
        )
    },
    "changes are written without compare-and-set": {
        "outbox": (
            (
                "self._repository.write(key, after, expect=expect)",
                "self._repository.write(key, after, expect=None)",
            ),
        )
    },
    "a lease is written without compare-and-set": {
        "exchange": (
            ("write(key, record, expect=held.version)", "write(key, record, expect=None)"),
        )
    },
    "nothing stops a Twitch that gives dead tokens": {
        "backoff": (("UNPROVEN: Final = 3\n", "UNPROVEN: Final = 1_000_000\n"),)
    },
    "the end of a caller ends the exchange": {
        "jobs": (("await asyncio.wait((self.task,), timeout=self.left)", "await self.task"),)
    },
    "a caller waits as long as the exchange takes": {
        "jobs": (
            ("            if self.left <= 0:\n", "            if self.left <= -10_000:\n"),
            ("timeout=self.left)", "timeout=10_000)"),
        )
    },
    "a lease is forgotten when its pair is replaced": {
        "transitions": (
            ("            if lease is not None:\n", "            if lease is not lease:\n"),
        )
    },
    "an owner that was overtaken sends": {
        "exchange": (
            ("            if self._is_overtaken(lease):\n", "            if lease is None:\n"),
        )
    },
    "a parked successor is no seed": {
        "transitions": (
            (
                "parked, now), seeded=True)",
                "parked, now), seeded=False)",
            ),
        )
    },
    "a login made meanwhile counts as older": {
        "losses": (("    if _is_unknown_login(stored, ours):\n", "    if stored is None:\n"),)
    },
    "a write that took place is repeated": {
        "outbox": (("        if update.tried and ", "        if update.tried is self and "),)
    },
    "what is in doubt is forgotten": {
        "exchange": (
            ("        return record.refresh_token in self._in_doubt\n", "        return False\n"),
        )
    },
    "a delete by who knew less is taken over": {
        "losses": (("        return removed(ours)  #", "        return None  #"),)
    },
    "close() waits for no answer": {
        "jobs": (
            (
                "        while sending and patience > 0:\n",
                "        while sending and patience < 0:\n",
            ),
        )
    },
}

PLANTED: Final = tuple(
    Plant(name, changes, *FOUND.get(name, (0, ""))) for name, changes in _FAULTS.items()
)
