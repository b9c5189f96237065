"""The pages hang together: links lead somewhere, blocks say what they are, commands exist.

`make docs` makes a site of them.
"""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

from twitchvault.environment import VARIABLES

from .pages import INDEX, PAGES, README, ROOT, anchors, blocks, links, name, prose

LANGUAGES: Final = {"python", "toml", "bash", "text", "mermaid", "diff", "sql"}
"""Python and TOML are run by test_examples, bash is checked below; the rest is not for running."""
DIAGRAMS: Final = ("flowchart TD", "sequenceDiagram", "stateDiagram-v2")
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCE: Final = PROJECT["urls"]["Source"]
FILES: Final = f"{SOURCE}/blob/main/"
TWITCH: Final = ("https://dev.twitch.tv/", "https://www.twitch.tv/")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_says_what_it_is(page: Path) -> None:
    """A block in an unknown language, or in none, would escape the other tests."""
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{name(page)}:{block.line}"
        if block.language == "mermaid":
            assert block.text.startswith(DIAGRAMS), f"{name(page)}:{block.line}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file of the project and a heading in it; of the web, only Twitch's and our own pages."""
    for link in links(page):
        target, _, anchor = link.partition("#")
        if target.startswith(FILES):
            file = ROOT / target.removeprefix(FILES)
        elif "://" in target:
            assert target.startswith((*TWITCH, SOURCE)), link
            continue
        else:
            file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{name(page)}: {link}"
        assert not anchor or anchor in anchors(file), f"{name(page)}: {link}"


def test_every_page_is_found() -> None:
    """Whoever follows links from the index comes to every page."""
    found: set[Path] = set()
    waiting = [INDEX]
    while waiting:
        page = waiting.pop()
        found.add(page)
        here = [link.partition("#")[0] for link in links(page) if "://" not in link]
        targets = [(page.parent / link).resolve() for link in here]
        waiting += [target for target in set(targets) - found if target.suffix == ".md"]
    assert {page for page in PAGES if page.parent != ROOT} <= found


def test_the_readme_can_stand_alone() -> None:
    """It is the package's page too: under 100 lines, and no link depends on where it is shown."""
    assert len(README.read_text(encoding="utf-8").splitlines()) < 100
    for link in links(README):
        assert link.startswith(FILES), link
    for url in PROJECT["urls"].values():
        assert url.startswith(SOURCE)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_line_holds_one_sentence(page: Path) -> None:
    """So that a change of a sentence is a change of a line."""
    for number, line in enumerate(prose(page).splitlines(), 1):
        if line.startswith(("|", "<")):
            continue
        text = re.sub(r"`[^`]*`", "code", line)
        assert not re.search(r"[a-z)][.?!] +[A-Z]", text), f"{name(page)}:{number}: {line}"


COMMANDS: Final = [
    (block.page, block.line + offset, line.partition("  #")[0].strip())
    for page in PAGES
    for block in blocks(page, "bash")
    for offset, line in enumerate(block.text.splitlines())
    if line.strip()
]


@pytest.mark.parametrize(
    ("page", "line", "command"), COMMANDS, ids=[f"{name(p)}:{n}" for p, n, _ in COMMANDS]
)
def test_every_command_exists(page: Path, line: int, command: str) -> None:
    """The target is in the Makefile, the extra in the project, the option in the command's help."""
    words = shlex.split(command)
    match words:
        case ["make", target, *settings]:
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            assert re.search(rf"^{target}:", makefile, re.MULTILINE)
            for setting in settings:
                assert f"\n{setting.partition('=')[0]} ?=" in makefile
        case ["pip", "install", *packages]:
            for package in packages:
                found = re.fullmatch(r"twitchvault\[([a-z,]+)\]", package)
                assert found is not None, package
                assert set(found[1].split(",")) <= set(PROJECT["optional-dependencies"])
        case ["export", setting]:
            found = re.fullmatch(r"TWITCHVAULT_(\w+?)(_FILE)?=.+", setting)
            assert found is not None, setting
            assert found[1] in VARIABLES
        case ["twitchvault", *rest]:
            count = 2 if rest[0] == "keys" else 1
            check_options([_script(), *rest[:count]], rest[count:])
        case ["python", "-m", module, *arguments]:
            check_options([sys.executable, "-m", module], arguments)
        case [".venv/bin/pytest", *arguments]:
            for argument in arguments:
                assert argument.startswith("-") or (ROOT / argument).exists(), argument
        case _:
            pytest.fail(f"{name(page)}:{line}: no test knows the command {command!r}")


def check_options(command: list[str], arguments: list[str]) -> None:
    """Fail unless the command's help names every option."""
    options = help_of(*command)
    for argument in arguments:
        if argument.startswith("-"):
            assert re.search(rf"{argument}\b", options), argument


@functools.cache
def help_of(*command: str) -> str:
    """What a command says of itself."""
    run = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def _script() -> str:
    return str(Path(sys.executable).parent / "twitchvault")


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """Every page is in the navigation, every link and every name that it documents is found."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "twitchvault.App" in (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
