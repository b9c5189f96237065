"""The pages hang together: links lead somewhere, blocks say what they are, commands exist.

The reference names everything that is public, and its tables say what the code says.

`make docs` makes a site of them.
"""

from __future__ import annotations

import functools
import inspect
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Final, get_args, get_type_hints

import pytest

import twitchvault
from docs import generate
from twitchvault import errors
from twitchvault.environment import VARIABLES
from twitchvault.testing.fake import Settings, Switches

from .pages import INDEX, PAGES, PROJECT, README, ROOT, anchors, blocks, links, name, prose

LANGUAGES: Final = {"python", "toml", "bash", "text", "mermaid", "diff", "sql"}
"""Python and TOML are run by test_examples, bash is checked below; the rest is not for running."""
DIAGRAMS: Final = ("flowchart TD", "sequenceDiagram", "stateDiagram-v2")
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


REFERENCE: Final = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
ERRORS: Final = ROOT / "docs" / "errors.md"


@pytest.mark.parametrize("page", generate.PAGES, ids=name)
def test_the_tables_are_those_of_the_code(page: Path) -> None:
    """`make docs` would change nothing."""
    text = page.read_text(encoding="utf-8")
    assert generate.generated(text) == text, "run 'make docs'"


def test_every_name_of_the_package_has_its_table() -> None:
    """A class has its members there, a model its fields; errors and stores have pages."""
    subjects = {part for found in re.findall(r"<!-- (.*) -->", REFERENCE) for part in found.split()}
    for public in set(twitchvault.__all__) - set(errors.__all__) - {"Scopes", "open_store"}:
        if public == "TokenStore" or not public.endswith(("Store", "Flow")):
            assert f"twitchvault.{public}" in subjects, public


def test_every_row_says_something() -> None:
    """A public member without a docstring would be an empty cell."""
    assert "|  |" not in REFERENCE


def test_every_argument_of_the_constructor_is_explained() -> None:
    """The table of the constructor's arguments is written by hand."""
    explained = re.findall(
        r"\*(\w+)\*", REFERENCE.partition("| argument |")[2].partition("\n\n")[0]
    )
    assert explained == list(inspect.signature(twitchvault.App).parameters)


@pytest.mark.parametrize("options", [Settings, Switches])
def test_every_option_of_the_double_is_explained(options: type) -> None:
    """The table of each dataclass comes from its docstring, which has to name every field."""
    marker = f"<!-- options: twitchvault.testing.fake.{options.__name__} -->"
    table = REFERENCE.partition(marker)[2].partition("\n\n")[0]
    explained = re.findall(r"`(\w+)`", "".join(re.findall(r"^\|[^|]*", table, re.MULTILINE)))
    assert sorted(explained) == sorted(field.name for field in fields(options))


def test_every_kind_of_event_is_named() -> None:
    """The sentence below the models names them in the order of the code."""
    kinds = get_args(get_type_hints(twitchvault.VaultEvent)["kind"])
    assert f"The kinds of a `VaultEvent`: {', '.join(kinds)}.\n" in REFERENCE


def test_every_error_is_explained() -> None:
    """The tables of the page on errors name every exception class once, and nothing else."""
    kinds = [kind for kind in errors.__all__ if inspect.isclass(getattr(errors, kind))]
    rows = re.findall(r"^\| `(\w+)` \|", prose(ERRORS), re.MULTILINE)
    assert sorted(rows) == sorted(kinds)
