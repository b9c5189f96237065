"""The pages hang together: links lead somewhere, blocks say what they are, commands exist."""

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

from twitchvault import stores

from .pages import CHANGELOG, INDEX, PAGES, README, ROOT, anchors, blocks, links, name, prose

LANGUAGES: Final = {"python", "toml", "bash", "text", "mermaid", "diff"}
"""Python and TOML are run by test_examples, bash is checked below; the rest is not for running."""
DIAGRAMS: Final = ("flowchart TD", "sequenceDiagram", "stateDiagram-v2")
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_says_what_it_is(page: Path) -> None:
    """A block in an unknown language, or in none, would escape the other tests."""
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{name(page)}:{block.line}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file of the project and a heading in it; of the web, only Twitch's own pages."""
    for link in links(page):
        target, _, anchor = link.partition("#")
        if "://" in target:
            assert target.startswith(("https://dev.twitch.tv/", "https://www.twitch.tv/")), link
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{name(page)}: {link}"
        assert not anchor or anchor in anchors(file), f"{name(page)}: {link}"


def test_the_index_lists_every_page() -> None:
    """A page that nothing links to is not found."""
    listed = {(INDEX.parent / link).resolve() for link in links(INDEX) if "://" not in link}
    assert set(PAGES) - {INDEX, README, CHANGELOG} <= listed


def test_the_readme_is_short() -> None:
    """Under 100 lines, so that it is read."""
    assert len(README.read_text(encoding="utf-8").splitlines()) < 100


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_line_holds_one_sentence(page: Path) -> None:
    """So that a change of a sentence is a change of a line."""
    for number, line in enumerate(prose(page).splitlines(), 1):
        if line.startswith(("|", "<")):
            continue
        text = re.sub(r"`[^`]*`", "code", line)
        assert not re.search(r"[a-z)][.?!] +[A-Z]", text), f"{name(page)}:{number}: {line}"


@pytest.mark.parametrize("page", [README, INDEX.parent / "stores.md"], ids=name)
def test_every_store_is_in_the_table(page: Path) -> None:
    """A backend that is left out of the tables is not chosen."""
    kinds = [name for name in stores.__all__ if name.endswith("Store") and name != "TokenStore"]
    table = [line for line in prose(page).splitlines() if line.startswith("|")]
    for kind in kinds:
        assert any(f"`{kind}" in line for line in table), kind


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "mermaid")], ids=name)
def test_diagrams_are_of_a_known_kind(page: Path) -> None:
    """A misspelt first line makes an error message of a diagram."""
    for block in blocks(page, "mermaid"):
        assert block.text.startswith(DIAGRAMS), f"{name(page)}:{block.line}"


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
            source = (ROOT / "src/twitchvault/cli/options.py").read_text(encoding="utf-8")
            assert f'"{setting.partition("=")[0]}"' in source
        case ["twitchvault", verb, *arguments]:
            check_options([_script(), verb], arguments)
        case ["python", "-m", module, *arguments]:
            check_options([sys.executable, "-m", module], arguments)
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
