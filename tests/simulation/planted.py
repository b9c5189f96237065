"""Faults planted into the vault's code, in memory: the simulation has to find each of them."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.util import find_spec, spec_from_loader
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from importlib.machinery import ModuleSpec

    from tests.simulation.shrink import Simulate

__all__ = ["PLANTED", "Plant", "planted"]

TEXTS: Final = Path(__file__).with_name("planted.txt")
"""For each fault its name, the first seed that finds it and the promise that is broken there; then
modules of the vault, and in each what `-` stands before becomes what `+` stands before."""
CHANGE: Final = re.compile(r"(\w+\n)?((?:- .*\n)+)((?:\+ .*\n)+)")
OURS: Final = ("twitchvault.vault", "tests.simulation")


@dataclass(frozen=True)
class Plant:
    """A fault: in each of these modules of the vault `old` becomes `new`, one after the other.

    `seed` is the first one that finds it; `kind` is what it breaks there.
    """

    name: str
    changes: Mapping[str, Iterable[tuple[str, str]]]
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


def _read() -> Iterator[Plant]:
    for block in TEXTS.read_text(encoding="utf-8").split("\n\n"):
        head, _, rest = block.strip().partition("\n")
        name, seed, kind = head.split(" | ")
        changes: dict[str, list[tuple[str, str]]] = {}
        module = ""
        for named, old, new in CHANGE.findall(f"{rest}\n"):
            module = named.strip() or module
            changes.setdefault(module, []).append((_unmarked(old), _unmarked(new)))
        yield Plant(name, changes, int(seed), kind)


def _unmarked(lines: str) -> str:
    return "\n".join(line[2:] for line in lines.splitlines())


PLANTED: Final = tuple(_read())
