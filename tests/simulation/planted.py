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
    "the clocks are not looked at before the request leaves": (2300, "avoidable replay"),
    "a 503 counts as harmless": (1521, "avoidable replay"),
    "nobody asks whether the old access token lives": (342, "avoidable replay"),
    "a 401 of another kind counts as refused": (204, "wrong needs_login"),
    "a late answer is thrown away": (10, "lost pair"),
    "the lease is not renewed": (68, "avoidable replay"),
    "a lease that lives is taken over": (2, "avoidable replay"),
    "whoever waits counts by a ttl of its own": (32, "other"),
    "the clocks of two machines are compared": (1, "other"),
    "the lease of a seed is skipped": (44, "avoidable replay"),
    "what was spent is not remembered": (1, "other"),
    "a removal forgets what was spent": (2280, "avoidable replay"),
    "a login during an exchange forgets what is on its way": (1797, "avoidable replay"),
    "the answer of an exchange overwrites another login": (620, "lost pair"),
    "a refusal wins over a newer pair": (92, "wrong needs_login"),
    "generations are ignored when data were lost": (53, "other"),
    "a loss is not repaired": (97, "other"),
    "a pair is dropped when the store is down": (115, "avoidable replay"),
    "changes are written without compare-and-set": (331, "avoidable replay"),
    "a lease is written without compare-and-set": (17, "avoidable replay"),
    "the end of a caller ends the exchange": (35, "lost pair"),
    "a caller waits as long as the exchange takes": (92, "hung call"),
    "a parked successor is no seed": (425, "avoidable replay"),
    "a record that is written back has no lease": (806, "avoidable replay"),
    "suspend does not count as time": (2300, "avoidable replay"),
    "the lease on a login is taken from who lives": (108, "other"),
    "a login made meanwhile counts as older": (862, "avoidable replay"),
    "close() waits for no answer": (72, "lost pair"),
}
"""The first seed that finds each fault, and the promise that is broken there."""

_FAULTS: Final[dict[str, dict[str, Changes]]] = {
    "the clocks are not looked at before the request leaves": {
        "exchange": (
            ("lease.given_up or lease.left <= 0", "lease.given_up"),
            (
                "        if lease.left <= 0:\n            raise",
                "        if lease.given_up:\n            raise",
            ),
            ("timeout=lease.left)", "timeout=60.0)"),
        )
    },
    "a 503 counts as harmless": {
        "exchange": (
            ("isinstance(error, RateLimited):", "getattr(error, 'status', 0) in {429, 503}:"),
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
                "            await asyncio.wait((request,))\n",
                (
                    "            await asyncio.wait((request,), timeout=lease.ttl / 2)\n"
                    "            if not request.done():\n"
                    "                raise NoAnswer('too late')\n"
                ),
            ),
        )
    },
    "the lease is not renewed": {
        "exchange": (
            (
                "lease.note_put(done=await self._renew(lease))",
                "lease.note_put(done=True)",
            ),
        )
    },
    "a lease that lives is taken over": {"refresh": (("if left <= 0:", "if left < ttl:"),)},
    "whoever waits counts by a ttl of its own": {"jobs": (("held.record.lease_ttl", "1.0"),)},
    "the clocks of two machines are compared": {
        "exchange": (
            (
                "leased(held.record, name, self._lease_ttl)",
                "leased(held.record, name, self._clocks.wall() + self._lease_ttl)",
            ),
        ),
        "refresh": (
            (
                "left = ttl if lease in self._leases else job.seconds_left(key, held)",
                "left = ttl - self._clocks.wall(); ttl = self._lease_ttl",
            ),
        ),
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
            ("    if not is_its or current.state", "    if current.state"),
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
                "            return held.version < known or",
                "            return held is None or",
            ),
        )
    },
    "a loss is not repaired": {
        "watcher": (("        self._lost_all = self._lost_since_load = True", "        return"),)
    },
    "a pair is dropped when the store is down": {
        "outbox": (
            (
                "                queue.end_attempt(failure)\n",
                (
                    "                queue.updates.popleft()\n"
                    "                queue.end_attempt(failure)\n"
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
        "exchange": (("lease.record, expect=lease.version)", "lease.record, expect=None)"),)
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
    "a parked successor is no seed": {
        "transitions": (
            (
                "parked, now), seeded=True)",
                "parked, now), seeded=False)",
            ),
        ),
        "exchange": (
            ('self._mirror.holder(lease.record.refresh_token or "") is not None', "False"),
        ),
    },
    "a record that is written back has no lease": {
        "repository": (
            ("transitions import removed\n", "transitions import _free, removed\n"),
            (
                "await self.write(key, ours, expect=0",
                "await self.write(key, _free(ours), expect=0",
            ),
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
    "the lease on a login is taken from who lives": {
        "login_lease": (("self._seen[1] >= ttl", "self._seen[1] >= 0.0"),)
    },
    "a login made meanwhile counts as older": {
        "losses": (
            (
                "        stored = _after_a_loss(stored, ours)\n",
                "        stored = ours if stored.order < ours.order else stored\n",
            ),
        )
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
