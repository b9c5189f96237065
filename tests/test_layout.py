"""How the house is built: imports point downwards, drivers are imported on use only."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import twitchvault

HOUSE: Final = Path(twitchvault.__file__).parent
MODULES: Final = sorted(HOUSE.rglob("*.py"))

RANKS: Final = {
    "cli": 6,
    "testing": 6,
    "oauth": 5,
    "app": 4,
    "helix": 3,
    "vault": 2,
    "identity": 1,
    "stores": 1,
    "inputs": 0,
    "core": 4,
    "http": 0,
    "responses": 0,
    "loops": 0,
    "models": 0,
    "scopes": 0,
    "errors": 0,
    "py.typed": 0,
}
"""cli, testing -> oauth -> app -> helix -> vault -> identity, stores -> the rest."""

APART: Final = {("identity", "stores"), ("stores", "identity"), ("stores", "models"),
                ("stores", "http"), ("stores", "scopes"), ("stores", "responses")}  # fmt: skip
"""A store knows nothing of Twitch; `identity` knows nothing of storage."""

DRIVERS: Final = ("aiosqlite", "redis", "cryptography")


def _name(path: Path) -> str:
    return ".".join(path.relative_to(HOUSE.parent).with_suffix("").parts).removesuffix(".__init__")


def _imports(path: Path) -> list[str]:
    """The modules of ours that a module imports, for type checkers only or in functions too."""
    package = _name(path) if path.name == "__init__.py" else _name(path).rpartition(".")[0]
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found += [f"{module}.{alias.name}" for alias in node.names]
    return [name for name in found if name.split(".")[0] == "twitchvault"]


def _part(module: str) -> str | None:
    """The part of the house that a module belongs to; None for the package's front door."""
    names = module.split(".")
    return names[1] if len(names) > 1 and names[1] in RANKS else None


def test_every_part_has_a_rank() -> None:
    """A new module or package has to be given its place in this test."""
    parts = {path.relative_to(HOUSE).parts[0].removesuffix(".py") for path in MODULES}
    assert parts - {"__init__", "__main__"} <= set(RANKS)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_point_downwards(path: Path) -> None:
    """No module imports one from a higher part, nor the front door that imports them all."""
    part = _part(_name(path))
    if part is None:
        return
    for imported in _imports(path):
        other = _part(imported)
        if other is None:
            assert RANKS[part] == 6, f"{_name(path)} imports the front door: {imported}"
            continue
        assert RANKS[other] <= RANKS[part], f"{_name(path)} imports {imported}"
        assert (part, other) not in APART, f"{_name(path)} imports {imported}"


def _python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


BLOCK: Final = """
import sys
for name in {drivers!r}:
    sys.modules[name] = None
"""

SHOW: Final = """
import json, twitchvault
told = []
for use in {uses!r}:
    try:
        eval(use)
    except twitchvault.MissingDriver as error:
        assert isinstance(error, ImportError)
        assert isinstance(error, twitchvault.StoreError)
        assert error.__cause__ is None
        told.append(str(error))
print(json.dumps(told))
"""


@pytest.mark.parametrize("module", ["twitchvault", "twitchvault.oauth", "twitchvault.stores"])
def test_importing_imports_no_driver(module: str) -> None:
    """Only the standard library, aiohttp and pydantic come with the package; pytest neither."""
    extras = (*DRIVERS, "typer", "rich", "segno", "platformdirs", "pytest", "sqlite3")
    code = f"import {module}, sys; print([n for n in {extras!r} if n in sys.modules])"
    assert _python(code) == "[]"


@pytest.mark.parametrize("module", ["twitchvault", "twitchvault.stores", "twitchvault.oauth"])
def test_everything_can_be_imported_without_drivers(module: str) -> None:
    """`from twitchvault import *` works with no extra installed."""
    _python(BLOCK.format(drivers=DRIVERS) + f"from {module} import *")


def test_a_missing_driver_is_named() -> None:
    """The error names what was asked for, the package, and the command that installs it."""
    names = {
        "twitchvault.SQLiteStore('x.db')": ("SQLiteStore", "aiosqlite", "sqlite"),
        "twitchvault.open_store('sqlite:///x.db')": ("SQLiteStore", "aiosqlite", "sqlite"),
        "twitchvault.App('id', store='sqlite:///x.db')": ("SQLiteStore", "aiosqlite", "sqlite"),
        "twitchvault.RedisStore('redis://h')": ("RedisStore", "redis", "redis"),
        "twitchvault.open_store('rediss://h')": ("RedisStore", "redis", "redis"),
        "twitchvault.App('id', store='unix:///s')": ("RedisStore", "redis", "redis"),
        "twitchvault.FernetStore(twitchvault.MemoryStore(), ['k'])": (
            "FernetStore",
            "cryptography",
            "fernet",
        ),
    }
    told = json.loads(_python(BLOCK.format(drivers=DRIVERS) + SHOW.format(uses=list(names))))
    for text, (wanted, package, extra) in zip(told, names.values(), strict=True):
        assert wanted in text
        assert f"'{package}'" in text
        assert f"pip install 'twitchvault[{extra}]'" in text


def test_modules_and_functions_are_short() -> None:
    """No module above 400 lines, no function above 50; the median function at most 10."""
    lengths: list[int] = []
    for path in MODULES:
        text = path.read_text()
        assert text.count("\n") <= 400, _name(path)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= 50, f"{_name(path)}.{node.name}"
                lengths.append(length)
    lengths.sort()
    assert lengths[len(lengths) // 2] <= 10
    assert lengths[len(lengths) * 9 // 10] <= 30


def test_the_interpreter_ends_without_close() -> None:
    """A flow that nobody closed does not keep the process alive."""
    code = """
import asyncio, tempfile, twitchvault
async def main():
    with tempfile.TemporaryDirectory() as folder:
        flow = twitchvault.DeviceCodeFlow("id", store=f"sqlite:///{folder}/x.db", maintain=False)
        await flow.authorize()
        flow.add_token("1", "a", "r")
        await flow.flush()
        print("left open")
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.stdout.strip() == "left open"
    assert done.returncode == 0, done.stderr
