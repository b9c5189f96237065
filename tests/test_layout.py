"""How the package is built: imports point downwards, drivers are imported on use, all is short."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import twitchvault

PACKAGE: Final = Path(twitchvault.__file__).parent
MODULES: Final = sorted(PACKAGE.rglob("*.py"))

RANKS: Final = {
    part: rank
    for rank, parts in enumerate(
        (
            ("http", "responses", "loops", "models", "scopes", "inputs", "metrics", "errors"),
            ("identity", "stores"),
            ("vault", "environment"),
            ("helix",),
            ("app", "core"),
            ("oauth",),
            ("cli", "integrations", "testing"),
        )
    )
    for part in parts
}
TOP: Final = max(RANKS.values())
APART: Final = {
    "identity": {"stores"},
    "stores": {"identity", "models", "http", "scopes", "responses"},
}
"""A store knows nothing of Twitch; `identity` knows nothing of storage."""


def _name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
        ".__init__"
    )


def _imports(path: Path) -> list[str]:
    """The modules of ours that a module imports, for type checkers only or in functions too."""
    package = _name(path) if path.name == "__init__.py" else _name(path).rpartition(".")[0]
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found += [f"{module}.{alias.name}" for alias in node.names]
    return [name for name in found if name.split(".")[0] == "twitchvault"]


def _part(module: str) -> str:
    """The part of the package that a module belongs to; empty for the package itself."""
    return f"{module}.".split(".")[1]


def test_imports_point_downwards() -> None:
    """No part imports one of a higher rank, nor the package that imports them all."""
    for path in MODULES:
        part = _part(_name(path))
        if not part:
            continue
        assert part in RANKS, f"{part!r} is new: give it its rank in this test"
        for imported in _imports(path):
            other = _part(imported)
            rank = RANKS.get(other, TOP)
            assert rank <= RANKS[part], f"{_name(path)} imports {imported}"
            assert other not in APART.get(part, ()), f"{_name(path)} imports {imported}"


def test_modules_and_functions_are_short() -> None:
    """No module above 400 lines, no function above 50; half of all at most 8, 90 % at most 20."""
    lengths: list[int] = []
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 400, _name(path)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= 50, f"{_name(path)}.{node.name}"
                lengths.append(length)
    lengths.sort()
    assert lengths[len(lengths) // 2] <= 8
    assert lengths[len(lengths) * 9 // 10] <= 20


def _python(code: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "module", ["twitchvault", "twitchvault.oauth", "twitchvault.stores", "twitchvault.testing.fake"]
)
def test_importing_imports_no_driver(module: str) -> None:
    """What an extra installs is imported on use; pytest and sqlite3 too."""
    extras = ("aiosqlite", "redis", "cryptography", "jwt", "typer", "rich", "pytest", "sqlite3")
    code = f"import {module}, sys; print([name for name in {extras} if name in sys.modules])"
    assert _python(code) == "[]"


BLOCK: Final = """
import sys
for driver in ("aiosqlite", "redis", "cryptography"):
    sys.modules[driver] = None
"""


@pytest.mark.parametrize(
    ("use", "name", "driver", "extra"),
    [
        ("SQLiteStore('x.db')", "SQLiteStore", "aiosqlite", "sqlite"),
        ("open_store('sqlite:///x.db')", "SQLiteStore", "aiosqlite", "sqlite"),
        ("App('id', store='unix:///s')", "RedisStore", "redis", "redis"),
        ("FernetStore(tv.MemoryStore(), ['k'])", "FernetStore", "cryptography", "fernet"),
    ],
)
def test_a_missing_driver_is_named(use: str, name: str, driver: str, extra: str) -> None:
    """Without extras all can be imported; the error of a use says what to install."""
    code = f"""{BLOCK}
import twitchvault as tv
from twitchvault import *
try:
    tv.{use}
except tv.MissingDriver as error:
    print(isinstance(error, ImportError), isinstance(error, tv.StoreError), error.__cause__, error)
"""
    text = _python(code)
    assert text.startswith("True True None ")
    assert name in text
    assert f"'{driver}'" in text
    assert f"pip install 'twitchvault[{extra}]'" in text


def test_the_interpreter_ends_without_close() -> None:
    """A flow that nobody closed does not keep the process alive."""
    code = """
import asyncio, tempfile, warnings, twitchvault
warnings.simplefilter("default")  # that nobody closed it is warned of
async def main():
    with tempfile.TemporaryDirectory() as folder:
        flow = twitchvault.DeviceCodeFlow("id", store=f"sqlite:///{folder}/x.db", maintain=False)
        await flow.authorize()
        flow.add_token("1", "a", "r")
        await flow.flush()
        print("left open")
asyncio.run(main())
"""
    assert _python(code) == "left open"
