"""What is installed: the built package, its metadata, and the versions that it needs."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement

from docs.generate import FLOORS, floors

ROOT: Final = Path(__file__).parents[1]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: Final = PROJECT["optional-dependencies"]


def build(source: Path, target: Path) -> dict[str, bytes]:
    """The distributions of a source tree, by their names."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return {path.name: path.read_bytes() for path in target.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder)
    return folder


def test_a_build_of_the_same_source_is_the_same_bytes(built: Path, tmp_path: Path) -> None:
    """A second one from here; and the wheel, if it is built from what the sdist holds."""
    first = {path.name: path.read_bytes() for path in built.iterdir()}
    assert build(ROOT, tmp_path / "second") == first
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    third = build(tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "third")
    (wheel,) = built.glob("*.whl")
    assert third[wheel.name] == first[wheel.name]


def test_the_wheel_holds_the_package_alone(built: Path) -> None:
    """Its modules, the mark that it has types, the command, the licence, and no tests."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        about = f"twitchvault-{PROJECT['version']}.dist-info"
        scripts = archive.read(f"{about}/entry_points.txt").decode()
    package = ROOT / "src" / "twitchvault"
    modules = {str(path.relative_to(package.parent).as_posix()) for path in package.rglob("*.py")}
    assert modules | {"twitchvault/py.typed", f"{about}/licenses/LICENSE"} <= names
    assert all(name.startswith(("twitchvault/", f"{about}/")) for name in names)
    assert scripts == "[console_scripts]\ntwitchvault = twitchvault.cli:main\n"


def test_the_sdist_can_be_tested(built: Path) -> None:
    """Whoever packages it for a system can run `make test` in it."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    wanted = set(listed.stdout.split())
    assert {"Makefile", "tests/conftest.py", "docs/index.md", "README.md", "CHANGELOG.md"} <= names
    assert wanted <= names


def test_the_version_stands_in_one_place() -> None:
    """In pyproject.toml; the installed package says the same, and the changelog begins with it."""
    assert metadata.version("twitchvault") == PROJECT["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == PROJECT["version"]
    for path in (ROOT / "src").rglob("*.py"):
        assert f'"{PROJECT["version"]}"' not in path.read_text(encoding="utf-8"), path


def test_the_floors_are_those_that_are_tested() -> None:
    """Each dependency has a lowest version, and tests/floors.txt installs exactly that one."""
    assert floors() == FLOORS.read_text(encoding="utf-8"), "run 'make docs'"
    groups = (group for extra, group in EXTRAS.items() if extra != "all")
    names = {
        Requirement(line).name for group in (PROJECT["dependencies"], *groups) for line in group
    }
    pins = [Requirement(line) for line in floors().splitlines()[1:]]
    assert names == {pin.name for pin in pins}
    assert all(re.fullmatch(r"==[\d.]+", str(pin.specifier)) for pin in pins)
