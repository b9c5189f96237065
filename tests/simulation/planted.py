"""Faults planted into the vault's code, in memory: the simulation has to find each of them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from tests.simulation.world import Result

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
def planted(plant: Plant) -> Iterator[Callable[[int], Result]]:
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


PLANTED: Final[tuple[Plant, ...]] = ()
