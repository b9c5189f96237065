"""Whoever adds a store, a command or a grant is told here what was forgotten.

`CONTRIBUTING.md` shows each way, step by step.
"""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
import sys
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

import pytest

import twitchvault
from tests.docs.pages import PROJECT, ROOT
from twitchvault import oauth, stores
from twitchvault.cli import commands

DOCS: Final = ROOT / "docs"
EXTRAS: Final[dict[str, list[str]]] = PROJECT["optional-dependencies"]
TESTS: Final = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
STORES: Final = list(stores.BACKENDS)
GRANTS: Final = [name for name in oauth.__all__ if name.endswith("Flow")]
COMMANDS: Final = [module.name for module in pkgutil.iter_modules(commands.__path__)]


def module_of(store: str) -> str:
    """The module or package in `twitchvault.stores` that a store is in."""
    return stores.BACKENDS[store].module.rpartition(".")[2]


def drivers_of(store: str) -> set[str]:
    """The packages that the store's modules import, beside those that the library needs anyway."""
    folder = Path(stores.__file__).parent / module_of(store)
    imported: set[str] = set()
    for path in (folder.with_suffix(".py"), *folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8") if path.exists() else "")):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    needed = {requirement(line) for line in PROJECT["dependencies"]} | {"twitchvault"}
    foreign = imported - set(sys.stdlib_module_names)
    names = packages_distributions()
    return {package for name in foreign for package in names.get(name, [name])} - needed


def requirement(line: str) -> str:
    """The package that a requirement names."""
    found = re.match(r"[\w-]+", line)
    assert found is not None, line
    return found[0]


def test_the_lists_are_not_empty() -> None:
    """A pattern that finds nothing would make all of this pass."""
    assert {"MemoryStore", "SQLiteStore", "RedisStore", "FernetStore"} <= set(STORES)
    assert {"DeviceCodeFlow", "AuthorizationCodeGrantFlow"} <= set(GRANTS)
    assert {"login", "list", "check", "remove"} <= set(COMMANDS)


def test_every_store_is_listed() -> None:
    """A module with a `from_url` is in `BACKENDS`, and each class there is in `__all__`."""
    listed = {module_of(store) for store in STORES}
    for path in Path(stores.__file__).parent.rglob("*.py"):
        if "\ndef from_url(" in path.read_text(encoding="utf-8"):
            assert {path.stem, path.parent.name} & listed, f"stores.BACKENDS lacks {path.stem}"
    assert set(STORES) <= set(stores.__all__)


@pytest.mark.parametrize("store", STORES)
def test_a_store_has_its_extra(store: str) -> None:
    """Its driver is installed by the extra that is called like its module."""
    drivers, extra = drivers_of(store), module_of(store)
    installed = {requirement(line) for line in EXTRAS.get(extra, [])}
    assert drivers <= installed, f"pyproject.toml: the extra {extra!r} lacks {drivers - installed}"


@pytest.mark.parametrize("store", STORES)
def test_a_store_has_its_page(store: str) -> None:
    """docs/stores/ has a page that is called like its module."""
    page = DOCS / "stores" / f"{module_of(store)}.md"
    assert page.exists(), f"write {page.relative_to(ROOT)}"
    text = page.read_text(encoding="utf-8")
    row = text.partition(f"\n| `{store}(")[2].partition("\n")[0]
    assert row, f"{page.relative_to(ROOT)} has no table with {store}"
    for url in stores.BACKENDS[store].urls:
        assert f"`{url.removesuffix('...')}`" in row


@pytest.mark.parametrize("store", STORES)
def test_a_store_keeps_the_contract(store: str) -> None:
    """A module of the tests makes the store for the contract."""
    contract = re.compile(r"^class Test\w+\(\s*StoreContract", re.MULTILINE)
    runs = [text for text in TESTS if store in text and contract.search(text)]
    assert runs, f"tests/: no subclass of StoreContract makes a {store}"


@pytest.mark.parametrize("grant", GRANTS)
def test_a_grant_is_explained_and_tested(grant: str) -> None:
    """It is an `App`, docs/signing-in.md shows it, and a test uses it."""
    assert issubclass(getattr(oauth, grant), twitchvault.App)
    page = (DOCS / "signing-in.md").read_text(encoding="utf-8")
    assert f"from twitchvault.oauth import {grant}" in page, f"docs/signing-in.md: no {grant}"
    assert any(re.search(rf"\b{grant}\(", text) for text in TESTS), f"tests/: no {grant}"


def test_every_grant_is_exported() -> None:
    """A module of `twitchvault.oauth` that has a flow is in the list of flows."""
    modules = [
        import_module(f"{oauth.__name__}.{module.name}")
        for module in pkgutil.iter_modules(oauth.__path__)
    ]
    flows = {
        name
        for module in modules
        for name, value in vars(module).items()
        if name.endswith("Flow") and getattr(value, "__module__", "") == module.__name__
    }
    assert flows == set(GRANTS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_explained_and_tested(command: str) -> None:
    """Its docstring is its help, and tests/cli has a module called like it."""
    module = import_module(f"{commands.__name__}.{command}")
    is_group = hasattr(module, "group")
    text = module.group.info.help if is_group else inspect.getdoc(module.command)
    assert text, f"cli/commands/{command}.py: no docstring, no help"
    test = ROOT / "tests" / "cli" / f"test_{command.rstrip('_')}.py"
    assert test.exists(), f"write {test.relative_to(ROOT)}"


def test_all_installs_everything() -> None:
    """The extra `all` has every other one."""
    (line,) = EXTRAS["all"]
    assert set(re.findall(r"\w+", line.partition("[")[2])) == EXTRAS.keys() - {"all"}
